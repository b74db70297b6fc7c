r"""The evidence file (docs/formats.md), which shows that a log's key signed what cannot be true.

A text of at most MAX_EVIDENCE_SIZE bytes, in three or five blocks with an empty line between them:
a header, and one or two signed checkpoints verbatim (each is two blocks: text and signatures)::

    file       = header "\n" note [ "\n" note ]
    header     = "muniment/evidence/v1\n" ( same-size / fork / leaf / empty-root / index )
    same-size  = "same-size\n"                                        two notes
    fork       = "fork\n" hash "\n" *63( hash "\n" )                  two notes
    leaf       = "leaf\n" "index " decimal "\n" shown shown           two notes
    shown      = "leaf " hash "\n" *63( hash "\n" )
    empty-root = "empty-root\n"                                       one note
    index      = "index\n" "index " decimal "\n" "entry " base64 "\n"
                 "computed " hash "\n" *63( hash "\n" )              one note
    hash       = canonical base64 of 32 bytes

`fork` gives the root that the newer tree implies at the older size, then the consistency proof
from that size to the newer one. `leaf` gives the index and, for each note in turn, a leaf hash and
its inclusion proof: what two tlog-proofs hold, without the entries, which may be confidential.
`index` gives a leaf of an index log with its index and inclusion proof, and the map root that the
leaves of the log have instead.

One contradiction has one spelling. The notes are of one origin and ordered: `same-size` by root,
`fork` by size, `leaf` by leaf hash. They carry signature lines of the log alone (the key name is
the origin), one a key ID, in ascending order of key ID: cosignatures of witnesses prove nothing
against the log and would let anyone make new files of an old fact. Sizes are above 0, except in
`empty-root`. Of a log whose origin is not its keys' name (Go's sumdb is one), the lines are of one
other name.

An `Evidence` is parsed and *not* verified: it is a claim. `proven.verify_evidence` makes a
`proven.Proven` of it, with keys that the verifier holds already.
"""

from collections.abc import Iterable
from typing import Final

from muniment.tlog.checkpoint import SignedCheckpoint, parse_signed_checkpoint
from muniment.tlog.claims import (
    COMPUTED,
    ENTRY,
    HEADER,
    INDEX,
    LEAF,
    EmptyRoot,
    Evidence,
    Fork,
    Kind,
    Leaf,
    SameSize,
    Shown,
    WrongMapRoot,
)
from muniment.tlog.encoding import (
    FormatError,
    parse_base64,
    parse_decimal,
    parse_hash,
    parse_hashes,
    parse_text,
    split_lines,
)
from muniment.tlog.heads import Prefix, Relation, relate
from muniment.tlog.indexleaf import parse_index_leaf
from muniment.tlog.merkle import EMPTY_ROOT
from muniment.tlog.note import (
    MAX_NOTE_SIZE,
    SignatureLine,
    UnverifiedNote,
    Verifier,
    lines_of,
)
from muniment.tlog.proven import (
    SENTENCES,
    Proven,
    describe,
    explain,
    log_verifiers,
    verify_evidence,
)
from muniment.tlog.tlogproof import TlogProof

__all__ = [
    "EXTENSION",
    "HEADER",
    "MAX_EVIDENCE_SIZE",
    "MAX_HEADER_SIZE",
    "SENTENCES",
    "EmptyRoot",
    "Evidence",
    "Fork",
    "Kind",
    "Leaf",
    "Proven",
    "SameSize",
    "Shown",
    "WrongMapRoot",
    "contradiction_of",
    "describe",
    "empty_root",
    "explain",
    "fork",
    "key_name",
    "leaf",
    "log_verifiers",
    "parse_evidence",
    "same_size",
    "strip",
    "verify_evidence",
]

EXTENSION: Final = ".evidence"
"""File name extension."""

MAX_HEADER_SIZE: Final = 12 * 1024
"""Most bytes before the first note: two proofs of 63 hashes take 5,800, a proof and the largest
leaf of an index log 8,500."""

MAX_EVIDENCE_SIZE: Final = MAX_HEADER_SIZE + 2 * MAX_NOTE_SIZE
"""Largest evidence in bytes. Notes are not limited further: what a log can sign must fit."""


def strip(signed: SignedCheckpoint, name: str | None = None) -> SignedCheckpoint:
    """A checkpoint as evidence carries it: with the log's lines alone, in canonical order.

    `name` is that of the log's keys; None when it is the origin. Of several lines of one key the
    first is kept, so verify the note before: then all of them hold. Raises FormatError if no
    signature line has that name.
    """
    head = signed.checkpoint
    first: dict[int, SignatureLine] = {}
    for line in signed.note.signatures:
        if line.name == (head.origin if name is None else name):
            first.setdefault(line.key_id, line)
    if not first:
        raise FormatError("evidence: a checkpoint has no signature line of the log")
    lines = tuple(first[key_id] for key_id in sorted(first))
    return SignedCheckpoint(head, UnverifiedNote(signed.note.text, lines))


def key_name(signed: SignedCheckpoint, verifiers: Iterable[Verifier]) -> str:
    """The name of the log's keys, of those with these verifiers, that signed a checkpoint.

    The origin when none has. The signatures are not verified.
    """
    lines = lines_of(signed.note.signatures, (verifier.vkey for verifier in verifiers))
    return lines[0].name if lines else signed.checkpoint.origin


def empty_root(signed: SignedCheckpoint, name: str | None = None) -> EmptyRoot:
    """Evidence of a tree of size 0 with the root of another tree; FormatError if it is none."""
    return EmptyRoot(strip(signed, name))


def same_size(one: SignedCheckpoint, other: SignedCheckpoint, name: str | None = None) -> SameSize:
    """Evidence of two roots of one size, in any order; FormatError if it is none."""
    pair = sorted((strip(one, name), strip(other, name)), key=lambda signed: signed.checkpoint.root)
    return SameSize(*pair)


def fork(
    older: SignedCheckpoint,
    newer: SignedCheckpoint,
    implied_root: bytes,
    proof: tuple[bytes, ...],
    name: str | None = None,
) -> Fork:
    """Evidence of a newer tree that does not begin with the older one's leaves; FormatError if not.

    `implied_root` and `proof` are what the *newer* tree's tiles give at the older size, which is
    not 0. Unless the proof verifies from `implied_root` to the newer root, the evidence will not
    either.
    """
    return Fork(strip(older, name), strip(newer, name), implied_root, tuple(proof))


def leaf(one: TlogProof, one_hash: bytes, other: TlogProof, other_hash: bytes) -> Leaf:
    """Evidence of two leaves at one index, in any order; FormatError if it is none."""
    if one.index != other.index:
        raise FormatError("evidence: leaf: the proofs are of two indices")
    pair = sorted(
        (
            Shown(one_hash, one.proof, strip(one.checkpoint)),
            Shown(other_hash, other.proof, strip(other.checkpoint)),
        ),
        key=lambda shown: shown.leaf_hash,
    )
    return Leaf(one.index, *pair)


def contradiction_of(
    one: SignedCheckpoint,
    other: SignedCheckpoint,
    prefix: Prefix | None = None,
    name: str | None = None,
) -> SameSize | Fork | EmptyRoot | None:
    """What two checkpoints of one log prove against it, by `heads.relate`; None if nothing.

    `name` is that of the log's keys; None when it is the origin.
    Without a prefix (what the larger tree's tiles have at the smaller size) None says nothing at
    all about two different sizes. Raises FormatError if they are of two origins, or one has no
    signature line of the log; VerificationError if the prefix is not one of the larger tree.
    """
    if one.checkpoint.origin != other.checkpoint.origin:
        raise FormatError("evidence: the checkpoints are of two origins")
    older, newer = sorted((one, other), key=lambda signed: signed.checkpoint.size)
    relation = relate(older.checkpoint.head, newer.checkpoint.head, prefix)
    if relation is not Relation.CONTRADICTS:
        return None
    for signed in (one, other):
        if not signed.checkpoint.size and signed.checkpoint.root != EMPTY_ROOT:
            return empty_root(signed, name)
    if older.checkpoint.size == newer.checkpoint.size:
        return same_size(one, other, name)
    if prefix is None:
        raise AssertionError("two sizes contradict each other only by a prefix")
    return fork(older, newer, prefix.root, prefix.proof, name)


def parse_evidence(data: bytes) -> Evidence:
    """Parses the one spelling of evidence, unverified; FormatError if it is not that."""
    if len(data) > MAX_EVIDENCE_SIZE:
        raise FormatError(f"evidence: more than {MAX_EVIDENCE_SIZE} bytes")
    cut = data.find(b"\n\n", 0, MAX_HEADER_SIZE)
    if cut < 0:
        raise FormatError("evidence: no empty line after the header, or it is too long")
    lines = split_lines(parse_text(data[: cut + 1], "evidence", most=MAX_HEADER_SIZE))
    if lines[0] != HEADER:
        raise FormatError(f"evidence: the first line is not {HEADER}")
    notes = _parse_notes(data[cut + 2 :])
    match lines[1:], notes:
        case ["same-size"], [first, second]:
            return SameSize(first, second)
        case ["fork", implied_root, *proof], [older, newer]:
            return Fork(older, newer, parse_hash(implied_root, "evidence: root"), _proof(proof))
        case ["leaf", index, *shown], [first, second] if index.startswith(INDEX):
            return _parse_leaf(index[len(INDEX) :], shown, first, second)
        case ["empty-root"], [checkpoint]:
            return EmptyRoot(checkpoint)
        case ["index", index, entry, computed, *proof], [checkpoint] if (
            index.startswith(INDEX) and entry.startswith(ENTRY) and computed.startswith(COMPUTED)
        ):
            return WrongMapRoot(
                parse_decimal(index[len(INDEX) :], "evidence: index"),
                parse_index_leaf(parse_base64(entry[len(ENTRY) :], "evidence: entry")),
                _proof(proof),
                parse_hash(computed[len(COMPUTED) :], "evidence: computed root"),
                checkpoint,
            )
        case _:
            raise FormatError("evidence: the kind, its lines and its notes do not go together")


def _parse_notes(data: bytes) -> list[SignedCheckpoint]:
    # Neither the text of a checkpoint nor its signatures hold an empty line: two blocks are a note.
    blocks = data.split(b"\n\n", 4)
    if len(blocks) not in {2, 4}:
        raise FormatError("evidence: not one or two notes")
    return [
        parse_signed_checkpoint(
            blocks[at] + b"\n\n" + blocks[at + 1] + (b"\n" if at + 2 < len(blocks) else b"")
        )
        for at in range(0, len(blocks), 2)
    ]


def _parse_leaf(
    index: str, lines: list[str], first: SignedCheckpoint, second: SignedCheckpoint
) -> Leaf:
    starts = [at for at, line in enumerate(lines) if line.startswith(LEAF)]
    if len(starts) != 2 or starts[0] != 0:
        raise FormatError("evidence: leaf: not two leaf hashes, each with its proof")
    parts = lines[: starts[1]], lines[starts[1] :]
    one, other = (
        Shown(parse_hash(part[0][len(LEAF) :], "evidence: leaf hash"), _proof(part[1:]), signed)
        for part, signed in zip(parts, (first, second), strict=True)
    )
    return Leaf(parse_decimal(index, "evidence: index"), one, other)


def _proof(lines: list[str]) -> tuple[bytes, ...]:
    return parse_hashes(lines, "evidence: proof line")
