"""Permits: every denial code alone, in pairs, and by each distinct cause."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from governed import DIGEST, GATEWAY, WITNESSES, World, artifact, policy, story
from muniment.lineage import FactsError, Head, MemoryFacts
from muniment.permit import (
    CODES,
    Context,
    ExpectedPolicy,
    Permit,
    Trust,
    parse_permit,
    verify_permit,
    verify_permit_bytes,
)
from muniment.permit.verdict import Finding, Verdict
from muniment.records.api import Binding, Validity
from muniment.records.authority import authority_vkey, key_reference, sign_decision
from muniment.records.kinds import Decision, Entity
from muniment.tlog.checkpoint import SignedCheckpoint
from muniment.tlog.encoding import FormatError
from muniment.tlog.note import UnverifiedNote
from muniment.tlog.tlogproof import parse_tlog_proof
from signing import NOW, ORIGIN, ed25519, mldsa44, witness

AUTHORITY = authority_vkey("authority.example", ed25519("authority"))
AUTHORITY_PQ = authority_vkey("second.example", mldsa44("second"))
GATEWAY_KEY = authority_vkey(GATEWAY, ed25519("gateway"))
OTHER = "sha256:" + "cd" * 32


@dataclass
class Setup:
    """A permit that is good as it stands, and the ways to spoil it before it is verified."""

    members: dict[str, Any] = field(default_factory=dict)
    artifact: dict[str, Any] = field(default_factory=dict)
    after: list[Callable[[World], object]] = field(default_factory=list)
    context: dict[str, Any] = field(default_factory=dict)
    trust: dict[str, Any] = field(default_factory=dict)
    permit: list[Callable[[Permit], Permit]] = field(default_factory=list)
    head: dict[str, Any] = field(default_factory=dict)
    signers: tuple[str, ...] = ("authority",)

    def verdict(self) -> Verdict:
        stated = self.members.get("artifact", artifact(**self.artifact))
        world, index = story(**{**self.members, "artifact": stated})
        decision = world.records[index]
        assert isinstance(decision, Decision)
        for signer in self.signers:
            decision = sign_decision(decision, f"{signer}.example", ed25519(signer))
        world.records[index] = decision
        for change in self.after:
            change(world)
        permit = world.permit(index)
        for spoil in self.permit:
            permit = spoil(permit)
        head = Head(ORIGIN, len(world.records), NOW)._replace(**self.head)
        facts = MemoryFacts(head, list(enumerate(world.records))[: head.size])
        context = {
            "now": NOW,
            "action": "read",
            "resource": Entity("document", "7"),
            "subject": Entity("agent", "sub"),
            "execution": "call",
            "parent": "plan",
            "spiffe_id": "spiffe://example.org/agent/sub",
            "measurements": {"image": DIGEST},
            "policy": ExpectedPolicy(id="main", revision="3", digest=DIGEST),
            "governance": {"region": "eu"},
            "facts": facts,
            **self.context,
        }
        trust = {
            "policy": policy(),
            "authorities": (AUTHORITY,),
            "gateways": (GATEWAY_KEY,),
            **self.trust,
        }
        return verify_permit(permit, Context(**context), Trust(**trust))


def test_a_good_permit_is_permitted() -> None:
    verdict = Setup().verdict()
    assert verdict.permitted
    assert verdict.findings == ()
    assert verdict.codes == ()
    assert verdict.index == 3
    assert verdict.head == Head(ORIGIN, 7, NOW)
    assert verdict.members()["permitted"] is True


# --- each code, by each distinct cause ----------------------------------------

Cause = Callable[[Setup], None]
CAUSES: dict[str, dict[str, Cause]] = {code: {} for code in CODES}


def cause(code: str) -> Callable[[Cause], Cause]:
    def decorate(function: Cause) -> Cause:
        CAUSES[code][function.__name__] = function
        return function

    return decorate


@cause("authorization_discontinuity")
def no_artifact(setup: Setup) -> None:
    setup.members["artifact"] = None
    setup.trust |= {"require_binding": False, "require_policy": False}
    setup.context |= {"governance": {}, "policy": None}


@cause("authorization_discontinuity")
def other_action(setup: Setup) -> None:
    setup.context["action"] = "delete"


@cause("authorization_discontinuity")
def other_resource(setup: Setup) -> None:
    setup.context["resource"] = Entity("document", "8")


@cause("authorization_discontinuity")
def other_resource_type(setup: Setup) -> None:
    setup.context["resource"] = Entity("folder", "7")


@cause("authorization_discontinuity")
def other_subject(setup: Setup) -> None:
    setup.context["subject"] = Entity("agent", "orch")


@cause("authorization_discontinuity")
def other_run(setup: Setup) -> None:
    setup.context["execution"] = "call2"


@cause("authorization_discontinuity")
def runtime_without_run(setup: Setup) -> None:
    setup.context["execution"] = None


@cause("authorization_discontinuity")
def in_scope_but_not_requested(setup: Setup) -> None:
    setup.context["action"] = "list"
    setup.trust["exact_request"] = True


@cause("authorization_discontinuity")
def not_yet_valid(setup: Setup) -> None:
    # Not before the edges of the lineage, so that the lineage stays whole.
    setup.artifact["validity"] = Validity(not_before=NOW + 1, not_after=NOW + 9)


@cause("authorization_discontinuity")
def expired(setup: Setup) -> None:
    setup.artifact["validity"] = Validity(not_before=1, not_after=NOW)


@cause("invalid_signature")
def record_changed(setup: Setup) -> None:
    setup.trust["authorities"] = ()
    setup.signers = ()
    setup.context["facts"] = None
    setup.trust["require_facts"] = False
    setup.permit.append(
        lambda permit: Permit.of(permit.entry.replace(b'"time":1', b'"time":2'), permit.proof)
    )


@cause("invalid_signature")
def other_index(setup: Setup) -> None:
    setup.context["facts"] = None
    setup.trust["require_facts"] = False
    setup.permit.append(lambda permit: Permit(replace(permit.proof, index=2)))


@cause("invalid_signature")
def no_quorum(setup: Setup) -> None:
    setup.permit.append(lambda permit: keep_signatures(permit, 2))


@cause("invalid_signature")
def log_not_trusted(setup: Setup) -> None:
    trusted = policy()
    log = replace(trusted.logs[0], vkey=authority_vkey("another.log", ed25519("another")))
    setup.trust["policy"] = replace(trusted, logs=(log,))


@cause("invalid_signature")
def no_authority_signature(setup: Setup) -> None:
    setup.signers = ()


@cause("invalid_signature")
def unknown_authority(setup: Setup) -> None:
    setup.signers = ("authority", "stranger")


@cause("invalid_signature")
def nobody_can_check_the_signature(setup: Setup) -> None:
    setup.trust["authorities"] = ()


@cause("invalid_signature")
def wrong_authority_signature(setup: Setup) -> None:
    def forge(world: World) -> None:
        decision = world.records[3]
        assert isinstance(decision, Decision)
        signed = sign_decision(
            Decision(**{**_members(decision), "signatures": None}),
            "authority.example",
            ed25519("thief"),
        )
        assert signed.signatures is not None
        forged = type(signed.signatures[0])(
            key=key_reference(AUTHORITY), signature=signed.signatures[0].signature
        )
        world.records[3] = Decision(**{**_members(decision), "signatures": (forged,)})

    setup.after.append(forge)


@cause("invalid_signature")
def too_few_authorities(setup: Setup) -> None:
    setup.trust |= {"authorities": (AUTHORITY, AUTHORITY_PQ), "signatures": 2}


@cause("invalid_signature")
def gateway_not_trusted(setup: Setup) -> None:
    setup.trust["gateways"] = (authority_vkey("other.example", ed25519("x")),)


@cause("runtime_identity_mismatch")
def other_runtime(setup: Setup) -> None:
    setup.context["spiffe_id"] = "spiffe://example.org/agent/thief"


@cause("runtime_identity_mismatch")
def runtime_without_identity(setup: Setup) -> None:
    setup.context["spiffe_id"] = None


@cause("runtime_identity_mismatch")
def other_thumbprint(setup: Setup) -> None:
    setup.artifact["binding"] = Binding(
        spiffe_id="spiffe://example.org/agent/sub", thumbprint=DIGEST
    )
    setup.context["thumbprint"] = OTHER


@cause("runtime_identity_mismatch")
def no_binding(setup: Setup) -> None:
    setup.artifact["binding"] = None


@cause("policy_mismatch")
def other_policy(setup: Setup) -> None:
    setup.context["policy"] = ExpectedPolicy(id="other")


@cause("policy_mismatch")
def other_revision(setup: Setup) -> None:
    setup.context["policy"] = ExpectedPolicy(id="main", revision="4")


@cause("policy_mismatch")
def other_policy_digest(setup: Setup) -> None:
    setup.context["policy"] = ExpectedPolicy(digest=OTHER)


@cause("policy_mismatch")
def no_expected_policy(setup: Setup) -> None:
    setup.context["policy"] = None


@cause("policy_mismatch")
def empty_expectation(setup: Setup) -> None:
    setup.context["policy"] = ExpectedPolicy()


@cause("environment_integrity_failure")
def other_measurement(setup: Setup) -> None:
    setup.context["measurements"] = {"image": OTHER}


@cause("environment_integrity_failure")
def no_measurement(setup: Setup) -> None:
    setup.context["measurements"] = {"kernel": DIGEST}


@cause("environment_integrity_failure")
def no_required_environment(setup: Setup) -> None:
    setup.artifact["environment"] = None
    setup.trust["require_environment"] = True


@cause("governance_mesh_discontinuity")
def other_label(setup: Setup) -> None:
    setup.context["governance"] = {"region": "us"}


@cause("governance_mesh_discontinuity")
def label_the_runtime_does_not_know(setup: Setup) -> None:
    setup.context["governance"] = {}


@cause("governance_mesh_discontinuity")
def label_not_stated(setup: Setup) -> None:
    setup.artifact["governance"] = None


@cause("governance_mesh_discontinuity")
def no_facts(setup: Setup) -> None:
    setup.context["facts"] = None


@cause("governance_mesh_discontinuity")
def old_facts(setup: Setup) -> None:
    setup.head["time"] = NOW - 301


@cause("governance_mesh_discontinuity")
def facts_of_no_time(setup: Setup) -> None:
    setup.head["time"] = 0


@cause("governance_mesh_discontinuity")
def facts_from_the_future(setup: Setup) -> None:
    setup.head["time"] = NOW + 61


@cause("governance_mesh_discontinuity")
def facts_on_another_log(setup: Setup) -> None:
    setup.head["origin"] = "another.log"


@cause("governance_mesh_discontinuity")
def facts_of_another_history(setup: Setup) -> None:
    world, _ = story()
    setup.context["facts"] = world.facts()


@cause("governance_mesh_discontinuity")
def facts_that_cannot_be_read(setup: Setup) -> None:
    class Broken(MemoryFacts):
        def decisions(self, ids: Any, *, after: int = -1, limit: int = 0) -> Any:
            raise FactsError("\x1b the disk is gone")

    setup.context["facts"] = Broken(Head(ORIGIN, 7, NOW), [])


@cause("governance_mesh_discontinuity")
def old_checkpoint(setup: Setup) -> None:
    setup.trust["max_checkpoint_age"] = 99
    setup.after.append(lambda world: cosigned_at(world, NOW - 100))


@cause("governance_mesh_discontinuity")
def checkpoint_from_the_future(setup: Setup) -> None:
    setup.after.append(lambda world: cosigned_at(world, NOW + 61))


@cause("lineage_fragmentation")
def dangling_parent(setup: Setup) -> None:
    setup.after.append(lambda world: world.edge("triggered_by", "run:call", "run:gone"))


@cause("lineage_fragmentation")
def unauthorised_parent(setup: Setup) -> None:
    def change(world: World) -> None:
        world.decide("other", allow=False)
        world.edge("triggered_by", "run:call", "run:other")

    setup.after.append(change)


@cause("lineage_fragmentation")
def wrong_parent(setup: Setup) -> None:
    setup.context["parent"] = "another"


@cause("lineage_fragmentation")
def parent_in_another_log(setup: Setup) -> None:
    far = {"origin": "other/log", "index": 5, "leaf": "A" * 43 + "="}
    setup.after.append(lambda world: world.edge("triggered_by", "run:call", "run:far", **far))


@cause("lineage_fragmentation")
def delegation_not_logged(setup: Setup) -> None:
    def change(world: World) -> None:
        spare = World()
        spare.edge("used", "run:plan", "artifact:x")
        world.records[2] = spare.records[0]

    setup.after.append(change)


@cause("lineage_fragmentation")
def expired_parent(setup: Setup) -> None:
    def change(world: World) -> None:
        world.decide("short", artifact=artifact(validity=Validity(not_before=1, not_after=2)))
        world.edge("triggered_by", "run:call", "run:short")

    setup.after.append(change)


@cause("lineage_fragmentation")
def conflicting_id(setup: Setup) -> None:
    setup.after.append(lambda world: world.decide("elsewhere", id_="d-call"))


@cause("revoked_authorization")
def decision_revoked(setup: Setup) -> None:
    setup.after.append(lambda world: world.revoke(decision="d-call"))


@cause("revoked_authorization")
def revoked_by_edge(setup: Setup) -> None:
    setup.after.append(lambda world: world.edge("revoked_by", "decision:d-call", "run:incident"))


@cause("revoked_authorization")
def run_revoked(setup: Setup) -> None:
    setup.after.append(lambda world: world.revoke(execution="call"))


@cause("revoked_authorization")
def ancestor_run_revoked(setup: Setup) -> None:
    setup.after.append(lambda world: world.revoke(execution="plan"))


@cause("revoked_authorization")
def ancestor_decision_revoked(setup: Setup) -> None:
    setup.after.append(lambda world: world.revoke(decision="d-plan", since=NOW))


@cause("revoked_authorization")
def authority_key_revoked(setup: Setup) -> None:
    setup.after.append(lambda world: world.revoke(key=key_reference(AUTHORITY)))


@cause("revoked_authorization")
def gateway_key_revoked(setup: Setup) -> None:
    setup.after.append(lambda world: world.revoke(key=key_reference(GATEWAY_KEY)))


@cause("revoked_authorization")
def some_key_of_the_gateway_revoked(setup: Setup) -> None:
    setup.trust["gateways"] = None
    setup.after.append(lambda world: world.revoke(key=f"{GATEWAY}+00000000"))


@cause("revoked_authorization")
def runtime_key_revoked(setup: Setup) -> None:
    setup.artifact["binding"] = Binding(thumbprint=DIGEST)
    setup.context["thumbprint"] = DIGEST
    setup.after.append(lambda world: world.revoke(key=DIGEST))


@cause("denied_by_policy")
def plain_no(setup: Setup) -> None:
    setup.members["allow"] = False


@cause("denied_by_policy")
def plain_no_with_its_code(setup: Setup) -> None:
    deny(setup, "denied_by_policy")


@cause("could_not_evaluate")
def no_answer_of_the_policy_engine(setup: Setup) -> None:
    deny(setup, "could_not_evaluate")


def deny(setup: Setup, code: str) -> None:
    codes = (*setup.members.get("codes", ()), code)
    setup.members |= {"allow": False, "codes": codes}


def _members(decision: Decision) -> dict[str, Any]:
    return {name: getattr(decision, name) for name in decision.__struct_fields__}


def keep_signatures(permit: Permit, count: int) -> Permit:
    signed = permit.proof.checkpoint
    note = replace(signed.note, signatures=signed.note.signatures[:count])
    return Permit(replace(permit.proof, checkpoint=replace(signed, note=note)))


def cosigned_at(world: World, now: int) -> None:
    whole = world.permit
    world.permit = lambda index: whole(index, now=now)  # type: ignore[method-assign]


def cosigned_by_clocks(world: World, *off: int | None) -> None:
    """Each witness's clock is ahead by so many seconds; None for a witness that is away."""
    whole = world.checkpoint

    def checkpoint(**how: Any) -> SignedCheckpoint:
        signed = whole(**how)
        lines = [
            witness(name).sign(signed.note.text, NOW + seconds)
            for name, seconds in zip(WITNESSES, off, strict=True)
            if seconds is not None
        ]
        return replace(
            signed, note=UnverifiedNote(signed.note.text, (signed.note.signatures[0], *lines))
        )

    world.checkpoint = checkpoint  # type: ignore[method-assign]


@pytest.mark.parametrize("off", [(0, 90, None), (None, 864_000, 0)])
def test_a_wrong_clock_keeps_its_seat_in_the_quorum(off: tuple[int | None, ...]) -> None:
    setup = Setup(trust={"max_checkpoint_age": 99})
    setup.after.append(lambda world: cosigned_by_clocks(world, *off))
    assert setup.verdict().permitted


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("wrong", [-864_000, -400, 61, 90, 864_000])
def test_one_wrong_clock_of_three_denies_nothing(place: int, wrong: int) -> None:
    off = [0, 0, 0]
    off[place] = wrong
    setup = Setup(trust={"max_checkpoint_age": 99})
    setup.after.append(lambda world: cosigned_by_clocks(world, *off))
    verdict = setup.verdict()
    assert verdict.permitted, verdict.findings
    late = ((WITNESSES[place], NOW + wrong),) if wrong > 0 else ()
    assert verdict.ahead == late
    assert [one["witness"] for one in verdict.members()["future"]] == [name for name, _ in late]


@pytest.mark.parametrize(
    ("off", "reason"),
    [
        ((61, 864_000, None), "w1.example states 1"),
        ((-100, -100, 0), "found 100 s"),
        ((-100, 0, 3600), "found 100 s"),
    ],
)
def test_two_wrong_clocks_of_three_are_no_quorum(off: tuple[int | None, ...], reason: str) -> None:
    setup = Setup(trust={"max_checkpoint_age": 99})
    setup.after.append(lambda world: cosigned_by_clocks(world, *off))
    [finding] = setup.verdict().findings
    assert finding.check == "checkpoint age"
    assert reason in finding.sentence


ALL = [
    pytest.param(code, function, id=f"{code}-{name}")
    for code, causes in CAUSES.items()
    for name, function in causes.items()
]


@pytest.mark.parametrize(("code", "function"), ALL)
def test_each_cause_gives_its_code_alone(code: str, function: Cause) -> None:
    setup = Setup()
    function(setup)
    verdict = setup.verdict()
    assert not verdict.permitted
    assert verdict.codes == (code,), [one.sentence for one in verdict.findings]
    for finding in verdict.findings:
        assert ": expected " in finding.sentence
        assert ", found " in finding.sentence
        assert finding.sentence.isascii()
        assert finding.sentence.isprintable()


PAIRED = {
    "authorization_discontinuity": other_action,
    "invalid_signature": no_quorum,
    "runtime_identity_mismatch": other_runtime,
    "policy_mismatch": other_policy,
    "environment_integrity_failure": other_measurement,
    "governance_mesh_discontinuity": other_label,
    "lineage_fragmentation": dangling_parent,
    "revoked_authorization": decision_revoked,
    "denied_by_policy": plain_no_with_its_code,
    "could_not_evaluate": no_answer_of_the_policy_engine,
}


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(CODES, 2)))
def test_codes_come_in_pairs_in_design_order(one: str, other: str) -> None:
    setup = Setup()
    PAIRED[other](setup)
    PAIRED[one](setup)
    assert setup.verdict().codes == (one, other)


def test_all_codes_at_once() -> None:
    setup = Setup()
    for function in PAIRED.values():
        function(setup)
    assert setup.verdict().codes == CODES


def test_the_same_inputs_give_the_same_verdict() -> None:
    def all_at_once() -> Verdict:
        setup = Setup()
        for function in PAIRED.values():
            function(setup)
        return setup.verdict()

    assert all_at_once() == all_at_once()


def test_a_denial_with_codes_hands_them_on() -> None:
    setup = Setup(members={"allow": False, "codes": ("policy_mismatch",)})
    assert setup.verdict().codes == ("authorization_discontinuity", "policy_mismatch")


# --- explicit leniency ------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "trust"),
    [
        (no_artifact, {"require_artifact": False}),
        (unknown_authority, {"allow_unknown_signatures": True}),
        (no_authority_signature, {"signatures": 0}),
        (no_binding, {"require_binding": False}),
        (no_expected_policy, {"require_policy": False}),
        (label_the_runtime_does_not_know, {"allow_unknown_labels": True}),
        (no_facts, {"require_facts": False}),
        (old_facts, {"max_facts_age": None}),
        (delegation_not_logged, {"allow_unlogged_delegation": True}),
        (parent_in_another_log, {"external_logs": frozenset({"other/log"})}),
        (gateway_not_trusted, {"gateways": None}),
    ],
)
def test_each_strictness_has_its_switch(function: Cause, trust: dict[str, Any]) -> None:
    setup = Setup()
    function(setup)
    assert not setup.verdict().permitted
    setup.trust |= trust
    assert setup.verdict().permitted, setup.verdict().findings


def test_a_decision_without_run_needs_a_switch() -> None:
    world = World()
    index = world.decide(None)
    context = Context(
        now=NOW,
        action="read",
        resource=Entity("document", "7"),
        facts=world.facts(),
    )
    lenient = {"require_artifact": False, "require_binding": False, "require_policy": False}
    found = verify_permit(world.permit(index), context, Trust(policy=policy(), **lenient))
    assert found.codes == ("authorization_discontinuity",)
    trust = Trust(policy=policy(), require_execution=False, **lenient)
    assert verify_permit(world.permit(index), context, trust).permitted
    world.revoke(decision="d0")
    facts = world.facts()
    found = verify_permit(world.permit(index), replace(context, facts=facts), trust)
    assert found.codes == ("revoked_authorization",)


def test_ml_dsa_44_witnesses_and_authorities() -> None:
    world = World()
    index = world.decide("call", artifact=artifact(attribution=artifact().attribution))
    decision = world.records[index]
    assert isinstance(decision, Decision)
    world.records[index] = sign_decision(decision, "second.example", mldsa44("second"))
    context = Context(
        now=NOW,
        action="list",
        resource=Entity("document", "7"),
        execution="call",
        spiffe_id="spiffe://example.org/agent/sub",
        measurements={"image": DIGEST},
        policy=ExpectedPolicy(id="main"),
        governance={"region": "eu"},
        facts=world.facts(),
    )
    trust = Trust(
        policy=policy(post_quantum=True),
        authorities=(AUTHORITY_PQ,),
        allow_unlogged_delegation=True,
    )
    permit = world.permit(index, post_quantum=True)
    assert verify_permit(permit, context, trust).permitted
    assert not verify_permit(world.permit(index), context, trust).permitted


@pytest.mark.parametrize(
    "members",
    [
        {"authorities": (AUTHORITY,), "signatures": 2},
        {"signatures": 1},
        {"authorities": (AUTHORITY, replace(AUTHORITY, public=bytes(32)))},
        {"authorities": (replace(AUTHORITY, algorithm=4),)},
    ],
)
def test_trust_that_makes_no_sense_is_refused(members: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="authorit"):
        Trust(policy=policy(), **members)


@pytest.mark.parametrize(
    ("member", "values"),
    [
        ("gateways", [("gw.example/edge",), "gw.example/edge", (None,), {"gw.example/edge": 1}]),
        ("clock_tolerance", [-1, 60_000_000, None, "60"]),
        ("not_before_leeway", [-1, 86_401, NOW, 0.5]),
        ("max_facts_age", [-1, NOW * 1000]),
    ],
)
def test_trust_in_other_units_or_things_is_refused_by_its_member(
    member: str, values: list[Any]
) -> None:
    for value in values:
        options: dict[str, Any] = {member: value}
        with pytest.raises(ValueError, match=member):
            Trust(policy=policy(), **options)


# --- the file ---------------------------------------------------------------------


def test_a_permit_is_a_tlog_proof_and_comes_back() -> None:
    """C2SP tlog-proof: the record is the extra data."""
    world, index = story()
    permit = world.permit(index)
    data = permit.encode()
    assert parse_permit(data) == permit
    assert parse_permit(data).encode() == data
    assert parse_tlog_proof(data).extra == permit.entry == world.entries()[index]
    assert permit.decision == world.records[index]
    assert permit.index == index


def test_what_is_no_permit_raises_or_is_denied() -> None:
    world, index = story()
    permit = world.permit(index)
    context = Context(now=NOW, action="read", resource=Entity("document", "7"))
    trust = Trust(policy=policy())
    bare = replace(permit.proof, extra=None).encode()
    garbage = replace(permit.proof, extra=b"{}").encode()
    for data in (b"", bare, garbage, b"x" * 2_000_000):
        with pytest.raises(FormatError):
            parse_permit(data)
        verdict = verify_permit_bytes(data, context, trust)
        assert verdict.codes == ("authorization_discontinuity",)
        [finding] = verdict.findings
        assert finding.check == "permit"


def test_a_record_that_is_no_decision_is_denied() -> None:
    world, _ = story()
    world.outcome("call")
    context = Context(now=NOW, action="read", resource=Entity("document", "7"), facts=world.facts())
    verdict = verify_permit(world.permit(7), context, Trust(policy=policy()))
    assert verdict.codes == ("authorization_discontinuity",)
    assert verdict.findings == (
        Finding("authorization_discontinuity", "record", "a decision", "a record of kind outcome"),
    )


def test_facts_behind_the_permit_deny() -> None:
    world, index = story()
    context = Context(
        now=NOW,
        action="read",
        resource=Entity("document", "7"),
        execution="call",
        facts=world.facts(size=index),
    )
    verdict = verify_permit(world.permit(index), context, Trust(policy=policy()))
    assert "governance_mesh_discontinuity" in verdict.codes
    assert any(finding.check == "facts size" for finding in verdict.findings)
