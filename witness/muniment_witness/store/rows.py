"""Checks each row of a witness's database by itself: every fact in it is stored twice.

Sizes, roots, digests and origins repeat what the signed notes say, and the witness's own
cosignature covers the text of its latest heads. A row that does not agree with itself was damaged
on disk: nothing may be decided from it. When something was seen, who showed it, and a proof that
did not hold anyway have no second copy, and are not judged.

All that is public here raises `DamagedRowError`.
"""

from collections.abc import Iterable
from hashlib import sha256
from typing import NamedTuple, TypeVar

from muniment.tlog.checkpoint import SignedCheckpoint, parse_signed_checkpoint
from muniment.tlog.encoding import FormatError, MunimentError, VerificationError
from muniment.tlog.evidence import parse_evidence
from muniment.tlog.heads import Head
from muniment.tlog.merkle import HASH_SIZE, split_hashes
from muniment.tlog.note import UnverifiedNote, Verifier, verify_note
from muniment.tlog.witnesswire import AddCheckpoint, parse_add_checkpoint

_T = TypeVar("_T")


class DamagedRowError(MunimentError):
    """A row that contradicts itself, or is not what its columns hold."""


class HistoryRow(NamedTuple):
    """A row of the history; `proof` is hashes of 32 bytes each."""

    origin: str
    size: int
    root: bytes
    digest: bytes
    old_size: int
    proof: bytes
    note: bytes

    @property
    def head(self) -> Head:
        """Size and root."""
        return Head(self.size, self.root)


def signed_note(origin: str, note: bytes) -> SignedCheckpoint:
    """Parses a stored note of an origin."""
    try:
        signed = parse_signed_checkpoint(_typed(note, bytes))
    except FormatError as error:
        raise DamagedRowError(str(error)) from error
    if signed.checkpoint.origin != origin:
        raise DamagedRowError("its note is of another log")
    return signed


def check_latest(
    origin: str, head: Head, note: bytes, *, time: int, own: Iterable[Verifier] | None
) -> None:
    """Checks the note of a latest head, of `time` in Unix seconds, by the witness's cosignatures.

    `own` is every key that the witness has or had; None for one that does not cosign.
    """
    signed = signed_note(origin, note)
    if own is not None:
        try:
            verified = verify_note(signed.note, own)
        except VerificationError as error:
            raise DamagedRowError(f"own cosignature: {error}") from error
        if max(each.timestamp or 0 for each in verified.signatures) != time:
            raise DamagedRowError("its time is not that of the cosignatures")
    _fits(signed, head)


def accepted_step(row: HistoryRow) -> AddCheckpoint:
    """Checks a row of the history, and gives the request that led to its head."""
    signed = signed_note(row.origin, row.note)
    _fits(signed, row.head)
    _known_as(signed, row.digest)
    if not 0 <= _typed(row.old_size, int) <= _typed(row.size, int):
        raise DamagedRowError("its old size is larger than its size")
    proof = _typed(row.proof, bytes)
    if len(proof) % HASH_SIZE or (proof and row.old_size in {0, row.size}):
        raise DamagedRowError("its proof is not one that leads on from the old size")
    return AddCheckpoint(row.old_size, tuple(split_hashes(proof)), signed)


def check_suspicion(origin: str, digest: bytes, note: bytes, request: bytes) -> None:
    """Checks a suspicion against the refused request that brought it, if there is one."""
    _known_as(signed_note(origin, note), digest)
    if request:
        try:
            brought = parse_add_checkpoint(_typed(request, bytes)).checkpoint
        except FormatError as error:
            raise DamagedRowError(str(error)) from error
        _known_as(brought, digest)


def check_evidence(origin: str, kind: str, hash_: bytes, contradiction: bytes, file: bytes) -> None:
    """Checks a file of evidence; that it proves something was verified before it was filed."""
    try:
        evidence = parse_evidence(_typed(file, bytes))
    except FormatError as error:
        raise DamagedRowError(str(error)) from error
    found = (evidence.origin, evidence.kind, evidence.hash, evidence.contradiction)
    if found != (origin, kind, hash_, contradiction):
        raise DamagedRowError("the file is not the one that was filed")


def check_signatures(note: UnverifiedNote, verifiers: Iterable[Verifier]) -> None:
    """Verifies the lines of known keys; other keys may have signed, and been given up since."""
    known = {(key.vkey.name, key.vkey.key_id): key for key in verifiers}
    for line in note.signatures:
        key = known.get((line.name, line.key_id))
        if key is not None:
            try:
                key.verify(note.text, line.signature)
            except VerificationError as error:
                raise DamagedRowError(str(error)) from error


def _typed(value: object, kind: type[_T]) -> _T:
    # Damage may turn the type of a value into another.
    if not isinstance(value, kind):
        raise DamagedRowError("a value is not of its column's type")
    return value


def _fits(signed: SignedCheckpoint, head: Head) -> None:
    if signed.checkpoint.head != head:
        raise DamagedRowError("size and root are not those of its note")


def _known_as(signed: SignedCheckpoint, digest: bytes) -> None:
    if sha256(signed.note.text.encode()).digest() != digest:
        raise DamagedRowError("the digest is not that of its note")
