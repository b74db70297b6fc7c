"""The forms of a log's ``/v1`` answers; none of what they hold is verified."""

from typing import Any, TypeVar

import msgspec

from muniment.errors import BadAnswer, Problem
from muniment.http.typedjson import decode_json
from muniment.tlog.encoding import FormatError, parse_base64
from muniment.tlog.merkle import HASH_SIZE
from muniment.tlog.proofs import MAX_PROOF

T = TypeVar("T")


class StreamHead(msgspec.Struct, frozen=True):
    """Where a stream stands at the log; ``origin`` is "" if the log does not say.

    ``manifest`` is base64 of the last manifest's leaf hash; of 32 zero bytes for a new stream.
    """

    next: int
    manifest: str
    origin: str = ""

    @property
    def previous(self) -> bytes:
        """The last manifest's leaf hash; a ``FormatError`` if the log sent something else."""
        return parse_base64(self.manifest, "stream head: manifest", size=HASH_SIZE)


class PublishedPart(msgspec.Struct, frozen=True):
    """The checkpoint that covers a batch, with one inclusion proof a record; unverified."""

    checkpoint: str
    proofs: list[list[str]]


class LogReceipt(msgspec.Struct, frozen=True):
    """The log's answer to a batch; see ``gateway.receipts.BatchReceipt``."""

    first: int
    count: int
    manifest: int
    size: int
    published: PublishedPart | None = None


class ConsistencyAnswer(msgspec.Struct, frozen=True):
    """The hashes of a consistency proof, in base64."""

    proof: list[str]


class KeySeen(msgspec.Struct, frozen=True):
    """The first leaf that a key signed, a manifest or a decision; None if there is none.

    Exactly `size` leaves are reflected. `first` is the first one that was looked at: an index that
    was begun by an older version knows keys from some leaf on.
    """

    size: int
    index: int | None
    first: int


class FoundRecord(msgspec.Struct, frozen=True):
    """A record that the log's index has found; nobody has verified it.

    It is ``conflicting`` if its producer used its id for another content as well.
    """

    index: int
    record: dict[str, Any]
    conflicting: bool


class FoundRecords(msgspec.Struct, frozen=True):
    """What the log's index has found, in the order of the log; nobody has verified it.

    ``size`` is the tree size that the answer reflects, ``next`` the `after` of the next page; None
    at the end.
    """

    size: int
    records: list[FoundRecord]
    next: int | None


def decode_answer(data: bytes, kind: type[T], what: str) -> T:
    """Decodes an answer of a kind; ``BadAnswer``, which says of what, if it is none."""
    try:
        return decode_json(data, kind, what)
    except FormatError as error:
        raise BadAnswer(str(error)) from None


def decode_hashes(hashes: list[str], what: str) -> tuple[bytes, ...]:
    """Decodes base64 hashes; ``BadAnswer`` if there are more than MAX_PROOF, or one is no hash."""
    if len(hashes) > MAX_PROOF:
        raise BadAnswer(f"{what}: more than {MAX_PROOF} hashes")
    try:
        return tuple([parse_base64(text, what, size=HASH_SIZE) for text in hashes])
    except FormatError as error:
        raise BadAnswer(str(error)) from None


def receipt_of(problem: Problem) -> LogReceipt | None:
    """The receipt inside a ``not-published`` problem, or None when there is none."""
    try:
        return msgspec.convert(problem.members.get("receipt"), LogReceipt)
    except msgspec.ValidationError:
        return None
