"""Evidence convicts a log that forked, and never one that did not."""

import base64
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

import rfc6962
from muniment.tlog.checkpoint import Checkpoint, SignedCheckpoint
from muniment.tlog.claims import Leaf
from muniment.tlog.encoding import FormatError, VerificationError
from muniment.tlog.evidence import (
    MAX_EVIDENCE_SIZE,
    EmptyRoot,
    Evidence,
    Fork,
    SameSize,
    Shown,
    contradiction_of,
    describe,
    empty_root,
    explain,
    fork,
    leaf,
    log_verifiers,
    parse_evidence,
    same_size,
    strip,
    verify_evidence,
)
from muniment.tlog.merkle import leaf_hash
from muniment.tlog.note import SignatureLine, UnverifiedNote
from muniment.tlog.policy import parse_policy
from muniment.tlog.tlogproof import TlogProof
from witness_tools import GrowingLog, log_signer, witness_signer

EDWARD, MOLLY = log_signer(), log_signer(algorithm="mldsa44")
LOG = GrowingLog(signers=[EDWARD, MOLLY])
WITNESS = witness_signer()


def honest_fork(log: GrowingLog, other: GrowingLog, old: int, new: int) -> Fork:
    """What an observer makes of the older head of `log` and the newer head and tiles of `other`."""
    return fork(log.checkpoint(old), other.checkpoint(new), other.root(old), other.proof(old, new))


def tlog_proof(log: GrowingLog, index: int, size: int) -> TlogProof:
    return TlogProof(
        index, tuple(rfc6962.PATH(index, log.leaves(size))), log.checkpoint(size), b"extra"
    )


def leaves_of(log: GrowingLog, other: GrowingLog, index: int, size: int, more: int) -> Leaf:
    return leaf(
        tlog_proof(log, index, size),
        leaf_hash(log.leaves(size)[index]),
        tlog_proof(other, index, more),
        leaf_hash(other.leaves(more)[index]),
    )


FORKED = LOG.fork(4)
# ML-DSA signing is randomised: these are signed once.
NINE, FORKED_NINE = LOG.checkpoint(9), FORKED.checkpoint(9)
BAD_EMPTY = LOG.checkpoint(0, root=b"x" * 32)
EXAMPLES: dict[str, Evidence] = {
    "same-size": same_size(NINE, FORKED_NINE),
    "fork": honest_fork(LOG, FORKED, 7, 12),
    "fork without a proof line": honest_fork(LOG, LOG.fork(0), 4, 8),
    "leaf": leaves_of(LOG, FORKED, 5, 8, 11),
    "empty-root": empty_root(BAD_EMPTY),
}
every_kind = pytest.mark.parametrize("evidence", EXAMPLES.values(), ids=EXAMPLES)


@every_kind
def test_it_proves_what_happened(evidence: Evidence) -> None:
    """Offline, against keys that the verifier holds already."""
    proven = verify_evidence(evidence, LOG.verifiers)
    assert (proven.origin, proven.kind) == (LOG.origin, evidence.kind)
    assert proven.evidence == evidence
    assert proven.is_one_key
    for signed in proven.signatures:
        assert {verified.vkey for verified in signed} == {EDWARD.vkey, MOLLY.vkey}
    told = "\n".join(explain(proven))
    assert proven.sentence in told
    assert f"{EDWARD.vkey.key_id:08x}" in told
    for head in evidence.heads:
        assert str(head.size) in told


@every_kind
def test_encode_and_parse_are_inverse(evidence: Evidence) -> None:
    data = evidence.encode()
    assert len(data) < MAX_EVIDENCE_SIZE
    assert parse_evidence(data) == evidence
    assert evidence.hash == sha256(data).digest()
    # "five blocks at most"
    assert len(data.split(b"\n\n")) == 1 + 2 * len(evidence.checkpoints)


def test_the_grammar_to_the_letter() -> None:
    """Pins the bytes: files written today must verify for ever."""

    def b64(data: bytes) -> str:
        return base64.b64encode(data).decode()

    older, newer = strip(LOG.checkpoint(3)), strip(FORKED.checkpoint(6))
    implied, proof = FORKED.root(2), (b"p" * 32, b"q" * 32)
    assert Fork(older, newer, implied, proof).encode().decode() == (
        f"muniment/evidence/v1\nfork\n{b64(implied)}\n{b64(proof[0])}\n{b64(proof[1])}\n\n"
        f"{older.encode().decode()}\n{newer.encode().decode()}"
    )
    shown = Leaf(1, Shown(b"a" * 32, proof, older), Shown(b"b" * 32, (), newer))
    assert shown.encode().decode() == (
        f"muniment/evidence/v1\nleaf\nindex 1\nleaf {b64(b'a' * 32)}\n{b64(proof[0])}\n"
        f"{b64(proof[1])}\nleaf {b64(b'b' * 32)}\n\n"
        f"{older.encode().decode()}\n{newer.encode().decode()}"
    )
    empty = EXAMPLES["empty-root"]
    assert empty.encode() == b"muniment/evidence/v1\nempty-root\n\n" + empty.checkpoints[0].encode()


@pytest.mark.parametrize("alone", [EDWARD, MOLLY], ids=["ed25519", "mldsa44"])
@every_kind
def test_one_known_key_is_enough(evidence: Evidence, alone: object) -> None:
    verifiers = [v for v in LOG.verifiers if v.vkey == alone.vkey]  # type: ignore[attr-defined]
    proven = verify_evidence(evidence, verifiers)
    assert all(len(signed.note.signatures) == 1 for signed in proven.evidence.checkpoints)
    # What remains is evidence for everybody else who holds that key.
    assert verify_evidence(parse_evidence(proven.evidence.encode()), LOG.verifiers)


@every_kind
def test_keys_that_do_not_count(evidence: Evidence) -> None:
    other = log_signer()
    stranger = GrowingLog("other.example", [log_signer("other.example")])
    namesake = GrowingLog(LOG.origin, [other])
    for verifiers in ((), stranger.verifiers, namesake.verifiers):
        with pytest.raises(VerificationError):
            verify_evidence(evidence, verifiers)


def test_a_witness_key_of_the_same_name_is_not_the_log() -> None:
    """A cosignature says what a witness saw; nobody is convicted by another's word."""
    cosigner = witness_signer(name=LOG.origin)
    log = GrowingLog(signers=[cosigner])
    evidence = same_size(log.checkpoint(9), log.fork(4).checkpoint(9))
    with pytest.raises(VerificationError, match="no key is known"):
        verify_evidence(evidence, log.verifiers)


def test_two_keys_of_a_log_do_not_hide_a_split_view() -> None:
    """Each history signed with another key: both keys are the log's, so it is the log's doing."""
    one = LOG.checkpoint(9, signers=[EDWARD])
    other = FORKED.checkpoint(9, signers=[MOLLY])
    proven = verify_evidence(same_size(one, other), LOG.verifiers)
    assert not proven.is_one_key
    assert any("No single key" in line for line in explain(proven))
    for verifier in LOG.verifiers:
        with pytest.raises(VerificationError):
            verify_evidence(same_size(one, other), [verifier])


# Nobody can blame an honest log


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_evidence_against_an_honest_log(data: st.DataObject) -> None:
    """However somebody puts together what an honest log has signed, nothing verifies."""
    log = GrowingLog(signers=[EDWARD])
    size = st.integers(0, 12)
    hashes = st.binary(min_size=32, max_size=32)
    a, b = data.draw(size), data.draw(size)
    one, other = log.checkpoint(a), log.checkpoint(b)
    wrong = log.fork(data.draw(st.integers(0, 3)))
    root = data.draw(hashes | st.just(wrong.root(a)) | st.just(log.root(a)))
    proof = data.draw(
        st.just(log.proof(a, b)) | st.just(wrong.proof(a, b)) | st.tuples(hashes, hashes)
    )
    index = data.draw(st.integers(0, 12))
    leaves = [
        data.draw(st.sampled_from([tree.leaves(13)[index] for tree in (log, wrong)]))
        for _ in range(2)
    ]
    paths = [
        tuple(rfc6962.PATH(index, data.draw(st.sampled_from([log, wrong])).leaves(at)))
        if index < at
        else ()
        for at in (a, b)
    ]
    attempts: list[Callable[[], Evidence | None]] = [
        lambda: contradiction_of(one, other),
        lambda: same_size(one, other),
        lambda: fork(one, other, root, proof),
        lambda: fork(other, one, root, proof),
        lambda: empty_root(one),
        lambda: leaf(
            TlogProof(index, paths[0], one),
            leaf_hash(leaves[0]),
            TlogProof(index, paths[1], other),
            leaf_hash(leaves[1]),
        ),
    ]
    for attempt in attempts:
        try:
            evidence = attempt()
        except FormatError:
            continue
        if evidence is None:
            continue
        with pytest.raises(VerificationError):
            verify_evidence(evidence, log.verifiers)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(EXAMPLES)), st.data())
def test_a_changed_file_proves_no_more(kind: str, data: st.DataObject) -> None:
    """Any byte changed: not evidence, not verified, or the very same facts."""
    evidence = EXAMPLES[kind]
    original = evidence.encode()
    at = data.draw(st.integers(0, len(original) - 1))
    piece = data.draw(st.binary(min_size=0, max_size=2))
    end = data.draw(st.sampled_from([at, at + 1, at + 2]))
    changed = original[:at] + piece + original[end:]
    try:
        parsed = parse_evidence(changed)
    except FormatError:
        return
    assert parsed.encode() == changed
    try:
        proven = verify_evidence(parsed, LOG.verifiers)
    except VerificationError:
        return
    assert proven.evidence.contradiction == evidence.contradiction


@pytest.mark.parametrize(
    "change",
    [
        lambda e: structs.replace(e, implied_root=b"r" * 32),
        lambda e: structs.replace(e, proof=e.proof[1:]),
        lambda e: structs.replace(e, proof=(*e.proof, b"r" * 32)),
        lambda e: structs.replace(e, proof=(b"r" * 32, *e.proof[1:])),
        lambda e: structs.replace(e, older=strip(LOG.checkpoint(6))),
        lambda e: structs.replace(e, newer=strip(FORKED.checkpoint(13))),
        lambda e: structs.replace(e, newer=strip(LOG.checkpoint(12))),
    ],
)
def test_a_fork_whose_proof_does_not_hold(change: Callable[[Fork], Fork]) -> None:
    """A failed proof alone is suspicion, not evidence."""
    evidence = EXAMPLES["fork"]
    assert isinstance(evidence, Fork)
    with pytest.raises(VerificationError):
        verify_evidence(change(evidence), LOG.verifiers)


def test_a_leaf_whose_proof_does_not_hold() -> None:
    evidence = EXAMPLES["leaf"]
    assert isinstance(evidence, Leaf)
    first, second = evidence.first, evidence.second
    for changed in (
        {"first": structs.replace(first, proof=first.proof[1:])},
        {"second": structs.replace(second, proof=(*second.proof, b"r" * 32))},
        {"first": structs.replace(first, leaf_hash=b"\0" * 32)},
        {"first": structs.replace(first, checkpoint=strip(LOG.checkpoint(7)))},
        {"index": 4},
    ):
        with pytest.raises(VerificationError):
            verify_evidence(structs.replace(evidence, **changed), LOG.verifiers)


def test_a_bad_signature_poisons_it() -> None:
    """signed-note: a line of a known key that does not verify makes the note invalid."""
    evidence = EXAMPLES["same-size"]
    assert isinstance(evidence, SameSize)
    lines = list(evidence.first.note.signatures)
    spoiled = bytes([lines[0].signature[0] ^ 1]) + lines[0].signature[1:]
    lines[0] = replace(lines[0], signature=spoiled)
    note = UnverifiedNote(evidence.first.note.text, tuple(lines))
    bad = structs.replace(evidence, first=SignedCheckpoint(evidence.first.checkpoint, note))
    with pytest.raises(VerificationError, match="checkpoint"):
        verify_evidence(bad, LOG.verifiers)


# One fact, one file


def test_order_and_cosignatures_make_no_other_file() -> None:
    one, other = NINE, FORKED_NINE
    cosigned = one.with_signatures([WITNESS.sign(one.note.text, 7)])
    backwards = UnverifiedNote(one.note.text, one.note.signatures[::-1])
    turned = SignedCheckpoint(one.checkpoint, backwards)
    files = {
        same_size(*pair).encode()
        for first in (one, cosigned, turned)
        for pair in ((first, other), (other, first))
    }
    assert len(files) == 1
    assert WITNESS.vkey.name.encode() not in files.pop()
    one_leaf, other_leaf = (
        (tlog_proof(log, 5, size), leaf_hash(log.leaves(size)[5]))
        for log, size in ((LOG, 8), (FORKED, 11))
    )
    assert leaf(*one_leaf, *other_leaf) == leaf(*other_leaf, *one_leaf)


def test_the_log_cannot_multiply_a_fact() -> None:
    """Other times, extension lines, keys or kinds: still the same two heads."""
    variants: list[Evidence] = [
        same_size(
            LOG.checkpoint(9, now=now, extensions=extensions, signers=signers),
            FORKED.checkpoint(9, now=now),
        )
        for now in (1, 2)
        for extensions in ((), ("more",))
        for signers in (None, [EDWARD])
    ]
    variants.append(leaves_of(LOG, FORKED, 5, 9, 9))
    assert len({evidence.hash for evidence in variants}) > 4
    assert len({evidence.contradiction for evidence in variants}) == 1
    others = {evidence.contradiction for evidence in EXAMPLES.values()}
    assert len(others) == len(EXAMPLES)


def test_unknown_keys_do_not_survive_verification() -> None:
    """Lines that claim to be the log's but are of no known key are not passed on."""
    junk = SignatureLine(LOG.origin, 7, b"junk")
    evidence = same_size(NINE.with_signatures([junk]), FORKED_NINE)
    assert any(junk in signed.note.signatures for signed in evidence.checkpoints)
    assert verify_evidence(evidence, LOG.verifiers).evidence == EXAMPLES["same-size"]


# Structure


def test_heads_that_do_not_contradict_each_other_make_no_evidence() -> None:
    assert contradiction_of(LOG.checkpoint(9), LOG.checkpoint(9)) is None
    assert contradiction_of(LOG.checkpoint(9), FORKED.checkpoint(10)) is None
    assert contradiction_of(LOG.checkpoint(0), LOG.checkpoint(9)) is None
    assert contradiction_of(FORKED_NINE, NINE) == EXAMPLES["same-size"]
    assert contradiction_of(BAD_EMPTY, LOG.checkpoint(3)) == EXAMPLES["empty-root"]
    assert contradiction_of(LOG.checkpoint(0), BAD_EMPTY) == EXAMPLES["empty-root"]
    with pytest.raises(FormatError, match="two origins"):
        contradiction_of(LOG.checkpoint(1), GrowingLog("other.example").checkpoint(1))


REFUSED: dict[str, Callable[[], object]] = {
    "equal roots": lambda: same_size(NINE, NINE),
    "two sizes": lambda: same_size(NINE, FORKED.checkpoint(10)),
    "size 0": lambda: same_size(LOG.checkpoint(0), LOG.checkpoint(0, root=b"x" * 32)),
    "two origins": lambda: same_size(LOG.checkpoint(9), GrowingLog("o.example").checkpoint(9)),
    "fork backwards": lambda: honest_fork(FORKED, LOG, 12, 7),
    "fork from equal": lambda: fork(LOG.checkpoint(7), LOG.checkpoint(9), LOG.root(7), ()),
    "fork of 0": lambda: fork(LOG.checkpoint(0), LOG.checkpoint(9), b"x" * 32, ()),
    "short hash": lambda: fork(LOG.checkpoint(7), FORKED.checkpoint(9), b"x" * 31, ()),
    "long proof": lambda: fork(LOG.checkpoint(7), FORKED_NINE, b"x" * 32, (b"x" * 32,) * 64),
    "one leaf": lambda: leaves_of(LOG, FORKED, 3, 8, 11),
    "leaf outside": lambda: Leaf(
        8,
        Shown(b"a" * 32, (), strip(LOG.checkpoint(8))),
        Shown(b"b" * 32, (), strip(LOG.checkpoint(9))),
    ),
    "two indices": lambda: leaf(tlog_proof(LOG, 1, 8), b"a" * 32, tlog_proof(LOG, 2, 8), b"b" * 32),
    "the empty root": lambda: empty_root(LOG.checkpoint(0)),
    "not empty": lambda: empty_root(LOG.checkpoint(3)),
    "roots out of order": lambda: SameSize(*EXAMPLES["same-size"].checkpoints[::-1]),
    "cosigned": lambda: EmptyRoot(
        LOG.checkpoint(0, root=b"x" * 32, more=[WITNESS.sign(LOG.checkpoint(3).note.text, 7)])
    ),
    "no line of the log": lambda: strip(LOG.checkpoint(3, signers=[WITNESS])),
}


@pytest.mark.parametrize("build", REFUSED.values(), ids=REFUSED)
def test_what_is_no_evidence_cannot_be_built(build: Callable[[], object]) -> None:
    with pytest.raises(FormatError):
        build()


def test_what_is_no_evidence_is_not_parsed() -> None:
    good = EXAMPLES["fork"].encode()
    header, rest = good.split(b"\n\n", 1)
    same = EXAMPLES["same-size"].encode()
    for bad in (
        b"",
        b"\n",
        good[:-1],
        good + b"\n",
        *(good.replace(*pair) for pair in ((b"/v1", b"/v2"), (b"fork", b"Fork"))),
        header + b"\nextra\n\n" + rest,
        header + b"\r\n\n" + rest,
        b"muniment/evidence/v1\nfork\n\n" + rest,
        *(same.replace(b"same-size", b, 1) for b in (b"fork", b"empty-root", b"leaf\nindex 01")),
        b"muniment/evidence/v1\nsame-size\n\n" + LOG.checkpoint(9).encode(),
        good + b"\n" + LOG.checkpoint(20).encode(),
        b"muniment/evidence/v1\n" + b"\n" * 9000,
        good + b"x" * MAX_EVIDENCE_SIZE,
    ):
        with pytest.raises(FormatError):
            parse_evidence(bad)


def test_the_words_obey_no_escape_sequence() -> None:
    origin = "log.example/\x9b2J\u202e\u200b"
    log = GrowingLog(origin, [log_signer(origin)])
    evidence = same_size(log.checkpoint(9), log.fork(4).checkpoint(9))
    for line in [*describe(evidence), *explain(verify_evidence(evidence, log.verifiers))]:
        assert line.isprintable()


def test_the_keys_of_a_policy() -> None:
    other = log_signer("other.example")
    text = f"log {EDWARD.vkey}\nlog {other.vkey}\nwitness w {WITNESS.vkey}\nquorum w\n"
    verifiers = log_verifiers(parse_policy(text.encode()))
    assert [verifier.vkey for verifier in verifiers] == [EDWARD.vkey, other.vkey]
    assert verify_evidence(EXAMPLES["same-size"], verifiers).origin == LOG.origin


def test_a_checkpoint_as_large_as_a_note_may_be_fits() -> None:
    """A log must not escape by signing what is too large to show."""
    extensions = tuple("x" * 1000 for _ in range(500))
    evidence = same_size(*(one.checkpoint(9, extensions=extensions) for one in (LOG, FORKED)))
    assert len(evidence.encode()) > 1_000_000
    assert verify_evidence(parse_evidence(evidence.encode()), LOG.verifiers)
    assert isinstance(evidence.heads[0], Checkpoint)
