"""Permits: every denial code alone, in pairs, and by each distinct cause."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from governed import AUTHORITY, DIGEST, GATEWAY, SECOND, SPIFFE, World, artifact, policy, story
from muniment.lineage import FactsError, Head, MemoryFacts
from muniment.permit import CODES, ExpectedPolicy, Permit
from muniment.permit.verdict import Verdict
from muniment.records.api import Binding, Validity
from muniment.records.authority import authority_vkey, key_reference, sign_decision
from muniment.records.kinds import Entity
from permit_cases import GATEWAY_KEY, Setup
from signing import NOW, ORIGIN, ed25519

OTHER = "sha256:" + "cd" * 32


def test_a_good_permit_is_permitted() -> None:
    verdict = Setup().verdict()
    assert verdict.permitted
    assert verdict.findings == ()
    assert verdict.codes == ()
    assert verdict.index == 3
    assert verdict.head == Head(ORIGIN, 7, NOW)
    assert verdict.members()["permitted"] is True


# Each code, by each distinct cause

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
    bare = structs.replace(world.records[3], signatures=None)
    [thief] = sign_decision(bare, "authority.example", ed25519("thief")).signatures
    world.records[3] = structs.replace(
        bare, signatures=(structs.replace(thief, key=key_reference(AUTHORITY)),)
    )


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
        "too_few_authorities": trust(authorities=(AUTHORITY, SECOND), signatures=2),
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


def keep_signatures(permit: Permit, count: int) -> Permit:
    signed = permit.proof.checkpoint
    note = structs.replace(signed.note, signatures=signed.note.signatures[:count])
    return Permit(structs.replace(permit.proof, checkpoint=structs.replace(signed, note=note)))


def cosigned_at(world: World, now: int) -> None:
    whole = world.permit
    world.permit = lambda index: whole(index, now=now)  # type: ignore[method-assign]


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


# Explicit leniency


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
