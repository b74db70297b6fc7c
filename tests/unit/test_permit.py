"""Permits: every denial code alone, in pairs, and by each distinct cause."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from msgspec import structs

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


def context(**members: Any) -> Cause:
    return lambda setup: setup.context.update(members)


def trust(**members: Any) -> Cause:
    return lambda setup: setup.trust.update(members)


def stated(**members: Any) -> Cause:
    return lambda setup: setup.artifact.update(members)


def head(**members: Any) -> Cause:
    return lambda setup: setup.head.update(members)


def logged(change: Callable[[World], object]) -> Cause:
    return lambda setup: setup.after.append(change)


def spoiled(change: Callable[[Permit], Permit]) -> Cause:
    return lambda setup: setup.permit.append(change)


def signed(*signers: str) -> Cause:
    return lambda setup: setattr(setup, "signers", signers)


def denied(code: str) -> Cause:
    def change(setup: Setup) -> None:
        codes = (*setup.members.get("codes", ()), code)
        setup.members |= {"allow": False, "codes": codes}

    return change


def all_of(*causes: Cause) -> Cause:
    def change(setup: Setup) -> None:
        for cause in causes:
            cause(setup)

    return change


def other_log(setup: Setup) -> None:
    trusted = policy()
    log = structs.replace(trusted.logs[0], vkey=authority_vkey("another.log", ed25519("another")))
    setup.trust["policy"] = replace(trusted, logs=(log,))


def forge(world: World) -> None:
    decision = world.records[3]
    assert isinstance(decision, Decision)
    signed = sign_decision(
        Decision(**{**_members(decision), "signatures": None}),
        "authority.example",
        ed25519("thief"),
    )
    forged = type(signed.signatures[0])(
        key=key_reference(AUTHORITY), signature=signed.signatures[0].signature
    )
    world.records[3] = Decision(**{**_members(decision), "signatures": (forged,)})


class Broken(MemoryFacts):
    def decisions(self, ids: Any, *, after: int = -1, limit: int = 0) -> Any:
        raise FactsError("\x1b the disk is gone")


def lose_delegation(world: World) -> None:
    spare = World()
    spare.edge("used", "run:plan", "artifact:x")
    world.records[2] = spare.records[0]


def triggered_by(run: str, how: dict[str, Any] | None, **far: Any) -> Cause:
    """The call was also triggered by another run, which is decided as told, or not at all."""

    def change(world: World) -> None:
        if how is not None:
            world.decide(run, **how)
        world.edge("triggered_by", "run:call", f"run:{run}", **far)

    return logged(change)


NO_FACTS = all_of(context(facts=None), trust(require_facts=False))
SPIFFE = "spiffe://example.org/agent/sub"
CAUSES: dict[str, dict[str, Cause]] = {
    "authorization_discontinuity": {
        "no_artifact": all_of(
            lambda setup: setup.members.update(artifact=None),
            trust(require_binding=False, require_policy=False),
            context(governance={}, policy=None),
        ),
        "other_action": context(action="delete"),
        "other_resource": context(resource=Entity("document", "8")),
        "other_resource_type": context(resource=Entity("folder", "7")),
        "other_subject": context(subject=Entity("agent", "orch")),
        "other_run": context(execution="call2"),
        "runtime_without_run": context(execution=None),
        "in_scope_but_not_requested": all_of(context(action="list"), trust(exact_request=True)),
        # Not before the edges of the lineage, so that the lineage stays whole.
        "not_yet_valid": stated(validity=Validity(not_before=NOW + 1, not_after=NOW + 9)),
        "expired": stated(validity=Validity(not_before=1, not_after=NOW)),
    },
    "invalid_signature": {
        "record_changed": all_of(
            trust(authorities=()),
            signed(),
            NO_FACTS,
            spoiled(lambda one: Permit.of(one.entry.replace(b'"time":1', b'"time":2'), one.proof)),
        ),
        "other_index": all_of(
            NO_FACTS, spoiled(lambda one: Permit(structs.replace(one.proof, index=2)))
        ),
        "no_quorum": spoiled(lambda permit: keep_signatures(permit, 2)),
        "log_not_trusted": other_log,
        "no_authority_signature": signed(),
        "unknown_authority": signed("authority", "stranger"),
        "nobody_can_check_the_signature": trust(authorities=()),
        "wrong_authority_signature": logged(forge),
        "too_few_authorities": trust(authorities=(AUTHORITY, AUTHORITY_PQ), signatures=2),
        "gateway_not_trusted": trust(gateways=(authority_vkey("other.example", ed25519("x")),)),
    },
    "runtime_identity_mismatch": {
        "other_runtime": context(spiffe_id="spiffe://example.org/agent/thief"),
        "runtime_without_identity": context(spiffe_id=None),
        "other_thumbprint": all_of(
            stated(binding=Binding(spiffe_id=SPIFFE, thumbprint=DIGEST)), context(thumbprint=OTHER)
        ),
        "no_binding": stated(binding=None),
    },
    "policy_mismatch": {
        "other_policy": context(policy=ExpectedPolicy(id="other")),
        "other_revision": context(policy=ExpectedPolicy(id="main", revision="4")),
        "other_policy_digest": context(policy=ExpectedPolicy(digest=OTHER)),
        "no_expected_policy": context(policy=None),
        "empty_expectation": context(policy=ExpectedPolicy()),
    },
    "environment_integrity_failure": {
        "other_measurement": context(measurements={"image": OTHER}),
        "no_measurement": context(measurements={"kernel": DIGEST}),
        "no_required_environment": all_of(
            stated(environment=None), trust(require_environment=True)
        ),
    },
    "governance_mesh_discontinuity": {
        "other_label": context(governance={"region": "us"}),
        "label_the_runtime_does_not_know": context(governance={}),
        "label_not_stated": stated(governance=None),
        "no_facts": context(facts=None),
        "old_facts": head(time=NOW - 301),
        "facts_of_no_time": head(time=0),
        "facts_from_the_future": head(time=NOW + 61),
        "facts_on_another_log": head(origin="another.log"),
        "facts_of_another_history": context(facts=story()[0].facts()),
        "facts_that_cannot_be_read": context(facts=Broken(Head(ORIGIN, 7, NOW), [])),
        "old_checkpoint": all_of(
            trust(max_checkpoint_age=99), logged(lambda world: cosigned_at(world, NOW - 100))
        ),
        "checkpoint_from_the_future": logged(lambda world: cosigned_at(world, NOW + 61)),
    },
    "lineage_fragmentation": {
        "dangling_parent": triggered_by("gone", None),
        "unauthorised_parent": triggered_by("other", {"allow": False}),
        "wrong_parent": context(parent="another"),
        "parent_in_another_log": triggered_by(
            "far", None, origin="other/log", index=5, leaf="A" * 43 + "="
        ),
        "delegation_not_logged": logged(lose_delegation),
        "expired_parent": triggered_by(
            "short", {"artifact": artifact(validity=Validity(not_before=1, not_after=2))}
        ),
        "conflicting_id": logged(lambda world: world.decide("elsewhere", id_="d-call")),
    },
    "revoked_authorization": {
        "decision_revoked": logged(lambda world: world.revoke(decision="d-call")),
        "revoked_by_edge": logged(
            lambda world: world.edge("revoked_by", "decision:d-call", "run:incident")
        ),
        "run_revoked": logged(lambda world: world.revoke(execution="call")),
        "ancestor_run_revoked": logged(lambda world: world.revoke(execution="plan")),
        "ancestor_decision_revoked": logged(
            lambda world: world.revoke(decision="d-plan", since=NOW)
        ),
        "authority_key_revoked": logged(lambda world: world.revoke(key=key_reference(AUTHORITY))),
        "gateway_key_revoked": logged(lambda world: world.revoke(key=key_reference(GATEWAY_KEY))),
        "some_key_of_the_gateway_revoked": all_of(
            trust(gateways=None), logged(lambda world: world.revoke(key=f"{GATEWAY}+00000000"))
        ),
        "runtime_key_revoked": all_of(
            stated(binding=Binding(thumbprint=DIGEST)),
            context(thumbprint=DIGEST),
            logged(lambda world: world.revoke(key=DIGEST)),
        ),
    },
    "denied_by_policy": {
        "plain_no": lambda setup: setup.members.update(allow=False),
        "plain_no_with_its_code": denied("denied_by_policy"),
    },
    "could_not_evaluate": {"no_answer_of_the_policy_engine": denied("could_not_evaluate")},
}
BY_NAME = {name: cause for causes in CAUSES.values() for name, cause in causes.items()}


def _members(decision: Decision) -> dict[str, Any]:
    return {name: getattr(decision, name) for name in decision.__struct_fields__}


def keep_signatures(permit: Permit, count: int) -> Permit:
    signed = permit.proof.checkpoint
    note = structs.replace(signed.note, signatures=signed.note.signatures[:count])
    return Permit(structs.replace(permit.proof, checkpoint=structs.replace(signed, note=note)))


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
        return structs.replace(
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


ALL = [(code, name) for code, causes in CAUSES.items() for name in causes]


@pytest.mark.parametrize(("code", "name"), ALL)
def test_each_cause_gives_its_code_alone(code: str, name: str) -> None:
    setup = Setup()
    BY_NAME[name](setup)
    verdict = setup.verdict()
    assert not verdict.permitted
    assert verdict.codes == (code,), [one.sentence for one in verdict.findings]
    for finding in verdict.findings:
        assert ": expected " in finding.sentence
        assert ", found " in finding.sentence
        assert finding.sentence.isascii()
        assert finding.sentence.isprintable()


PAIRED = {
    "authorization_discontinuity": "other_action",
    "invalid_signature": "no_quorum",
    "runtime_identity_mismatch": "other_runtime",
    "policy_mismatch": "other_policy",
    "environment_integrity_failure": "other_measurement",
    "governance_mesh_discontinuity": "other_label",
    "lineage_fragmentation": "dangling_parent",
    "revoked_authorization": "decision_revoked",
    "denied_by_policy": "plain_no_with_its_code",
    "could_not_evaluate": "no_answer_of_the_policy_engine",
}


def verdict_of(*codes: str) -> Verdict:
    """What is found when a cause of each code comes together."""
    setup = Setup()
    for code in codes:
        CAUSES[code][PAIRED[code]](setup)
    return setup.verdict()


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(CODES, 2)))
def test_codes_come_in_pairs_in_design_order(one: str, other: str) -> None:
    assert verdict_of(other, one).codes == (one, other)


def test_all_codes_at_once_and_the_same_each_time() -> None:
    verdict = verdict_of(*PAIRED)
    assert verdict.codes == CODES
    assert verdict_of(*PAIRED) == verdict


def test_a_denial_with_codes_hands_them_on() -> None:
    setup = Setup(members={"allow": False, "codes": ("policy_mismatch",)})
    assert setup.verdict().codes == ("authorization_discontinuity", "policy_mismatch")


# --- explicit leniency ------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "switch"),
    [
        ("no_artifact", {"require_artifact": False}),
        ("unknown_authority", {"allow_unknown_signatures": True}),
        ("no_authority_signature", {"signatures": 0}),
        ("no_binding", {"require_binding": False}),
        ("no_expected_policy", {"require_policy": False}),
        ("label_the_runtime_does_not_know", {"allow_unknown_labels": True}),
        ("no_facts", {"require_facts": False}),
        ("old_facts", {"max_facts_age": None}),
        ("delegation_not_logged", {"allow_unlogged_delegation": True}),
        ("parent_in_another_log", {"external_logs": frozenset({"other/log"})}),
        ("gateway_not_trusted", {"gateways": None}),
    ],
)
def test_each_strictness_has_its_switch(name: str, switch: dict[str, Any]) -> None:
    setup = Setup()
    BY_NAME[name](setup)
    assert not setup.verdict().permitted
    setup.trust |= switch
    assert setup.verdict().permitted, setup.verdict().findings


def reading(**members: Any) -> Context:
    return Context(now=NOW, action="read", resource=Entity("document", "7"), **members)


def test_a_decision_without_run_needs_a_switch() -> None:
    world = World()
    index = world.decide(None)
    context = reading(facts=world.facts())
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
        {"authorities": (AUTHORITY, structs.replace(AUTHORITY, public=bytes(32)))},
        {"authorities": (structs.replace(AUTHORITY, algorithm=4),)},
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
    context = reading()
    trust = Trust(policy=policy())
    bare = structs.replace(permit.proof, extra=None).encode()
    garbage = structs.replace(permit.proof, extra=b"{}").encode()
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
    context = reading(facts=world.facts())
    verdict = verify_permit(world.permit(7), context, Trust(policy=policy()))
    assert verdict.codes == ("authorization_discontinuity",)
    assert verdict.findings == (
        Finding("authorization_discontinuity", "record", "a decision", "a record of kind outcome"),
    )


def test_facts_behind_the_permit_deny() -> None:
    world, index = story()
    context = reading(execution="call", facts=world.facts(size=index))
    verdict = verify_permit(world.permit(index), context, Trust(policy=policy()))
    assert "governance_mesh_discontinuity" in verdict.codes
    assert any(finding.check == "facts size" for finding in verdict.findings)
