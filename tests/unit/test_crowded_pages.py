"""What strangers log on a thing, as much as a page of answers takes, hides nothing behind it."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

import index_tools
from explore_tools import explored
from governed import World, approved, artifact
from logsim import LogSim
from muniment.explore.searching import parse_search, search
from muniment.lineage.facts import PAGE
from muniment.lineage.withholding import withholding_of
from muniment.records.api import encode_record
from muniment.records.kinds import Approval, Decision, Entity, Erasure
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


async def test_what_came_after_a_decision_is_told_behind_as_much_of_strangers(
    tmp_path: Path,
) -> None:
    """So is an edge that revokes; and what others say under an approval's id is no record of it."""
    world, sim = World(index_tools.ORIGIN), LogSim()
    said = approved(world.producer)
    index = world.decide("call", id_="d-call", artifact=artifact(approval=said))
    with world.speaking_as(STRANGER):
        for _ in range(PAGE):
            world.outcome("call")
        other = approved(STRANGER)
        common: dict[str, Any] = {**world.common("a"), "id": said.id}
        world.add(Approval(**common, approval=other))
    outcome = world.outcome("call", "failed")
    edge = world.edge("revoked_by", "decision:d-call", "run:r-end")
    sim.append([encode_record(record) for record in world.records])
    async with (
        explored(sim, tmp_path) as explorer,
        ClientSession() as session,
        session.get(f"{explorer.url}decision/{index}") as answer,
    ):
        text = await answer.text()
    assert f'<a href="/decision/{outcome}">failed</a>' in text
    assert f'<a href="/decision/{edge}">leaf {edge}</a>' in text
    assert "No revocation of it" not in text
    assert "The log has no record of it." in text
