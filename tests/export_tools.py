"""What the tests of `muniment export` share: replicas of a log in memory, and receivers."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import index_tools
from muniment.errors import MunimentError
from muniment.export.cursor import CursorFile
from muniment.export.destination import Event
from muniment.export.exporter import MAX_BATCH, Exporter
from muniment.export.forms import JSON_LINES, Form
from muniment.export.source import Exported, Source
from muniment.index.reader import IndexReader
from muniment.tlog.merkle import CompactRange


def follow(path: Path, source: index_tools.MemorySource) -> None:
    """One round of a follower, from code that is not async."""
    asyncio.run(index_tools.follow(path, source))


def exported(path: Path) -> list[Exported]:
    """All records of a replica, verified."""
    with IndexReader(path) as reader:
        source = Source(reader)
        source.check(CompactRange.EMPTY, lambda _done, _total: None)
        return [one for page in source.pages(CompactRange.EMPTY) for one in page.records]


class Receiver:
    """Takes events in this process; it refuses the requests whose numbers, from 1, are given."""

    def __init__(self, *fail_at: int) -> None:
        self.taken: list[int] = []
        self.requests: list[int] = []
        self.events: list[bytes] = []
        self.fail_at = set(fail_at)
        self.asked = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return

    async def put(self, events: Sequence[Event]) -> None:
        self.asked += 1
        if self.asked in self.fail_at:
            raise MunimentError("the receiver fails")
        self.requests.append(len(events))
        self.taken += [event.index for event in events]
        self.events += [event.data for event in events]
        await asyncio.sleep(0)


async def step(
    path: Path,
    receiver: Receiver,
    cursor: Path | None,
    *,
    form: Form = JSON_LINES,
    batch: int = MAX_BATCH,
) -> Exporter:
    """One run of an exporter of its own."""
    file = None if cursor is None else CursorFile(cursor)
    exporter = Exporter(form, receiver, file, batch)
    with IndexReader(path) as reader:
        await exporter.step(Source(reader))
    return exporter
