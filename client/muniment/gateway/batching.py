"""Batches of one stream: built of what waits, each naming the one before it."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from muniment.errors import Problem
from muniment.gateway.submissions import Piece
from muniment.records.batchbody import join_body
from muniment.records.manifest import MAX_BATCH_BYTES, MAX_MANIFEST, Batch, build_batch
from muniment.tlog.note import Signer, is_remote
from muniment.tlog.policy import Policy

ROOM: Final = MAX_BATCH_BYTES - MAX_MANIFEST - 2
"""Bytes of records that one batch holds."""


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
    last_error: str = "no attempt yet"


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
