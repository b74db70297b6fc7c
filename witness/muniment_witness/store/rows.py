"""Checks each row of a witness's database by itself: every fact in it is stored twice.

Sizes, roots, digests and origins repeat what the signed notes say, and the witness's own
cosignature covers the text of its latest heads. A row that does not agree with itself was damaged
on disk: nothing may be decided from it. When something was seen, who showed it, and a proof that
did not hold anyway have no second copy, and are not judged.
"""

from collections.abc import Iterable
from hashlib import sha256

from muniment.tlog.checkpoint import SignedCheckpoint, parse_signed_checkpoint
from muniment.tlog.encoding import FormatError, MunimentError, VerificationError
from muniment.tlog.evidence import parse_evidence
from muniment.tlog.heads import Head
from muniment.tlog.merkle import HASH_SIZE, split_hashes
from muniment.tlog.note import UnverifiedNote, Verifier, verify_note
from muniment.tlog.witnesswire import AddCheckpoint, parse_add_checkpoint


class DamagedRowError(MunimentError):
    """A row that contradicts itself, or is not what its columns hold."""


def signed_note(origin: str, note: bytes) -> SignedCheckpoint:
    """Parses a stored note of an origin.

    Raises:
        DamagedRowError: If it is not a checkpoint of that origin.
    """
    try:
        signed = parse_signed_checkpoint(_blob(note))
    except FormatError as error:
        raise DamagedRowError(str(error)) from error
    if signed.checkpoint.origin != origin:
        raise DamagedRowError("its note is of another log")
    return signed


def cosigned_note(
    origin: str, head: Head, note: bytes, time: int, own: Iterable[Verifier]
) -> SignedCheckpoint:
    """Checks the note of a latest head by the witness's own cosignatures.

    Args:
        origin: The log.
        head: Size and root, as stored next to the note.
        note: The note.
        time: Timestamp of the cosignatures as stored, Unix seconds.
        own: Every key that the witness has or had.

    Raises:
        DamagedRowError: If they do not fit, or the cosignatures do not hold.
    """
    signed = signed_note(origin, note)
    try:
        verified = verify_note(signed.note, own)
    except VerificationError as error:
        raise DamagedRowError(f"own cosignature: {error}") from error
    if max(each.timestamp or 0 for each in verified.signatures) != time:
        raise DamagedRowError("its time is not that of the cosignatures")
    _fits(signed, head)
    return signed


def accepted_step(
    origin: str, head: Head, digest: bytes, old_size: int, proof: bytes, note: bytes
) -> AddCheckpoint:
    """Checks a row of the history, and gives the request that led to its head.

    Raises:
        DamagedRowError: If the row's parts do not fit each other.
    """
    signed = signed_note(origin, note)
    _fits(signed, head)
    _known_as(signed, digest)
    if not 0 <= _number(old_size) <= _number(head.size):
        raise DamagedRowError("its old size is larger than its size")
    if len(_blob(proof)) % HASH_SIZE or (proof and old_size in {0, head.size}):
        raise DamagedRowError("its proof is not one that leads on from the old size")
    hashes = tuple(split_hashes(proof))
    return AddCheckpoint(old_size, hashes, signed)


def check_suspicion(origin: str, digest: bytes, note: bytes, request: bytes) -> None:
    """Checks a suspicion against the refused request that brought it, if there is one.

    Raises:
        DamagedRowError: If they do not fit each other.
    """
    _known_as(signed_note(origin, note), digest)
    if request:
        try:
            brought = parse_add_checkpoint(_blob(request)).checkpoint
        except FormatError as error:
            raise DamagedRowError(str(error)) from error
        _known_as(brought, digest)


def check_evidence(origin: str, kind: str, hash_: bytes, contradiction: bytes, file: bytes) -> None:
    """Checks a file of evidence; that it proves something was verified before it was filed.

    Raises:
        DamagedRowError: If the file is not the one that the other columns tell of.
    """
    try:
        evidence = parse_evidence(_blob(file))
    except FormatError as error:
        raise DamagedRowError(str(error)) from error
    found = (evidence.origin, evidence.kind, evidence.hash, evidence.contradiction)
    if found != (origin, kind, hash_, contradiction):
        raise DamagedRowError("the file is not the one that was filed")


def check_signatures(note: UnverifiedNote, verifiers: Iterable[Verifier]) -> None:
    """Verifies the lines of known keys; other keys may have signed, and been given up since.

    Raises:
        DamagedRowError: If one of them does not verify.
    """
    known = {(key.vkey.name, key.vkey.key_id): key for key in verifiers}
    for line in note.signatures:
        key = known.get((line.name, line.key_id))
        if key is not None:
            try:
                key.verify(note.text, line.signature)
            except VerificationError as error:
                raise DamagedRowError(str(error)) from error


def _blob(value: object) -> bytes:
    # Damage may turn the type of a value into another.
    if not isinstance(value, bytes):
        raise DamagedRowError("a value is not of its column's type")
    return value


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise DamagedRowError("a value is not of its column's type")
    return value


def _fits(signed: SignedCheckpoint, head: Head) -> None:
    if signed.checkpoint.head != head:
        raise DamagedRowError("size and root are not those of its note")


def _known_as(signed: SignedCheckpoint, digest: bytes) -> None:
    if sha256(signed.note.text.encode()).digest() != digest:
        raise DamagedRowError("the digest is not that of its note")
