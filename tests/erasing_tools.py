"""A store of addenda with its eraser, and a log in memory that takes what they log."""

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from itertools import count
from pathlib import Path
from typing import Any

from muniment.records.api import Erasure, parse_record
from muniment_log.core.addenda import Addendum, Sent
from muniment_log.core.erasable import Selection
from muniment_log.core.erasing import Eraser
from muniment_log.core.ports import Receipt, StreamKey, StreamState
from muniment_log.core.repeats import RequestRecords
from muniment_log.core.retention import Retention, Rule
from muniment_log.storage.addenda import AddendaStore
from muniment_log.storage.addendacheck import check_addenda
from muniment_log.storage.erasing import ErasableAddenda
from packing import packed, working

ORIGIN = "log.example/x"
START = 1_790_000_000_000


class Log:
    """Takes records, each once by its id, as a sequencer does."""

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.problem: BaseException | None = None

    async def submit_records(self, producer: str, request: RequestRecords) -> Receipt:
        records = request.records
        assert producer == ORIGIN
        assert all(one is not None for one in request.said)
        if self.problem is not None:
            raise self.problem
        new = [one for one in records if one not in self.records]
        self.records += new
        indices = tuple(self.records.index(one) for one in records)
        return Receipt(indices[0], len(records), 0, 1, indices)

    async def stream(self, _: StreamKey) -> StreamState:
        return StreamState(len(self.records), bytes(32))

    async def leaves(self, start: int) -> AsyncIterator[bytes]:
        for record in self.records[start:]:
            yield record

    def erasures(self) -> list[Erasure]:
        found = [parse_record(one) for one in self.records]
        return [one for one in found if isinstance(one, Erasure)]


class Bench:
    """A store with an eraser, and the log that they belong to."""

    def __init__(self, path: Path, log: Log, rules: Sequence[Rule], *, together: bool) -> None:
        self.log = log
        self.now = START
        self.together = together
        self.path = path
        self.store = AddendaStore(
            path, ORIGIN, size=lambda: 7, waiting_bytes=1 << 30, now_ms=lambda: self.now
        )
        self.stored = ErasableAddenda(self.store)
        ids = count(len(log.records))
        self.eraser = Eraser(
            origin=ORIGIN,
            addenda=self.stored,
            sequencer=log,
            size=lambda: 0,
            retention=Retention(rules),
            now_ms=lambda: self.now,
            new_id=lambda: f"e-{next(ids)}",
        )

    async def keep(self, *addenda: Addendum) -> None:
        together = self.together and all(one.subject and not one.labels for one in addenda)
        sent = Sent.packed(packed(addenda)) if together else Sent(addenda, {})
        await self.store.keep(sent)
        await self.store.named(sent, 7)

    async def refuse(self, one: Addendum) -> None:
        """Takes an addendum whose record then is refused."""
        sent = Sent([one], {})
        await self.store.keep(sent)
        self.store.refused(sent)

    async def erase(self, *addenda: Addendum, **selection: Any) -> Any:
        digests = tuple(one.digest for one in addenda)
        found = await self.eraser.select(Selection(digests, **selection))
        return await self.eraser.erase(found, by="root", reason="asked for")

    def bytes(self) -> bytes:
        """All that is on disk."""
        files = self.path.parent.glob(f"{self.path.name}*")
        return b"\0".join(file.read_bytes() for file in sorted(files))


@asynccontextmanager
async def bench(
    tmp_path: Path, rules: Sequence[Rule] = (), log: Log | None = None, *, together: bool = False
) -> AsyncIterator[Bench]:
    """A store at work, and its eraser, which is not; `together`: what may stay together does."""
    one = Bench(tmp_path / "addenda.db", log or Log(), rules, together=together)
    async with working(one.store):
        yield one


def damage_of(path: Path) -> list[str]:
    """What a check finds wrong with a file of addenda, of a log without records."""
    log = path.with_name("log.db")
    with closing(sqlite3.connect(log)) as db:
        db.executescript("CREATE TABLE bundle (idx, data); CREATE TABLE tail (first, data)")
    damage = check_addenda(path, ORIGIN, log, full=True).damage
    log.unlink()
    return [one.what for one in damage]
