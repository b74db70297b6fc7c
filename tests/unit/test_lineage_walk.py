"""Traces and walks of long and random graphs, against a naive oracle; and facts in memory."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from governed import World, story
from muniment.lineage import Head, MemoryFacts, Page, Ref, TargetRef, trace, walk
from muniment.records.kinds import Decision, Edge
from signing import NOW, ORIGIN

# Size


def chain(length: int) -> MemoryFacts:
    world = World()
    for number in range(length):
        world.decide(f"r{number}", id_=f"d{number}")
        world.edge("performed_by", f"run:r{number}", "agent:sub")
        if number:
            world.edge("triggered_by", f"run:r{number}", f"run:r{number - 1}")
    return world.facts()


def test_a_chain_of_20000_hops_does_not_overflow() -> None:
    found = trace("r19999", chain(20_000), NOW)
    assert found.continuous
    assert found.origins == ("r0",)
    assert found.hops[-1].depth == 19_999


# Random graphs against a naive oracle

RUNS = [f"r{number}" for number in range(6)]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    world = World()
    for _ in range(draw(st.integers(1, 25))):
        run, other = draw(st.sampled_from(RUNS)), draw(st.sampled_from(RUNS))
        match draw(st.integers(0, 6)):
            case 0 | 1:
                world.decide(run, id_=f"d-{run}", allow=draw(st.integers(0, 5)) > 0)
            case 2 | 3 | 4 if run != other:
                world.edge("triggered_by", f"run:{run}", f"run:{other}")
            case 5:
                world.outcome(run)
            case 6 if draw(st.booleans()):
                world.revoke(execution=run)
            case _:
                pass
    return world


def ancestors(world: World, run: str) -> set[str]:
    """All runs that a run descends from, itself included: the closure, naively."""
    found = {run}
    while True:
        more = {
            record.to.id
            for record in world.records
            if isinstance(record, Edge) and record.from_.id in found
        }
        if more <= found:
            return found
        found |= more


@settings(max_examples=300, deadline=None)
@given(worlds())
def test_traces_agree_with_a_naive_oracle(world: World) -> None:
    found = trace("r0", world.facts(), NOW)
    runs = ancestors(world, "r0")
    edges = [
        (index, record.from_.id, record.to.id)
        for index, record in enumerate(world.records)
        if isinstance(record, Edge)
    ]
    known: dict[str, list[int]] = {run: [] for run in RUNS}
    allowing: set[str] = set()
    for index, record in enumerate(world.records):
        subject = record.from_.id if isinstance(record, Edge) else getattr(record, "execution", "")
        known.setdefault(subject, []).append(index)
        if isinstance(record, Decision) and record.allowed:
            allowing.add(record.execution)
    by_kind: dict[str, set[str]] = {}
    for one in found.breaks:
        by_kind.setdefault(one.kind, set()).add(one.subject.id)

    assert {hop.index for hop in found.hops if hop.relation == "triggered_by"} == {
        index for index, start, _ in edges if start in runs
    }
    assert by_kind.get("dangling_parent", set()) == {r for r in runs - {"r0"} if not known[r]}
    assert by_kind.get("unknown_run", set()) == {r for r in ("r0",) if not known[r]}
    assert by_kind.get("unauthorized_run", set()) == {r for r in runs - allowing if known[r]}
    revoked = {record.target.execution for record in world.records if hasattr(record, "target")}
    assert by_kind.get("revoked_execution", set()) == revoked & runs
    cyclic = any(r in ancestors(world, to) for _, r, to in edges if r in runs)
    assert bool(by_kind.get("cycle")) == cyclic
    assert by_kind.get("later_record", set()) == {
        to for index, start, to in edges if start in runs and known[to] and min(known[to]) > index
    }
    # The records that a trace names are all that it rests on.
    again = trace("r0", MemoryFacts(world.facts().head, found.records.items()), NOW)
    assert again == found


@settings(max_examples=200, deadline=None)
@given(worlds(), st.integers(1, 4), st.integers(1, 12))
def test_walks_agree_with_a_naive_oracle(world: World, depth: int, limit: int) -> None:
    facts = world.facts()
    found = walk(Ref("run", "r0"), facts, depth=depth, limit=limit)
    level, seen, expected = {"r0"}, {"r0"}, set()
    for _ in range(depth):
        edges = [
            (index, record)
            for index, record in enumerate(world.records)
            if isinstance(record, Edge) and record.from_.id in level
        ]
        expected |= {index for index, _ in edges}
        level = {record.to.id for _, record in edges} - seen
        seen |= level
    indices = {step.index for step in found.steps}
    assert indices <= expected
    if not found.truncated:
        assert indices == expected == {s.index for s in walk(Ref("run", "r0"), facts).steps}
    assert len(indices) == min(limit, len(expected))


def test_descendants_are_walked_the_other_way() -> None:
    world, _ = story()
    found = walk(Ref("run", "plan"), world.facts(), direction="descendants")
    assert [step.index for step in found.steps] == [6]
    assert not found.truncated
    assert walk(Ref("agent", "orch"), world.facts(), direction="descendants", depth=1).truncated
    with pytest.raises(ValueError, match="at least 1"):
        walk(Ref("run", "plan"), world.facts(), depth=0)


def test_a_walk_survives_a_long_chain() -> None:
    assert len(walk(Ref("run", "r4999"), chain(5000), depth=10_000, limit=20_000).steps) == 9999


# Facts


def test_memory_facts_page() -> None:
    world = World()
    for _ in range(3):
        world.outcome("call")
    facts = world.facts()
    [page] = facts.outcomes(["call"], limit=2)
    assert [one.index for one in page.entries] == [0, 1]
    assert page.more
    [page] = facts.outcomes(["call"], after=1, limit=2)
    assert [one.index for one in page.entries] == [2]
    assert not page.more
    assert facts.verifications(["call"]) == [Page()]
    assert facts.edges_to([Ref("run", "call")]) == [Page()]
    assert facts.revocations([TargetRef("key", "x")]) == [Page()]


@pytest.mark.parametrize("indices", [[0, 0], [3], [-1]])
def test_memory_facts_refuse_impossible_indices(indices: list[int]) -> None:
    world = World()
    world.outcome("call")
    with pytest.raises(ValueError, match="leaf"):
        MemoryFacts(Head(ORIGIN, 3, 0), [(index, world.records[0]) for index in indices])
