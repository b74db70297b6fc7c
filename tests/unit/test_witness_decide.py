"""The judgement of a witness, rule by rule (C2SP tlog-witness)."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from judging import HeadState, decide
from muniment.tlog.checkpoint import SignedCheckpoint
from muniment.tlog.cosignature import MLDSA44Verifier
from muniment.tlog.merkle import EMPTY_ROOT
from muniment.tlog.note import SignatureLine, UnverifiedNote
from muniment.tlog.witnesswire import AddCheckpoint, SignSubtree
from muniment_witness.judge.decide import (
    NEVER,
    Acceptance,
    Head,
    KnownLog,
    Refusal,
    authenticate,
    decide_subtree,
)
from witness_tools import WITNESS, GrowingLog, log_signer, witness_signer

NOW = 1_700_000_000
LOG = GrowingLog()
KNOWN = KnownLog(LOG.origin, LOG.verifiers)
OTHER_HASH = bytes(range(32))


def at(size: int, *, signed: int = 0) -> HeadState:
    head = Head(size, LOG.root(size)) if size else NEVER
    return HeadState(KNOWN, head, signed)


def refusal(state: HeadState, request: AddCheckpoint, now: int = NOW) -> tuple[int, str]:
    outcome = decide(state, request, now)
    assert isinstance(outcome, Refusal)
    return outcome.status, outcome.slug


def accepted(state: HeadState, request: AddCheckpoint) -> Acceptance:
    outcome = decide(state, request, NOW)
    assert isinstance(outcome, Acceptance)
    return outcome


def spoiled(line: SignatureLine) -> SignatureLine:
    signature = bytes([*line.signature[:-1], line.signature[-1] ^ 1])
    return replace(line, signature=signature)


def test_unknown_origin_is_404() -> None:
    """tlog-witness, add-checkpoint: "If the checkpoint origin is unknown" ... MUST 404."""
    assert refusal(HeadState(None), LOG.request(0, 3)) == (404, "unknown-origin")


def test_no_trusted_signature_is_403() -> None:
    """tlog-witness, add-checkpoint: MUST 403 if "no signature from a trusted key" is present."""
    stranger = log_signer(LOG.origin)
    checkpoint = LOG.checkpoint(3, signers=[stranger])
    assert refusal(at(0), LOG.request(0, 3, checkpoint=checkpoint)) == (403, "bad-signature")


def test_signature_of_trusted_key_that_fails_is_403_even_with_a_good_one() -> None:
    """tlog-witness: MUST 403 when name and ID "match a trusted key but the signature" fails."""
    checkpoint = LOG.checkpoint(3)
    line = checkpoint.note.signatures[0]
    for lines in ([spoiled(line)], [line, spoiled(line)], [spoiled(line), line]):
        note = UnverifiedNote(checkpoint.note.text, tuple(lines))
        request = LOG.request(0, 3, checkpoint=structs.replace(checkpoint, note=note))
        assert refusal(at(0), request) == (403, "bad-signature")


def test_signatures_of_unknown_keys_are_ignored_and_not_kept() -> None:
    """tlog-witness, add-checkpoint: "it MUST ignore signatures from unknown keys"."""
    line = LOG.checkpoint(3).note.signatures[0]
    unknown = [
        SignatureLine("other.example", line.key_id, b"x"),
        SignatureLine(line.name, line.key_id ^ 1, b"x"),
        log_signer("third.example").sign(LOG.checkpoint(3).note.text, 0),
    ]
    outcome = accepted(at(0), LOG.request(0, 3, checkpoint=LOG.checkpoint(3, more=unknown)))
    assert outcome.request.note.signatures == (line,)


def test_checkpoint_may_include_multiple_signatures() -> None:
    """tlog-witness, add-checkpoint: the checkpoint "MAY include multiple signatures"."""
    log = GrowingLog(signers=[log_signer(), log_signer(algorithm="mldsa44")])
    known = KnownLog(log.origin, log.verifiers)
    outcome = accepted(HeadState(known), log.request(0, 3))
    assert len(outcome.request.note.signatures) == 2
    # During a rotation one of two trusted keys is enough.
    one = log.request(0, 3, checkpoint=log.checkpoint(3, signers=log.signers[:1]))
    assert isinstance(decide(HeadState(known), one, NOW), Acceptance)


def test_old_size_above_checkpoint_size_is_400() -> None:
    """tlog-witness: old size "MUST be equal to or lower than the checkpoint size", else 400."""
    assert refusal(at(4), LOG.request(4, 3)) == (400, "old-size-too-large")
    # Before the comparison with the latest size: a conflict it would be, too.
    assert refusal(at(2), LOG.request(4, 3)) == (400, "old-size-too-large")


def test_old_size_other_than_latest_is_409_with_the_size() -> None:
    """tlog-witness: "MUST check that the old size matches the size of the latest", else 409."""
    for latest, old, new in ((5, 3, 7), (5, 0, 7), (0, 3, 7), (5, 6, 7), (5, 0, 0)):
        outcome = decide(at(latest), LOG.request(old, new), NOW)
        assert isinstance(outcome, Refusal)
        assert (outcome.status, outcome.size) == (409, latest)


def test_conflict_is_told_before_the_proof_is_looked_at() -> None:
    """The order of tlog-witness: the old size is compared before the proof."""
    request = LOG.request(3, 7, proof=[OTHER_HASH])
    assert refusal(at(5), request) == (409, "conflict")


def test_size_zero_without_the_empty_root_is_422() -> None:
    """tlog-witness: size zero "MUST have the root hash of the empty tree", else 422."""
    checkpoint = LOG.checkpoint(0, root=OTHER_HASH)
    assert refusal(at(0), LOG.request(0, 0, checkpoint=checkpoint)) == (422, "bad-root")
    assert isinstance(decide(at(0), LOG.request(0, 0), NOW), Acceptance)


def test_proof_with_old_size_zero_is_422() -> None:
    """tlog-witness: "If the old size is zero, the consistency proof MUST be empty", else 422."""
    for new in (0, 1, 7):
        request = LOG.request(0, new, proof=[OTHER_HASH])
        assert refusal(at(0), request) == (422, "bad-proof")


def test_equal_sizes_need_equal_roots() -> None:
    """tlog-witness: with equal sizes MUST check "the root hashes are also identical", else 422."""
    assert refusal(at(5), LOG.fork(2).request(5, 5)) == (422, "bad-root")
    assert refusal(at(5), LOG.request(5, 5, proof=[OTHER_HASH])) == (422, "bad-proof")
    outcome = accepted(at(5), LOG.request(5, 5))
    assert outcome.head == outcome.old == Head(5, LOG.root(5))


def test_proof_that_does_not_verify_is_422() -> None:
    """tlog-witness: "if a Merkle Consistency Proof doesn't verify", MUST 422."""
    good = LOG.proof(5, 9)
    for proof in ([], good[:-1], [*good, OTHER_HASH], [OTHER_HASH, *good[1:]], good[::-1]):
        assert refusal(at(5), LOG.request(5, 9, proof=proof)) == (422, "bad-proof")
    forked = LOG.fork(2)
    assert refusal(at(5), forked.request(5, 9)) == (422, "bad-proof")


def test_a_valid_request_is_accepted_from_its_head() -> None:
    """tlog-witness: "If all the checks above pass", the checkpoint becomes the latest."""
    outcome = accepted(at(5), LOG.request(5, 9))
    assert outcome.old == Head(5, LOG.root(5))
    assert outcome.head == Head(9, LOG.root(9))
    assert outcome.now == NOW


def test_extension_lines_are_kept_and_not_judged() -> None:
    """tlog-cosignature: extension lines "MUST be included in the cosigned message"."""
    checkpoint = LOG.checkpoint(9, extensions=["anything", "old 3"])
    outcome = accepted(at(5), LOG.request(5, 9, checkpoint=checkpoint))
    assert outcome.request.note.text.endswith("anything\nold 3\n")


@pytest.mark.parametrize("now", [-1, 0, NOW - 1])
def test_a_clock_behind_its_own_cosignatures_refuses(now: int) -> None:
    """tlog-witness: "the timestamp MUST NOT be zero"; and it never goes back."""
    assert refusal(at(5, signed=NOW), LOG.request(5, 9), now) == (503, "clock")


def test_the_same_second_is_not_behind() -> None:
    assert isinstance(decide(at(5, signed=NOW), LOG.request(5, 9), NOW), Acceptance)


def test_one_line_many_times_is_verified_once_and_kept_once() -> None:
    calls = 0

    class Counting:
        vkey = LOG.signers[0].vkey

        def verify(self, text: str, signature: bytes) -> int | None:
            nonlocal calls
            calls += 1
            return LOG.verifiers[0].verify(text, signature)

    checkpoint = LOG.checkpoint(3)
    note = UnverifiedNote(checkpoint.note.text, checkpoint.note.signatures * 60)
    request = LOG.request(0, 3, checkpoint=structs.replace(checkpoint, note=note))
    outcome = authenticate(KnownLog(LOG.origin, (Counting(),)), request)
    assert not isinstance(outcome, Refusal)
    assert outcome.note.signatures == checkpoint.note.signatures
    assert calls == 1


SIZES = st.integers(0, 12)


@settings(max_examples=300, deadline=None)
@given(latest=SIZES, old=SIZES, new=SIZES, fork=st.none() | SIZES, mangle=st.integers(0, 3))
def test_accepts_exactly_what_extends_the_head(
    latest: int, old: int, new: int, fork: int | None, mangle: int
) -> None:
    """A second statement of the rules: accepted if and only if the request is flawless."""
    log = LOG if fork is None else LOG.fork(fork)
    proof = list(log.proof(old, new))
    if mangle == 1:
        proof.append(OTHER_HASH)
    elif mangle == 2 and proof:
        proof[0] = OTHER_HASH
    elif mangle == 3 and proof:
        proof.pop()
    outcome = decide(at(latest), log.request(old, new, proof=proof), NOW)
    untouched = tuple(proof) == log.proof(old, new)
    same_history = log.root(latest) == LOG.root(latest)
    good = old == latest and old <= new and untouched and same_history
    assert isinstance(outcome, Acceptance) == good
    if isinstance(outcome, Refusal):
        assert outcome.status in {400, 409, 422}
        assert (outcome.size is not None) == (outcome.status == 409)


# sign-subtree

OWN = [witness_signer("mldsa44"), witness_signer("mldsa44"), witness_signer("ed25519")]
VERIFIERS = tuple(MLDSA44Verifier(signer.vkey) for signer in OWN[:2])


def subtree_status(request: SignSubtree, *, known: bool = True) -> int:
    """Of the refusal."""
    outcome = decide_subtree(VERIFIERS, known=known, request=request)
    assert isinstance(outcome, Refusal)
    return outcome.status


def cosigned(size: int, number: int = 0, *, time: int = NOW) -> SignatureLine:
    return OWN[number].sign(LOG.checkpoint(size).note.text, time)


def reference(size: int, *lines: SignatureLine) -> SignedCheckpoint:
    """A checkpoint with these signatures and no others."""
    checkpoint = LOG.checkpoint(size)
    return SignedCheckpoint(
        checkpoint.checkpoint, UnverifiedNote(checkpoint.note.text, lines or (cosigned(size),))
    )


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize(("start", "end", "size"), [(8, 13, 14), (0, 14, 14), (4, 6, 9), (0, 1, 1)])
def test_valid_subtree_requests(start: int, end: int, size: int, number: int) -> None:
    """tlog-witness v1.1.0, sign-subtree: the key that signed the checkpoint cosigns."""
    request = LOG.subtree_request(start, end, reference(size, cosigned(size, number)))
    assert decide_subtree(VERIFIERS, known=True, request=request) == OWN[number].vkey


@pytest.mark.parametrize(("start", "end"), [(1, 3), (4, 9), (3, 3), (5, 4), (0, 0), (8, 16)])
def test_invalid_range_is_400(start: int, end: int) -> None:
    """tlog-witness, sign-subtree: [start, end) "MUST be a valid subtree" within the checkpoint."""
    request = LOG.subtree_request(start, end, reference(14), hash_=OTHER_HASH)
    # Even for an unknown origin.
    for known in (True, False):
        assert subtree_status(request, known=known) == 400


def test_subtree_of_unknown_origin_is_404() -> None:
    """tlog-witness, sign-subtree: "If the checkpoint origin is unknown", MUST 404."""
    request = LOG.subtree_request(8, 13, reference(14))
    assert subtree_status(request, known=False) == 404


def test_subtree_without_one_own_cosignature_is_403() -> None:
    """tlog-witness v1.1.0, sign-subtree: "exactly one" signature, and it MUST verify; else 403."""
    stranger = witness_signer("mldsa44").sign(LOG.checkpoint(14).note.text, NOW)
    log = LOG.checkpoint(14).note.signatures[0]
    for lines in (
        [stranger],
        [log],
        [spoiled(cosigned(14))],
        [cosigned(14), spoiled(cosigned(14))],
        [cosigned(14), cosigned(14, 1)],
        [log, cosigned(14)],
        [cosigned(14, 2)],  # an Ed25519 key, which cannot cosign subtrees
        [cosigned(14, time=0)],
    ):
        assert subtree_status(LOG.subtree_request(8, 13, reference(14, *lines))) == 403


def test_subtree_proof_that_fails_is_422() -> None:
    """tlog-witness, sign-subtree: "If the Merkle Consistency Proof doesn't verify", MUST 422."""
    good = LOG.subtree_request(8, 13, reference(14))
    for bad in (
        structs.replace(good, hash=OTHER_HASH),
        structs.replace(good, proof=()),
        structs.replace(good, proof=(*good.proof, OTHER_HASH)),
        structs.replace(good, start=4, end=8),
    ):
        assert subtree_status(bad) == 422


def test_names_do_not_mix() -> None:
    assert OWN[0].vkey.name == WITNESS
    with pytest.raises(AssertionError):
        authenticate(KnownLog("other.example", ()), LOG.request(0, 1))


def test_empty_root_is_the_hash_of_nothing() -> None:
    """RFC 6962 section 2.1, by way of tlog-witness."""
    assert LOG.root(0) == EMPTY_ROOT
