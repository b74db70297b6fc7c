"""What strangers log on a thing, as much as a page of answers takes, hides nothing behind it."""

from functools import partial
from pathlib import Path

import pytest

import index_tools
from explore_tools import explored
from governed import World
from logsim import LogSim
from muniment.explore.searching import parse_search, search
from muniment.lineage.facts import PAGE
from muniment.lineage.withholding import withholding_of
from muniment.records.api import encode_record
from muniment.records.kinds import Decision, Entity, Erasure
from muniment.report.scope import scope_of
from reports import replica, report_of
from signing import NOW

DIGEST = "ab" * 32
STRANGER = "gateway.example/stranger"


def test_an_erasure_is_found_behind_as_many_of_strangers(tmp_path: Path) -> None:
    world = World()
    pointer = "/request/context/arguments"
    index = world.decide("call", addenda={pointer: DIGEST})
    decision = world.records[index]
    assert isinstance(decision, Decision)
    with world.speaking_as(STRANGER):
        for _ in range(PAGE):
            world.add(Erasure(**world.common("e"), digests=(DIGEST,), by="x"))
    found = withholding_of(decision, (), world.facts())
    assert found is not None
    assert found.withheld == (pointer,)
    with world.speaking_as(world.origin):
        erased = world.add(Erasure(**world.common("e"), digests=(DIGEST,), by="operator"))
    found = withholding_of(decision, (), world.facts())
    assert found is not None
    assert (found.withheld, dict(found.erased)) == ((), {pointer: erased})


@pytest.mark.parametrize("by", ["decision", "edge"])
def test_a_run_is_a_subject_s_behind_as_much_of_strangers(by: str, tmp_path: Path) -> None:
    world = World(index_tools.ORIGIN)
    with world.speaking_as(STRANGER):
        for number in range(PAGE):
            world.decide("call", subject="other")
            world.edge("triggered_by", "run:call", f"run:r{number}")
    if by == "decision":
        world.decide("call", subject="sub")
    else:
        world.edge("performed_by", "run:call", "agent:sub")
    world.outcome("call")
    for subject, count in (("sub", 1), ("nobody", 0)):
        scope = scope_of(NOW - 9000, NOW + 9000, [Entity("agent", subject)], 3600)
        with replica(tmp_path / "replica", world.entries()) as reader:
            outcomes = report_of(reader, scope)["runs"]["outcomes"]
        assert outcomes["leaves"]["count"] == count


async def test_the_explorer_finds_a_decision_behind_as_much_of_strangers(tmp_path: Path) -> None:
    world, sim = World(index_tools.ORIGIN), LogSim()
    for number in range(1001):
        world.edge("triggered_by", f"run:r{number}", "run:call")
        world.edge("authorized_by", f"run:r{number}", "decision:d-late")
    world.decide("call", id_="d-late")
    sim.append([encode_record(record) for record in world.records])
    async with explored(sim, tmp_path) as explorer:
        for asked in ({"run": "call"}, {"id": "d-late"}):
            results = await explorer.site.look(
                partial(search, wanted=parse_search(asked), before=None)
            )
            assert [one.index for one in results.found] == [2002], asked
