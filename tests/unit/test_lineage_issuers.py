"""Whose word counts in a lineage: by kind of record, with gateways named and without."""

import json
from collections.abc import Callable, Sequence
from itertools import count

import pytest

from governed import GATEWAY, World, artifact, story
from muniment.lineage import FORMATS, Head, Interval, MemoryFacts, Ref, Trace, render, trace
from muniment.lineage.facts import PAGE
from muniment.records.api import Validity
from muniment.records.authority import authority_vkey, key_reference
from muniment.records.kinds import Denial
from muniment.records.manifest import NO_PREVIOUS, build_batch
from muniment.tlog.note import Ed25519Signer
from signing import NOW, ORIGIN, ed25519

STRANGER = "curl.example/dev"
OTHER = "gateway.example/two"
OWN_KEY = authority_vkey(GATEWAY, ed25519("gateway"))
OTHER_KEY = authority_vkey(OTHER, ed25519("two"))
NAMED = (OWN_KEY,)

Say = Callable[[World], int]

STRANGE: dict[str, Say] = {
    "an allow": lambda world: world.decide("call", id_="d-x"),
    "a deny": lambda world: world.decide("call", id_="d-x", allow=False),
    "a deny of the parent": lambda world: world.decide("plan", id_="d-x", allow=False),
    "an edge to an unknown run": lambda world: world.edge("triggered_by", "run:call", "run:gone"),
    "a cycle": lambda world: world.edge("triggered_by", "run:plan", "run:call"),
    "an edge to an unknown decision": lambda world: world.edge(
        "authorized_by", "run:call", "decision:gone"
    ),
    "an edge to the decision of another run": lambda world: world.edge(
        "authorized_by", "run:call", "decision:d-plan"
    ),
    "an edge into another log": lambda world: world.edge(
        "authorized_by",
        "run:call",
        "decision:d",
        origin="other/log",
        index=1,
        leaf="A" * 43 + "=",
    ),
    "another agent": lambda world: world.edge("performed_by", "run:call", "agent:thief"),
    "a delegation": lambda world: world.edge("delegated_by", "agent:orch", "agent:customer"),
    "an outcome": lambda world: world.outcome("call", "failed"),
    "an outcome out of time": lambda world: world.outcome("call", time=(NOW + 10**6) * 1000),
    "an outcome of the parent": lambda world: world.outcome("plan", "aborted", time=1),
    "a verification": lambda world: world.verification("call", "failed"),
    "a revocation of the run": lambda world: world.revoke(execution="call"),
    "a revocation of the parent": lambda world: world.revoke(execution="plan"),
    "a revocation of the decision": lambda world: world.revoke(decision="d-call"),
    "an edge of revocation": lambda world: world.edge(
        "revoked_by", "decision:d-plan", "run:incident"
    ),
}
"""What a stranger may say of the story's runs and agents."""

DECISIONS = ("an allow", "a deny", "a deny of the parent")


def kinds(found: Trace) -> list[str]:
    return [one.kind for one in found.breaks]


@pytest.mark.parametrize("what", STRANGE)
def test_what_a_stranger_says_decides_nothing_for_who_names_gateways(what: str) -> None:
    world, _ = story()
    before = trace("call", world.facts(), NOW, gateways=NAMED)
    with world.speaking_as(STRANGER):
        index = STRANGE[what](world)
    found = trace("call", world.facts(), NOW, gateways=NAMED)
    assert found.continuous
    assert (found.hops, found.decisions, found.runs) == (before.hops, before.decisions, before.runs)
    assert [(one.index, one.producer) for one in found.unheard] == [(index, STRANGER)]
    assert STRANGER in render(found, "tree")
    assert json.loads(render(found, "json"))["unheard"][0]["producer"] == STRANGER


@pytest.mark.parametrize("what", [one for one in STRANGE if one not in DECISIONS])
def test_what_a_stranger_says_decides_nothing_without_named_gateways(what: str) -> None:
    world, _ = story()
    with world.speaking_as(STRANGER):
        index = STRANGE[what](world)
    found = trace("call", world.facts(), NOW)
    assert found.continuous
    assert [(one.index, one.producer) for one in found.unheard] == [(index, STRANGER)]


@pytest.mark.parametrize("what", DECISIONS)
def test_without_named_gateways_two_producers_contest_a_run(what: str) -> None:
    world, _ = story()
    with world.speaking_as(STRANGER):
        index = STRANGE[what](world)
    found = trace("call", world.facts(), NOW)
    assert set(kinds(found)) == {"contested_run"}
    assert {one.index for one in found.breaks} == {index}
    assert any(STRANGER in one.sentence for one in found.breaks)


def test_a_run_that_was_denied_is_not_allowed_by_a_stranger() -> None:
    world = World()
    world.decide("call", allow=False)
    with world.speaking_as(STRANGER):
        world.decide("call", id_="d-x")
    assert set(kinds(trace("call", world.facts(), NOW))) == {"contested_run"}
    assert kinds(trace("call", world.facts(), NOW, gateways=NAMED)) == ["unauthorized_run"]


def test_a_parent_that_only_a_stranger_allowed_is_not_allowed() -> None:
    world = World()
    with world.speaking_as(STRANGER):
        world.decide("plan")
    world.decide("call")
    world.edge("triggered_by", "run:call", "run:plan")
    [one] = trace("call", world.facts(), NOW, gateways=NAMED).breaks
    assert (one.kind, one.subject) == ("dangling_parent", Ref("run", "plan"))


@pytest.mark.parametrize("first", [GATEWAY, OTHER])
def test_two_named_gateways_contest_a_run_in_any_order(first: str) -> None:
    world = World()
    for producer in (first, OTHER if first == GATEWAY else GATEWAY):
        with world.speaking_as(producer):
            world.decide("call")
    found = trace("call", world.facts(), NOW, gateways=(OWN_KEY, OTHER_KEY))
    assert kinds(found) == ["contested_run"]


def test_a_named_gateway_speaks_for_the_runs_of_another() -> None:
    world, _ = story()
    with world.speaking_as(OTHER):
        world.revoke(execution="plan")
        world.outcome("call", "failed")
    found = trace("call", world.facts(), NOW, gateways=(OWN_KEY, OTHER_KEY))
    assert kinds(found) == ["revoked_execution"]
    assert found.runs[0].ended == "failed"
    assert found.unheard == ()


def test_a_decision_that_states_no_run_is_bound_by_its_own_producer() -> None:
    world = World()
    world.decide(None, id_="d")
    with world.speaking_as(STRANGER):
        world.edge("authorized_by", "run:call", "decision:d")
    assert kinds(trace("call", world.facts(), NOW)) == ["unauthorized_run"]
    assert kinds(trace("call", world.facts(), NOW, gateways=NAMED)) == ["unknown_run"]
    world.edge("authorized_by", "run:call", "decision:d")
    assert trace("call", world.facts(), NOW).continuous
    assert trace("call", world.facts(), NOW, gateways=NAMED).continuous


def test_delegations_are_found_behind_those_of_strangers() -> None:
    world = World()
    world.decide("call", subject="orch")
    world.edge("performed_by", "run:call", "agent:sub")
    with world.speaking_as(STRANGER):
        for number in range(PAGE + 1):
            world.edge("delegated_by", "agent:sub", f"agent:stranger{number}")
    index = world.edge("delegated_by", "agent:sub", "agent:orch")
    for gateways in (None, NAMED):
        found = trace("call", world.facts(), NOW, gateways=gateways)
        assert found.continuous
        assert index in {hop.index for hop in found.hops}


@pytest.mark.parametrize(
    ("statuses", "ended"),
    [
        ([], "not told"),
        (["completed"], "completed"),
        (["failed"], "failed"),
        (["aborted"], "aborted"),
        (["unknown"], "unknown"),
        (["unknown", "failed"], "failed"),
    ],
)
def test_a_trace_tells_how_its_run_ended_and_who_says_so(statuses: list[str], ended: str) -> None:
    world, _ = story()
    for status in statuses:
        world.outcome("call", status)
    found = trace("call", world.facts(), NOW)
    assert found.continuous
    shown = {format_: render(found, format_) for format_ in FORMATS}
    assert json.loads(shown["json"])["ended"] == ended
    for text in shown.values():
        assert ended in text
        assert GATEWAY in text.replace("%2F", "/")


def test_a_trace_tells_what_was_stopped_from_what_never_began() -> None:
    world, _ = story()
    world.outcome("call", "aborted")
    stopped = trace("call", world.facts(), NOW)
    world, _ = story()
    world.outcome("call", "aborted", denial=Denial(codes=("runtime_identity_mismatch",)))
    unbegun = trace("call", world.facts(), NOW)
    assert "ended: aborted #" in render(stopped, "tree")
    assert "ended: aborted before it began (runtime_identity_mismatch) #" in render(unbegun, "tree")
    codes = [
        json.loads(render(found, "json"))["runs"][0]["outcomes"][0]["denial"]
        for found in (stopped, unbegun)
    ]
    assert codes == [[], ["runtime_identity_mismatch"]]


# --- keys ----------------------------------------


def signed(world: World, batches: Sequence[tuple[str, int]]) -> MemoryFacts:
    """The world's records in batches (key's seed, number of records), each before its manifest."""
    entries = world.entries()
    leaf = count()
    records, manifests, at = [], [], 0
    for seed, number in batches:
        signer = Ed25519Signer(world.records[at].producer, ed25519(seed))
        batch = build_batch(ORIGIN, signer, "s", 0, NO_PREVIOUS, entries[at : at + number])
        records += [(next(leaf), record) for record in world.records[at : at + number]]
        manifests.append((next(leaf), batch.manifest_note))
        at += number
    return MemoryFacts(Head(ORIGIN, next(leaf), NOW), records, manifests)


def reference(seed: str) -> str:
    return key_reference(authority_vkey(GATEWAY, ed25519(seed)))


def test_a_revoked_key_takes_what_it_signed_and_not_its_successors() -> None:
    world = World()
    world.decide("ended")
    world.outcome("ended", time=(NOW - 200) * 1000)
    world.decide("open")
    world.decide("new")
    world.revoke(key=reference("old"), since=NOW - 100)
    facts = signed(world, [("old", 3), ("new", 2)])
    for gateways in (None, NAMED, (authority_vkey(GATEWAY, ed25519("new")),)):
        assert kinds(trace("new", facts, NOW, gateways=gateways)) == []
        assert kinds(trace("ended", facts, NOW, gateways=gateways)) == []
        assert kinds(trace("open", facts, NOW, gateways=gateways)) == ["revoked_key"]
        assert kinds(trace("open", facts, NOW - 101, gateways=gateways)) == []


def test_an_end_of_which_nobody_saw_the_result_saves_no_run() -> None:
    world = World()
    world.decide("call")
    world.outcome("call", "unknown", time=(NOW - 200) * 1000)
    world.revoke(key=reference("old"), since=NOW - 100)
    assert kinds(trace("call", signed(world, [("old", 3)]), NOW)) == ["revoked_key"]


def test_a_key_that_signed_nothing_takes_nothing() -> None:
    world = World()
    world.decide("call")
    world.revoke(key=f"{GATEWAY}+deadbeef")
    assert trace("call", signed(world, [("old", 2)]), NOW).continuous


def test_a_client_with_a_token_revokes_no_keys_of_others() -> None:
    world = World()
    world.decide("call")
    with world.speaking_as(STRANGER):
        index = world.revoke(key=reference("old"))
    entries = world.entries()
    own = build_batch(
        ORIGIN, Ed25519Signer(GATEWAY, ed25519("old")), "s", 0, NO_PREVIOUS, entries[:1]
    )
    tokens = build_batch(
        ORIGIN,
        Ed25519Signer(ORIGIN, ed25519("log")),
        "token:0123456789abcdef",
        0,
        NO_PREVIOUS,
        entries[1:],
        producer=STRANGER,
    )
    records = [(0, world.records[0]), (2, world.records[index])]
    manifests = [(1, own.manifest_note), (3, tokens.manifest_note)]
    facts = MemoryFacts(Head(ORIGIN, 4, NOW), records, manifests)
    found = trace("call", facts, NOW)
    assert found.continuous
    assert [one.index for one in found.unheard] == [2]


def test_the_manifests_of_a_trace_are_told() -> None:
    world = World()
    world.decide("call")
    world.revoke(key=reference("old"))
    assert trace("call", signed(world, [("old", 1), ("new", 1)]), NOW).manifests == (1, 3)


# --- clocks ----------------------------------------


class Attested(MemoryFacts):
    """Facts with one interval for every leaf."""

    interval = Interval()

    def intervals(self, indices: Sequence[int]) -> list[Interval]:
        return [self.interval] * len(indices)


@pytest.mark.parametrize(
    ("stated", "earliest", "latest", "breaks", "warnings"),
    [
        (NOW, None, None, [], 0),
        (NOW, NOW - 5, NOW + 5, [], 0),
        (NOW, NOW + 9, NOW + 10, [], 0),
        # It was not there before the validity was over, whatever its producer says.
        (NOW, NOW + 100, NOW + 101, ["expired_authorization"], 1),
        (NOW + 95, NOW + 100, NOW + 101, ["expired_authorization"], 0),
        # Implausible, and it may have been when the validity was over.
        (0, NOW, NOW + 100, ["expired_authorization"], 1),
        (0, NOW, NOW + 99, [], 1),
        (NOW + 10**6, NOW, NOW + 99, [], 1),
        (0, None, NOW + 200, ["expired_authorization"], 0),
        (NOW + 99, NOW, NOW + 200, [], 0),
        (NOW + 100, NOW, NOW + 200, ["expired_authorization"], 0),
        (NOW - 61, NOW, NOW + 1, [], 1),
        (NOW - 60, NOW, NOW + 1, [], 0),
    ],
)
def test_times_are_held_against_what_witnesses_attest(
    stated: int, earliest: int | None, latest: int | None, breaks: list[str], warnings: int
) -> None:
    world = World()
    period = Validity(not_before=NOW - 100, not_after=NOW + 100)
    world.decide("call", artifact=artifact(validity=period))
    world.outcome("call", time=stated * 1000)
    facts = Attested(world.facts().head, enumerate(world.records))
    facts.interval = Interval(earliest, latest)
    found = trace("call", facts, NOW)
    assert kinds(found) == breaks
    assert [one.kind for one in found.warnings] == ["implausible_time"] * warnings
    if warnings:
        assert "implausible_time" in render(found, "tree")
        assert json.loads(render(found, "json"))["warnings"][0]["producer"] == GATEWAY


def test_a_leeway_lets_a_run_begin_early_and_end_no_later() -> None:
    world = World()
    world.decide("call", artifact=artifact(validity=Validity(not_before=NOW, not_after=NOW + 9)))
    world.outcome("call", time=(NOW - 5) * 1000)
    assert kinds(trace("call", world.facts(), NOW)) == ["expired_authorization"]
    assert kinds(trace("call", world.facts(), NOW, leeway=4)) == ["expired_authorization"]
    assert kinds(trace("call", world.facts(), NOW, leeway=5)) == []
    world = World()
    world.decide("call", artifact=artifact(validity=Validity(not_before=1, not_after=NOW)))
    world.outcome("call", time=NOW * 1000)
    assert kinds(trace("call", world.facts(), NOW, leeway=99)) == ["expired_authorization"]
