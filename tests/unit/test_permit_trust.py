"""Permits: what a verifier trusts, wrong clocks among witnesses, and the file."""

from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from governed import AUTHORITY, SECOND, WITNESSES, World, artifact, policy, runtime, story
from muniment.permit import Trust, parse_permit, verify_permit, verify_permit_bytes
from muniment.permit.verdict import Finding
from muniment.records.authority import authority_vkey, sign_decision
from muniment.records.kinds import Decision
from muniment.tlog.checkpoint import SignedCheckpoint
from muniment.tlog.encoding import FormatError
from muniment.tlog.note import UnverifiedNote
from muniment.tlog.tlogproof import parse_tlog_proof
from permit_cases import Setup
from signing import NOW, ed25519, mldsa44, witness


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


def test_a_decision_without_run_needs_a_switch() -> None:
    world = World()
    index = world.decide(None)
    nothing = {"execution": None, "spiffe_id": None, "policy": None}
    context = runtime(subject=None, **nothing, measurements={}, governance={}, facts=world.facts())
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
    index = world.decide("call", artifact=artifact())
    decision = world.records[index]
    assert isinstance(decision, Decision)
    world.records[index] = sign_decision(decision, "second.example", mldsa44("second"))
    context = runtime(action="list", facts=world.facts())
    trust = Trust(
        policy=policy(post_quantum=True),
        authorities=(SECOND,),
        allow_unlogged_delegation=True,
    )
    permit = world.permit(index, post_quantum=True)
    assert verify_permit(permit, context, trust).permitted
    assert not verify_permit(world.permit(index), context, trust).permitted


@pytest.mark.parametrize(("key", "permitted"), [("second", True), ("authority", False)])
def test_one_key_of_two_names_is_one_authority(key: str, permitted: bool) -> None:
    world = World()
    index = world.decide("call", artifact=artifact())
    for name, seed in (("authority.example", "authority"), ("second.example", key)):
        decision = world.records[index]
        assert isinstance(decision, Decision)
        world.records[index] = sign_decision(decision, name, ed25519(seed))
    trust = Trust(
        policy=policy(),
        authorities=(AUTHORITY, authority_vkey("second.example", ed25519(key))),
        signatures=2,
        allow_unlogged_delegation=True,
    )
    verdict = verify_permit(world.permit(index), runtime(facts=world.facts()), trust)
    assert verdict.permitted is permitted
    assert verdict.codes == (() if permitted else ("invalid_signature",))


@pytest.mark.parametrize(("linked", "permitted"), [(False, True), (True, False)])
def test_two_keys_that_a_third_one_links_are_one_authority(linked: bool, permitted: bool) -> None:
    """The third has the name of one and the key of the other: whoever has it has both."""
    world = World()
    index = world.decide("call", artifact=artifact())
    for name, seed in (("authority.example", "authority"), ("second.example", "second")):
        decision = world.records[index]
        assert isinstance(decision, Decision)
        world.records[index] = sign_decision(decision, name, ed25519(seed))
    second, link = (
        authority_vkey("second.example", ed25519(seed)) for seed in ("second", "authority")
    )
    trust = Trust(
        policy=policy(),
        authorities=(AUTHORITY, second, *((link,) if linked else ())),
        signatures=2,
        allow_unlogged_delegation=True,
    )
    verdict = verify_permit(world.permit(index), runtime(facts=world.facts()), trust)
    assert verdict.permitted is permitted


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


# The file


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
    context = runtime()
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
    context = runtime(execution=None, facts=world.facts())
    verdict = verify_permit(world.permit(7), context, Trust(policy=policy()))
    assert verdict.codes == ("authorization_discontinuity",)
    assert verdict.findings == (
        Finding("authorization_discontinuity", "record", "a decision", "a record of kind outcome"),
    )


def test_facts_behind_the_permit_deny() -> None:
    world, index = story()
    context = runtime(facts=world.facts(size=index))
    verdict = verify_permit(world.permit(index), context, Trust(policy=policy()))
    assert "governance_mesh_discontinuity" in verdict.codes
    assert any(finding.check == "facts size" for finding in verdict.findings)
