"""Records on their way into a batch: calls of ``submit``, cut into pieces, queued, put together.

No I/O, but for who keeps the key: ``Builder.build`` asks for a signature.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from muniment.errors import MunimentError, NotPublished, Problem
from muniment.gateway.receipts import Receipt
from muniment.gateway.withholding import NO_ADDENDA, Addenda
from muniment.records.batchbody import MAX_ADDENDA, MAX_ADDENDA_BYTES, join_body
from muniment.records.manifest import MAX_BATCH_BYTES, MAX_MANIFEST, Batch, build_batch
from muniment.tlog.note import Signer, is_remote
from muniment.tlog.policy import Policy

ROOM: Final = MAX_BATCH_BYTES - MAX_MANIFEST - 2
"""Bytes of records that one batch holds."""


@dataclass(slots=True, eq=False)
class Passage:
    """Whether records may have come to the log: they are in a batch that it may have taken."""

    has_left: bool = False


@dataclass(slots=True, eq=False)
class Submission:
    """One call of ``submit``: complete when each of its records has a receipt."""

    entries: Sequence[bytes]
    published: bool
    future: asyncio.Future[list[Receipt]]
    passage: Passage = field(default_factory=Passage)
    addenda: Addenda = field(default_factory=lambda: NO_ADDENDA)
    receipts: list[Receipt] = field(default_factory=list[Receipt])
    unpublished: str = ""
    missing: int = field(init=False)

    def __post_init__(self) -> None:
        self.missing = len(self.entries)

    def give(self, receipts: list[Receipt]) -> None:
        """Takes the receipts of a piece; pieces of one submission are answered in any order."""
        in_order = not self.receipts
        self.receipts += receipts
        self.missing -= len(receipts)
        if self.missing or self.future.done():
            return
        if not in_order:
            self.receipts.sort(key=lambda receipt: receipt.index)
        if self.unpublished:
            self.fail(NotPublished(self.unpublished))
        else:
            self.future.set_result(self.receipts)

    def fail(self, error: MunimentError) -> None:
        """Ends the submission, unless it has ended."""
        if not self.future.done():
            self.future.set_exception(error)
            # The caller may have been cancelled: nobody must be warned of an unread exception.
            self.future.exception()

    def refuse(self, piece: "Piece", error: MunimentError) -> None:
        """As ``fail``, when the log will never take a piece of it."""
        if len(piece) == len(self.entries):
            self.passage.has_left = False
        self.fail(error)


@dataclass(frozen=True, slots=True)
class Piece:
    """The records [start, stop) of a submission; what the queue and batches are made of.

    Attributes:
        size: Bytes of the records and their addenda.
    """

    submission: Submission
    start: int
    stop: int
    size: int = field(init=False)

    def __post_init__(self) -> None:
        size = sum(map(len, self.entries)) + sum(len(one) for _, one in self.addenda)
        object.__setattr__(self, "size", size)  # once: it is counted in and out of the queue

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def entries(self) -> Sequence[bytes]:
        """The records' bytes."""
        return self.submission.entries[self.start : self.stop]

    @property
    def addenda(self) -> list[tuple[int, bytes]]:
        """The addenda of the records, each with its record's number in the piece."""
        found = self.submission.addenda
        if not found:
            return []
        numbers = range(self.start, self.stop)
        return [(at - self.start, one) for at in numbers for one in found.get(at, ())]


class Queue:
    """Pieces in the order in which their records will be logged, and how many records and bytes."""

    def __init__(self) -> None:
        self.records = 0
        self.size = 0
        self._pieces: deque[Piece] = deque()

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def append(self, piece: Piece) -> None:
        """Adds a piece at the end."""
        self._pieces.append(piece)
        self._count(piece, +1)

    def put_back(self, pieces: Sequence[Piece]) -> None:
        """Adds pieces at the front, the first of them first."""
        for piece in reversed(pieces):
            self._pieces.appendleft(piece)
            self._count(piece, +1)

    def clear(self) -> list[Piece]:
        """Takes everything."""
        pieces = list(self._pieces)
        self._pieces.clear()
        self.records = self.size = 0
        return pieces

    def take(self, most: int, room: int) -> list[Piece]:
        """Takes the next batch's pieces; none when all of their callers have gone.

        They hold ``most`` records at the most, and ``room`` bytes, framing included; and as many
        addenda as a body may have. Records of one call stay together unless they do not fit into a
        batch at all.
        """
        pieces: list[Piece] = []
        left = most
        beside, number = MAX_ADDENDA_BYTES, MAX_ADDENDA
        while self._pieces and left:
            piece = self._pieces.popleft()
            self._count(piece, -1)
            if piece.submission.future.done():
                continue
            if pieces and left < len(piece) <= most:
                self.put_back([piece])
                break
            entries, addenda = piece.submission.entries, piece.submission.addenda
            stop = min(piece.stop, piece.start + left)
            size = piece.size + 2 * len(piece)
            # As most do; but not beside a record that goes alone for its addenda.
            if not addenda and stop == piece.stop and size <= room and min(beside, number) >= 0:
                piece.submission.passage.has_left = True
                pieces.append(piece)
                room -= size
                left -= len(piece)
                continue
            for at in range(piece.start, stop):
                room -= len(entries[at]) + 2
                if addenda:
                    own = addenda.get(at, ())
                    beside -= sum(len(one) + 4 for one in own)
                    number -= len(own)
                # A record too large for any batch goes alone, for the log to refuse.
                if (room < 0 or beside < 0 or number < 0) and (pieces or at > piece.start):
                    stop = at
                    break
            if stop > piece.start:
                piece.submission.passage.has_left = True
                pieces.append(Piece(piece.submission, piece.start, stop))
            if stop < piece.stop:
                self.put_back([Piece(piece.submission, stop, piece.stop)])
                break
            left -= stop - piece.start
        return pieces

    def _count(self, piece: Piece, sign: int) -> None:
        self.records += sign * len(piece)
        self.size += sign * piece.size


@dataclass(slots=True, eq=False)
class Flight:
    """A batch on its way, from being built until the log has answered for good.

    The ``body`` is the batch and its ``addenda``, each with the number of its record.
    """

    batch: Batch
    addenda: dict[bytes, int]
    body: bytes
    sequence: int
    previous: bytes
    pieces: list[Piece]
    published: bool
    landed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    last_error: str = "the log has not answered"


@dataclass(frozen=True, slots=True)
class DeliveryOptions:
    """How a stream's batches are made and sent; see ``Gateway`` for what each option means."""

    origin: str
    stream: str
    policy: Policy | None
    batch_records: int
    window: int
    publish_wait: float


class Builder:
    """Builds a stream's batches.

    Attributes:
        place: Where the next one goes: its first sequence number, and the leaf hash of the manifest
            before it.
        is_afar: Whether somebody else keeps the key: building takes its time then.
    """

    def __init__(self, signer: Signer, options: DeliveryOptions, place: tuple[int, bytes]) -> None:
        """Takes the key, what the batches are of, and where the stream stands."""
        self.place = place
        self.is_afar: Final = is_remote(signer)
        self._signer = signer
        self._options = options

    def build(self, pieces: Iterable[Piece]) -> Batch:
        """Signs a batch for this place; in any thread.

        Raises FormatError or ValueError if it cannot be made, SigningError without a signature.
        """
        records = [entry for piece in pieces for entry in piece.entries]
        options = self._options
        return build_batch(options.origin, self._signer, options.stream, *self.place, records)

    def set_out(self, pieces: list[Piece], batch: Batch) -> Flight:
        """Has the stream stand behind a batch of these pieces, which is on its way then.

        Raises FormatError or ValueError if their addenda cannot go with it; it stands as before.
        """
        addenda = _addenda(pieces)
        body = join_body(batch.body, addenda) if addenda else batch.body
        published = any(piece.submission.published for piece in pieces)
        flight = Flight(batch, addenda, body, *self.place, pieces, published)
        if published:
            flight.last_error += ", and may be waiting for its witnesses"
        self.place = flight.sequence + len(batch.records), batch.leaf_hashes[-1]
        return flight


def culprit_of(flight: Flight, problem: Problem) -> int | None:
    """Which record of a batch the log does not take, or the addendum of which."""
    number = problem.integer("addendum")
    if number is None:
        return problem.integer("entry")
    records = [*flight.addenda.values()]
    return records[number] if number < len(records) else None


def _addenda(pieces: Iterable[Piece]) -> dict[bytes, int]:
    """The addenda of a batch, each once, with the number of the first record that names it."""
    found: dict[bytes, int] = {}
    begin = 0
    for piece in pieces:
        for number, addendum in piece.addenda:
            found.setdefault(addendum, begin + number)
        begin += len(piece)
    return found
