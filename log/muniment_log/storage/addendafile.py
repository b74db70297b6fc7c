"""The opened file of a log's addenda: who writes to it, who reads it, and which row is whose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from muniment.local.sqlitefile import Writer, log_pages
from muniment_log.core.addenda import Erased
from muniment_log.errors import WrongIdentityError
from muniment_log.storage import addendarows
from muniment_log.storage.digests import FOUND, ROW, Digests
from muniment_log.storage.packs import LAST, data_at
from muniment_log.storage.reporting import reported
from muniment_service.readers import Readers

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from pathlib import Path

    from muniment_log.core.erasable import Totals

APPLICATION_ID: Final = 0x4D756E41
"""``MunA`` in the file's header."""

WAL_PAGES: Final = 8192
"""Pages in the write-ahead log before a commit checkpoints it: 32 MiB, where there is room."""

READERS: Final = 1
"""Connections that read: addenda are asked for one by one, and seldom."""

_READ: Final = (
    f"SELECT data, erased, erasure FROM addendum WHERE digest = ?2 AND id IN {ROW} UNION ALL"  # noqa: S608  # constants
    f" SELECT data, NULL, NULL FROM ({data_at(f'(SELECT ?1 AS id UNION ALL {FOUND})')})"
    " WHERE digest = ?2"
)


class AddendaFile(Struct, frozen=True):
    """One file, from `open` to `close`.

    Attributes:
        writer: the connection that writes.
        digests: where the addenda stand; for the writer's transactions.
        last: the last row when it was opened.
        totals: how much was in it then.
    """

    writer: Writer
    digests: Digests
    last: int
    totals: Totals
    _readers: Readers

    @classmethod
    async def open(cls, path: Path, origin: str) -> AddendaFile:
        """Opens the file, and makes it if there is none.

        Raises:
            DatabaseError: it cannot be used.
            WrongIdentityError: it is another log's.
            StorageError: it cannot be read.
        """

        def begin(db: sqlite3.Connection) -> tuple[str, Digests, int, Totals]:
            db.execute("PRAGMA secure_delete=ON")
            # A statement that adds many rows keeps the pages of before, with addenda on them: not
            # in a file of the system's, from which nobody erases anything.
            db.execute("PRAGMA temp_store=MEMORY")
            db.execute(f"PRAGMA wal_autocheckpoint={log_pages(path, WAL_PAGES)}")
            (owner,) = db.execute("SELECT origin FROM log").fetchone()
            (last,) = db.execute(LAST).fetchone()
            return owner, Digests(db), last, addendarows.count(db)

        writer = await Writer.open(
            path,
            addendarows.migrations(),
            application=APPLICATION_ID,
            fill=lambda db: db.execute("INSERT INTO log (one, origin) VALUES (0, ?)", (origin,)),
        )
        try:
            with reported("reading the addenda"):
                owner, digests, last, totals = await writer.run(begin)
            if owner != origin:
                raise WrongIdentityError(f"{path} is the log {owner}, not {origin}")
            # Of a process that was killed it may have pages from before an erasure.
            await writer.truncate_log()
            # What somebody waits for overwrites pages, which is synced in half the time.
            with reported("lengthening the log of the addenda"):
                await writer.lengthen_log()
            readers = await Readers.open(path, READERS)
        except BaseException:
            await writer.close()
            raise
        return cls(writer, digests, last, totals, readers)

    async def close_readers(self) -> None:
        """Closes the connections that read."""
        await self._readers.close()

    async def read(self, digest: bytes) -> bytes | Erased | None:
        """The bytes of a digest, or what became of them; None for what is not there.

        Raises StorageError if the file cannot be read.
        """
        with reported("reading an addendum"):
            row = await self._readers.row(_READ, (self.digests.recent(digest), digest))
        if row is None:
            return None
        data, erased, erasure = row
        return bytes(data) if erased is None else Erased(erased, erasure)

    async def rows(self, what: str, statement: str, values: Sequence[object]) -> list[Any]:
        """Reads rows; raises StorageError, with `what` in its text, if that cannot be done."""
        with reported(what):
            return await self._readers.rows(statement, values)
