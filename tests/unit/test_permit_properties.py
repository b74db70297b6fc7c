"""Permits: no mutation of a valid permit or its context widens what is permitted; the cost."""

import json
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from governed import AUTHORITY, DIGEST, World, artifact, policy, runtime, story
from muniment.lineage import Head, MemoryFacts
from muniment.permit import (
    Context,
    ExpectedPolicy,
    Permit,
    Trust,
    parse_permit,
    verify_permit,
    verify_permit_bytes,
)
from muniment.records.authority import sign_decision
from muniment.records.canonical import encode_canonical
from muniment.records.codec import encode_record, parse_record
from muniment.records.kinds import Decision, Entity
from muniment.tlog.checkpoint import Checkpoint, sign_checkpoint
from muniment.tlog.encoding import FormatError
from muniment.tlog.note import Ed25519Signer
from muniment.tlog.tlogproof import TlogProof
from rfc6962 import MTH, PATH
from signing import NOW, ORIGIN, ed25519, log_signer, mutations


def signed_story() -> tuple[World, int]:
    world, index = story(artifact=artifact())
    decision = world.records[index]
    assert isinstance(decision, Decision)
    world.records[index] = sign_decision(decision, "authority.example", ed25519("authority"))
    return world, index


WORLD, INDEX = signed_story()
PERMIT = WORLD.permit(INDEX)
DATA = PERMIT.encode()
TRUST = Trust(policy=policy(), authorities=(AUTHORITY,))
CONTEXT = runtime(subject=None, facts=WORLD.facts())


def test_the_example_is_permitted() -> None:
    assert verify_permit_bytes(DATA, CONTEXT, TRUST).permitted


# --- mutations of the file ------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(mutations([DATA]))
def test_no_mutation_of_the_bytes_says_anything_else(data: bytes) -> None:
    verdict = verify_permit_bytes(data, CONTEXT, TRUST)
    if verdict.permitted:
        # All that is left to change are signature lines that the quorum does not need.
        assert parse_permit(data).entry == PERMIT.entry
        assert parse_permit(data).index == INDEX
        assert parse_permit(data).proof.checkpoint.checkpoint == PERMIT.proof.checkpoint.checkpoint


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(DATA) - 1), st.integers(1, 255))
def test_no_changed_byte_says_anything_else(at: int, change: int) -> None:
    data = DATA[:at] + bytes([DATA[at] ^ change]) + DATA[at + 1 :]
    verdict = verify_permit_bytes(data, CONTEXT, TRUST)
    if verdict.permitted:
        assert parse_permit(data).entry == PERMIT.entry


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(value, dict):
        for name, item in value.items():
            found += paths(item, (*path, name))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            found += paths(item, (*path, number))
    return found


MEMBERS = json.loads(PERMIT.entry)
PATHS = paths(MEMBERS)
# A list or dict of its own each time: the next edit may be one inside it.
VALUES: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(
        ["read", "delete", "*", "spiffe://x/thief", DIGEST[::-1], True, False, 0, NOW, 2**53 - 1]
    ),
    st.builds(list),
    st.builds(dict),
)


@st.composite
def edits(draw: st.DrawFn) -> bytes:
    """The record with one to three members changed or removed, if that is still a record."""
    value = json.loads(PERMIT.entry)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(PATHS))
        holder = value
        try:
            for step in path[:-1]:
                holder = holder[step]
            if isinstance(holder, dict) and not isinstance(path[-1], str):
                continue  # an edit before has put it in a list's place
            if draw(st.booleans()):
                holder[path[-1]] = draw(VALUES)
            else:
                del holder[path[-1]]
        except (KeyError, IndexError, TypeError):
            continue
    return encode_canonical(value)


def hostile_log(entry: bytes, *, name: str) -> TlogProof:
    """A proof by a log that calls itself like the trusted one, with a quorum of such witnesses."""
    entries = [*WORLD.entries()]
    entries[INDEX] = entry
    signers = [Ed25519Signer(ORIGIN, ed25519(name))]
    checkpoint = sign_checkpoint(Checkpoint(ORIGIN, len(entries), MTH(entries)), signers, NOW)
    lines = PERMIT.proof.checkpoint.note.signatures[1:]
    return TlogProof(INDEX, tuple(PATH(INDEX, entries)), checkpoint.with_signatures(lines))


@settings(max_examples=200, deadline=None)
@given(edits(), st.booleans())
def test_no_edit_signed_by_a_wrong_key_is_permitted(entry: bytes, relog: bool) -> None:
    if entry == PERMIT.entry:
        return
    try:
        record = parse_record(entry)
    except FormatError:
        return
    if isinstance(record, Decision):
        try:
            entry = encode_record(sign_decision(record, "authority.example", ed25519("thief")))
        except FormatError:
            return
    proof = hostile_log(entry, name="thief") if relog else PERMIT.proof
    verdict = verify_permit(Permit.of(entry, proof), CONTEXT, TRUST)
    assert "invalid_signature" in verdict.codes


def test_a_log_without_its_witnesses_is_not_enough() -> None:
    entries = WORLD.entries()
    checkpoint = sign_checkpoint(
        Checkpoint(ORIGIN, len(entries), MTH(entries)), [log_signer()], NOW
    )
    proof = TlogProof(INDEX, tuple(PATH(INDEX, entries)), checkpoint)
    assert verify_permit(Permit.of(entries[INDEX], proof), CONTEXT, TRUST).codes == (
        "invalid_signature",
    )


# --- mutations of the context ---------------------------------------------------------

MAIN = ("main", "3", DIGEST)
SPICES = st.sampled_from(["", "read", "list", "READ", "delete", "7", "8", "document", "call", "*"])


@st.composite
def contexts(draw: st.DrawFn) -> tuple[Context, Head]:
    """The good context with any number of members changed, and facts of any age."""
    change = draw(st.sets(st.integers(0, 8), max_size=3))
    members: dict[str, Any] = {}
    if 0 in change:
        members["now"] = NOW + draw(
            st.sampled_from([-(10**9), -1001, -61, -60, -1, 1, 299, 300, 301, 999, 1000, 10**9])
        )
    if 1 in change:
        members["action"] = draw(SPICES)
    if 2 in change:
        members["resource"] = Entity(draw(SPICES), draw(SPICES))
    if 3 in change:
        members["execution"] = draw(st.none() | SPICES)
    if 4 in change:
        members["spiffe_id"] = draw(st.none() | SPICES | st.just("spiffe://example.org/agent/SUB"))
    if 5 in change:
        digests = st.sampled_from([DIGEST, DIGEST.upper(), "sha256:" + "00" * 32])
        members["measurements"] = draw(
            st.dictionaries(st.sampled_from(["image", "kernel"]), digests)
        )
    if 6 in change:
        members["policy"] = draw(
            st.none()
            | st.builds(
                ExpectedPolicy,
                id=st.sampled_from([None, "main", "other"]),
                revision=st.sampled_from([None, "3", "03"]),
                digest=st.sampled_from([None, DIGEST]),
            )
        )
    if 7 in change:
        members["governance"] = draw(
            st.dictionaries(st.sampled_from(["region", "tier"]), st.sampled_from(["eu", "us"]))
        )
    size, time = len(WORLD.records), NOW
    if 8 in change:
        size = draw(st.integers(0, size))
        time = NOW + draw(st.sampled_from([-(10**9), -301, -300, 0, 60, 61]))
    return replace(CONTEXT, **members), Head(ORIGIN, size, time)


@settings(max_examples=300, deadline=None)
@given(contexts())
def test_exactly_what_the_decision_states_is_permitted(case: tuple[Context, Head]) -> None:
    context, head = case
    records = list(enumerate(WORLD.records[: head.size]))
    verdict = verify_permit(PERMIT, replace(context, facts=MemoryFacts(head, records)), TRUST)
    expected = context.policy
    parts = () if expected is None else (expected.id, expected.revision, expected.digest)
    allowed = (
        context.action in ("read", "list"),
        context.resource == Entity("document", "7"),
        context.execution == "call",
        NOW - 1000 <= context.now < NOW + 1000,
        context.now + 60 >= NOW,  # the checkpoint is not of the future
        head.time <= context.now + 60,
        head.time >= context.now - 300,
        context.spiffe_id == "spiffe://example.org/agent/sub",
        context.measurements.get("image") == DIGEST,
        any(part is not None for part in parts),
        all(
            part in (None, wanted)
            for part, wanted in zip(parts, ("main", "3", DIGEST), strict=False)
        ),
        context.governance == {"region": "eu"},
        head.size > INDEX,
    )
    assert verdict.permitted == all(allowed)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["decision", "execution", "key"]),
            st.sampled_from(
                ["d-call", "d-plan", "call", "plan", "other", "gateway.example/one+00000000"]
            ),
            st.integers(-2, 2),
        ),
        max_size=4,
    ),
    st.integers(-1, 1),
)
def test_a_revocation_can_only_take_away(targets: list[tuple[str, str, int]], later: int) -> None:
    world, index = signed_story()
    hit = False
    for kind, id_, since in targets:
        if (kind == "key") != ("+" in id_):
            continue
        world.revoke(since=NOW + since, **{kind: id_})
        named = {"decision": ("d-call", "d-plan"), "execution": ("call", "plan"), "key": (id_,)}
        hit |= since <= later and id_ in named[kind]
    context = replace(CONTEXT, now=NOW + later, facts=world.facts())
    verdict = verify_permit(world.permit(index), context, TRUST)
    assert verdict.permitted == (not hit)
    if hit:
        assert verdict.codes == ("revoked_authorization",)
