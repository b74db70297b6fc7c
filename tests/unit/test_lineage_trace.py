"""Lineage traces: each kind of break alone, and what is none."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from governed import AUTHORITY, GATEWAY, World, artifact, story
from muniment.lineage import BREAK_KINDS, FactsError, Head, MemoryFacts, Ref, ref_of, trace
from muniment.lineage.facts import PAGE
from muniment.records.api import Binding, Validity
from muniment.records.authority import authority_vkey, key_reference, sign_decision
from muniment.records.kinds import Decision, Thing
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


# Breaks


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
    with world.speaking_as("other.example"):
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
    with world.speaking_as("other.example"):
        world.decide("plan", id_="d-plan")
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
    world.revoke(key=key_reference(AUTHORITY))


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


# What is no break


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


@pytest.mark.parametrize("name", [GATEWAY, ORIGIN])
def test_without_its_manifest_a_decision_falls_with_any_key_that_may_have_signed_it(
    name: str,
) -> None:
    world, _ = story()
    world.revoke(key=f"other.example+{0:08x}")
    assert kinds(world) == []
    world.revoke(key=f"{name}+{0:08x}")
    successor = authority_vkey(GATEWAY, ed25519("successor"))
    for gateways in (None, [successor]):
        assert kinds(world, gateways=gateways) == ["revoked_key", "revoked_key"]


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
        world.add(structs.replace(decision, request={**decision.request, "context": context}))
    del world.records[base]
    assert kinds(world) == ["conflicting_decision", "conflicting_decision"]


def test_the_id_of_another_producers_decision_is_no_conflict() -> None:
    world, _ = story()
    with world.speaking_as("other.example"):
        world.decide("elsewhere", id_="d-call")
    assert kinds(world) == []


def test_an_edge_means_its_own_producers_decision_first() -> None:
    world = World()
    with world.speaking_as("other.example"):
        world.decide(None, id_="d", allow=False)
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
