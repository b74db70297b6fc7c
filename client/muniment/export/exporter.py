"""From a replica to a receiver: the cursor moves behind what was acknowledged, and never before."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from muniment.export.cursor import CursorFile
from muniment.export.destination import Destination, Event
from muniment.export.forms import LEAST_BYTES, Form
from muniment.export.source import LeafPage, Source
from muniment.tlog.merkle import CompactRange
from muniment.tlog.tiles import TILE_WIDTH

MAX_BATCH: Final = TILE_WIDTH
"""Most events of one request: those of an entry bundle."""

Progress = Callable[[int, int], None]
"""Told (leaves dealt with, leaves there are to deal with)."""


@dataclass(slots=True)
class Exporter:
    """Exports one log to one receiver, in one form.

    Attributes:
        form: How records are written.
        destination: The receiver, opened.
        cursor: The cursor file; without one, every exporter begins at leaf 0.
        batch: Most events of a request.
        exported: The leaves that are done with; None before the first round.
        count: Records that were handed over.
        skipped: Leaves that are no records.
    """

    form: Form
    destination: Destination
    cursor: CursorFile | None = None
    batch: int = MAX_BATCH
    exported: CompactRange | None = None
    count: int = 0
    skipped: int = 0

    async def step(
        self,
        source: Source,
        checking: Progress = lambda _done, _total: None,
        sending: Progress = lambda _done, _total: None,
    ) -> None:
        """Exports what a replica has more than was exported before.

        Raises:
            InputError: If the cursor is of another log or form or of a larger tree, or cannot be
                written.
            VerificationError: If the leaves are not those of the checkpoint.
            MunimentError: What `Destination.put` raises.
            DatabaseError, FactsError: If the replica cannot be read.
        """
        before = self.exported
        if before is None:
            before = CompactRange.EMPTY
            if self.cursor is not None:
                before = self.cursor.read(source.origin, self.form.name)
        source.check(before, checking)
        self.exported = before
        for page in source.pages(before):
            for events in self._requests(page):
                await self.destination.put(events)
                self.count += len(events)
                self._move(source.origin, page, events[-1].index + 1)
            self.skipped += page.skipped
            self._move(source.origin, page, page.end)
            sending(page.end - before.size, source.size - before.size)

    def _requests(self, page: LeafPage) -> Iterator[list[Event]]:
        """Divides a page's events into those of one request each."""
        events: list[Event] = []
        size = 0
        for record in page.records:
            event = Event(record.index, self.form.event(record))
            events.append(event)
            size += len(event.data)
            if len(events) == self.batch or size >= LEAST_BYTES:
                yield events
                events, size = [], 0
        if events:
            yield events

    def _move(self, origin: str, page: LeafPage, end: int) -> None:
        """Moves the cursor behind the leaves up to `end`, all of which are done with."""
        done = self.exported
        if done is None or done.size == end:
            return
        self.exported = done.extend(page.hashes[done.size - page.first : end - page.first])
        if self.cursor is not None:
            self.cursor.move(origin, self.form.name, self.exported)
