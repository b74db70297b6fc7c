"""Lineage traces: each kind of break alone, and random graphs against a naive oracle."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from governed import GATEWAY, World, artifact, story
from muniment.lineage import (
    BREAK_KINDS,
    FactsError,
    Head,
    MemoryFacts,
    Page,
    Ref,
    TargetRef,
    ref_of,
    trace,
    walk,
)
from muniment.lineage.facts import PAGE
from muniment.records.api import Binding, Validity
from muniment.records.authority import authority_vkey, key_reference, sign_decision
from muniment.records.kinds import Decision, Edge, Thing
from signing import NOW, ORIGIN, ed25519

LEAF = "A" * 43 + "="


def kinds(world: World, run: str = "call", **how: Any) -> list[str]:
    return [one.kind for one in trace(run, world.facts(), NOW, **how).breaks]


def test_a_whole_lineage_is_continuous() -> None:
    world, index = story()
    found = trace("call", world.facts(), NOW)
    assert found.continuous
    assert found.breaks == ()
    assert found.origins == ("plan",)
    assert [(hop.depth, hop.index, hop.relation) for hop in found.hops] == [
        (0, 2, "delegated_by"),
        (0, 4, "authorized_by"),
        (0, 5, "performed_by"),
        (0, 6, "triggered_by"),
        (1, 0, "authorized_by"),
        (1, 1, "performed_by"),
    ]
    assert [one.index for one in found.decisions] == [0, index]
    assert list(found.records) == list(range(7))
    assert found.head == Head(ORIGIN, 7, NOW)


def test_a_decision_without_execution_is_bound_by_an_edge_only() -> None:
    world = World()
    world.decide(None, id_="d")
    assert kinds(world) == ["unknown_run"]
    world.edge("authorized_by", "run:call", "decision:d")
    assert kinds(world) == []


# --- breaks ----------------------------------------


CASES: list[Any] = []


def _case(
    kind: str,
    subject: str,
    index: int | None,
    *,
    start: Callable[[], tuple[World, int]] = lambda: (World(), 0),
) -> Callable[[Callable[[World], None]], None]:
    type_, _, id_ = subject.partition(":")

    def decorate(spoil: Callable[[World], None]) -> None:
        one = Ref(type_, id_)  # type: ignore[arg-type]
        CASES.append(pytest.param(kind, one, index, start, spoil, id=spoil.__name__))

    return decorate


@_case("unknown_run", "run:call", None)
def nothing_known(world: World) -> None:
    world.decide("other")


@_case("dangling_parent", "run:gone", 7, start=story)
def parent_not_in_the_log(world: World) -> None:
    world.edge("triggered_by", "run:call", "run:gone")


@_case("dangling_decision", "decision:gone", 7, start=story)
def decision_not_in_the_log(world: World) -> None:
    world.edge("authorized_by", "run:call", "decision:gone")


@_case("unauthorized_run", "run:call", 0)
def denied_run(world: World) -> None:
    world.decide("call", allow=False)


@_case("unauthorized_run", "run:plan", 2)
def parent_without_decision(world: World) -> None:
    world.edge("used", "run:plan", "artifact:x")
    world.decide("call")
    world.edge("triggered_by", "run:call", "run:plan")


@_case("unauthorized_run", "run:call", None)
def only_an_outcome(world: World) -> None:
    world.outcome("call")


@_case("contested_run", "run:call", 7, start=story)
def allowed_and_denied(world: World) -> None:
    world.decide("call", allow=False)


@_case("contested_run", "run:call", 7, start=story)
def decided_by_two_producers(world: World) -> None:
    world.producer = "other.example"
    world.decide("call", id_="d-other")


@_case("misbound_decision", "decision:d", 2)
def decision_of_another_run(world: World) -> None:
    world.decide("other", id_="d")
    world.decide("call")
    world.edge("authorized_by", "run:call", "decision:d")


@_case("conflicting_decision", "decision:d-call", 7, start=story)
def id_used_twice(world: World) -> None:
    world.decide("elsewhere", id_="d-call")


@_case("later_record", "decision:d", 0)
def edge_to_a_later_decision(world: World) -> None:
    world.edge("authorized_by", "run:call", "decision:d")
    world.decide("call", id_="d")


@_case("later_record", "run:plan", 1)
def edge_to_a_later_run(world: World) -> None:
    world.decide("call")
    world.edge("triggered_by", "run:call", "run:plan")
    world.decide("plan")


@_case("late_authorization", "run:call", 1)
def ended_before_it_was_authorised(world: World) -> None:
    world.edge("used", "run:call", "artifact:x")
    world.outcome("call")
    world.decide("call")


@_case("late_authorization", "run:plan", 2)
def triggered_before_it_was_authorised(world: World) -> None:
    world.edge("performed_by", "run:plan", "agent:sub")
    world.decide("call")
    world.edge("triggered_by", "run:call", "run:plan")
    world.decide("plan")


@_case("expired_authorization", "run:plan", 2)
def parent_expired_before_it_triggered(world: World) -> None:
    world.decide("plan", artifact=artifact(validity=Validity(not_before=1, not_after=NOW)))
    world.decide("call")
    world.edge("triggered_by", "run:call", "run:plan", time=NOW * 1000)


@_case("expired_authorization", "run:call", 1)
def ended_before_it_was_valid(world: World) -> None:
    world.decide("call", artifact=artifact(validity=Validity(not_before=NOW, not_after=NOW + 9)))
    world.outcome("call", time=NOW * 1000 - 1)


@_case("revoked_decision", "decision:d-plan", 7, start=story)
def revoked_parent_decision(world: World) -> None:
    world.revoke(decision="d-plan")


@_case("revoked_decision", "decision:d-plan", 7, start=story)
def revoked_by_an_edge(world: World) -> None:
    world.edge("revoked_by", "decision:d-plan", "run:incident")


@_case("revoked_execution", "run:plan", 7, start=story)
def revoked_parent_run(world: World) -> None:
    world.revoke(execution="plan")


@_case("revoked_key", "decision:d-plan", 1)
def revoked_gateway_key(world: World) -> None:
    world.producer = "other.example"
    world.decide("plan", id_="d-plan")
    world.producer = GATEWAY
    world.revoke(key="other.example+0123abcd")
    world.decide("call")
    world.edge("triggered_by", "run:call", "run:plan")


def bound_to_a_key() -> tuple[World, int]:
    return story(artifact=artifact(binding=Binding(thumbprint="sha256:" + "0" * 64)))


@_case("revoked_key", "decision:d-call", 7, start=bound_to_a_key)
def revoked_runtime_key(world: World) -> None:
    world.revoke(key="sha256:" + "0" * 64)


@_case("revoked_key", "decision:d", 1)
def revoked_authority_key(world: World) -> None:
    world.decide("call", id_="d")
    decision = world.records[0]
    assert isinstance(decision, Decision)
    world.records[0] = sign_decision(decision, "authority.example", ed25519("authority"))
    world.revoke(key=key_reference(authority_vkey("authority.example", ed25519("authority"))))


@_case("unauthorized_delegation", "agent:sub", 2)
def delegation_by_a_stranger(world: World) -> None:
    world.decide("call")
    world.edge("performed_by", "run:call", "agent:sub")
    world.edge("delegated_by", "agent:sub", "agent:stranger")


@_case("cycle", "run:call", 3)
def runs_that_trigger_each_other(world: World) -> None:
    world.decide("call")
    world.decide("plan")
    world.edge("triggered_by", "run:call", "run:plan")
    world.edge("triggered_by", "run:plan", "run:call")


@_case("cycle", "agent:sub", 4)
def agents_that_delegate_to_each_other(world: World) -> None:
    world.decide("call", subject="orch")
    world.edge("performed_by", "run:call", "agent:orch")
    world.edge("performed_by", "run:call", "agent:sub")
    world.edge("delegated_by", "agent:sub", "agent:orch")
    world.edge("delegated_by", "agent:orch", "agent:sub")


@pytest.mark.parametrize(("kind", "subject", "index", "start", "spoil"), CASES)
def test_each_break_is_named_alone_with_its_record(
    kind: str,
    subject: Ref,
    index: int | None,
    start: Callable[[], tuple[World, int]],
    spoil: Callable[[World], None],
) -> None:
    world, _ = start()
    spoil(world)
    [one] = trace("call", world.facts(), NOW).breaks
    if kind == "cycle" and one.subject.type == "agent":
        # Which link closes it depends on where the walk begins.
        assert one.index in (3, 4)
    else:
        assert (one.kind, one.subject, one.index) == (kind, subject, index)
    assert one.kind == kind
    assert one.sentence.startswith("expected ")
    assert ", found " in one.sentence


def test_every_kind_of_break_has_a_case() -> None:
    assert {case.values[0] for case in CASES} == set(BREAK_KINDS) - {"truncated"}


# --- what is no break ----------------------------------------


def test_a_revocation_counts_from_its_time_on() -> None:
    world, _ = story()
    world.revoke(execution="plan", since=NOW)
    assert trace("call", world.facts(), NOW - 1).continuous
    assert not trace("call", world.facts(), NOW).continuous


def test_a_revocation_behind_a_page_of_others_counts() -> None:
    world, _ = story()
    for _ in range(PAGE + 1):
        world.revoke(decision="d-plan", since=NOW + 10**6)
    assert kinds(world) == []
    world.revoke(decision="d-plan")
    assert kinds(world) == ["revoked_decision"]


def test_a_known_gateway_falls_only_with_its_own_key() -> None:
    world, _ = story()
    vkey = authority_vkey(GATEWAY, ed25519("gateway"))
    world.revoke(key=f"{GATEWAY}+00000000")
    assert kinds(world) == ["revoked_key", "revoked_key"]
    assert kinds(world, gateways=[vkey]) == []
    world.revoke(key=key_reference(vkey))
    assert kinds(world, gateways=[vkey]) == ["revoked_key", "revoked_key"]


def test_one_revoked_decision_breaks_a_run_that_has_others() -> None:
    world, _ = story()
    world.decide("plan")
    world.revoke(decision="d-plan")
    assert kinds(world) == ["revoked_decision"]


def test_one_valid_decision_is_enough() -> None:
    world = World()
    world.decide("call", artifact=artifact(validity=Validity(not_before=1, not_after=2)))
    world.decide("call", artifact=artifact())
    world.outcome("call", time=NOW * 1000)
    assert kinds(world) == []


def test_the_same_record_logged_twice_is_no_conflict() -> None:
    world, index = story()
    world.add(world.records[index])
    assert kinds(world) == []


def test_true_and_1_conflict() -> None:
    world = World()
    base = world.decide("call", id_="d")
    decision = world.records[base]
    assert isinstance(decision, Decision)
    for context in ({"n": 1}, {"n": True}):
        request = {**decision.request, "context": context}
        world.add(
            Decision(
                **{f: getattr(decision, f) for f in decision.__struct_fields__}
                | {"request": request}
            )
        )
    del world.records[base]
    assert kinds(world) == ["conflicting_decision", "conflicting_decision"]


def test_the_id_of_another_producers_decision_is_no_conflict() -> None:
    world, _ = story()
    world.producer = "other.example"
    world.decide("elsewhere", id_="d-call")
    assert kinds(world) == []


def test_an_edge_means_its_own_producers_decision_first() -> None:
    world = World()
    world.producer = "other.example"
    world.decide(None, id_="d", allow=False)
    world.producer = GATEWAY
    world.decide(None, id_="d")
    world.edge("authorized_by", "run:call", "decision:d")
    assert kinds(world) == []


def test_further_delegations_of_other_work_do_no_harm() -> None:
    world, _ = story()
    world.edge("delegated_by", "agent:sub", "agent:stranger")
    assert kinds(world) == []


def test_a_link_into_another_log_is_kept_and_no_break() -> None:
    world, _ = story()
    world.edge("triggered_by", "run:call", "run:far", origin="other/log", index=5, leaf=LEAF)
    found = trace("call", world.facts(), NOW)
    assert found.continuous
    [hop] = found.external
    assert hop.target == Ref("run", "far", "other/log")
    assert hop.external.index == 5


def test_the_logs_own_origin_does_not_make_a_stranger() -> None:
    world, _ = story()
    world.edge("triggered_by", "run:call", "run:gone", origin=ORIGIN, index=5, leaf=LEAF)
    found = trace("call", world.facts(), NOW)
    assert [one.kind for one in found.breaks] == ["dangling_parent"]
    assert found.external == ()
    thing = Thing(type="run", id="x", origin=ORIGIN, index=1, leaf=LEAF)
    assert ref_of(thing, ORIGIN) == Ref("run", "x")


def test_a_trace_beyond_its_bound_is_truncated() -> None:
    world, _ = story()
    for number in range(2 * PAGE + 2):
        world.edge("used", "run:call", f"artifact:{number}")
    assert kinds(world) == []
    assert "truncated" in kinds(world, limit=PAGE)


def test_an_agent_with_too_many_strangers_is_truncated() -> None:
    world = World()
    world.decide("call")
    world.edge("performed_by", "run:call", "agent:sub")
    for number in range(PAGE + 1):
        world.edge("delegated_by", "agent:sub", f"agent:stranger{number}")
    assert kinds(world) == ["truncated"]


def test_facts_that_cannot_be_read_raise() -> None:
    class Broken(MemoryFacts):
        def outcomes(self, executions: Any, *, after: int = -1, limit: int = 0) -> Any:
            raise FactsError("the disk is gone")

    with pytest.raises(FactsError):
        trace("call", Broken(Head(ORIGIN, 0, 0), []), NOW)


# --- size ----------------------------------------


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


# --- random graphs against a naive oracle ----------------------------------------

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
    known = {
        run: [
            index
            for index, record in enumerate(world.records)
            if run
            in (
                getattr(record, "execution", None),
                getattr(record, "from_", Thing(type="run", id="?")).id,
            )
        ]
        for run in RUNS
    }
    allowing = {
        run: [
            index
            for index, record in enumerate(world.records)
            if isinstance(record, Decision) and record.execution == run and record.allowed
        ]
        for run in RUNS
    }
    by_kind: dict[str, set[str]] = {}
    for one in found.breaks:
        by_kind.setdefault(one.kind, set()).add(one.subject.id)

    assert {hop.index for hop in found.hops if hop.relation == "triggered_by"} == {
        index for index, start, _ in edges if start in runs
    }
    assert by_kind.get("dangling_parent", set()) == {r for r in runs - {"r0"} if not known[r]}
    assert by_kind.get("unknown_run", set()) == {r for r in ("r0",) if not known[r]}
    assert by_kind.get("unauthorized_run", set()) == {
        r for r in runs if known[r] and not allowing[r]
    }
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


# --- facts ----------------------------------------


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
