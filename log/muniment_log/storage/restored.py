"""The last step of a restore: a database that was rebuilt says so, and takes its place."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from muniment.local.regularfile import sync_names
from muniment.local.sqlitefile import Writer
from muniment_log.storage.committing import put_head
from muniment_log.storage.reporting import reported
from muniment_log.storage.schema import APPLICATION_ID, mark_copy, migrations

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path


async def finish(path: Path, note: bytes, place: Path) -> None:
    """Stores the head that was restored, marks the database as a copy, and puts it in its place.

    As a copy it takes nothing before a quorum has cosigned its tree: the log may have gone on.
    Raises DatabaseError or StorageError if it cannot be written; nothing is at `place` then.
    """

    def work(db: sqlite3.Connection) -> None:
        put_head(db, "signed", note)
        mark_copy(db)

    writer = await Writer.open(path, migrations(), application=APPLICATION_ID, expected="old")
    try:
        with reported("storing the restored head"):
            await writer.run(work)
    finally:
        await writer.close()
    await asyncio.to_thread(_move, path, place)


def _move(path: Path, place: Path) -> None:
    path.rename(place)
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    sync_names(place.parent)
