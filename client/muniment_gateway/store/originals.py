"""What others have sent and no record can hold, as it came: the record has its digest."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from sqlite3 import Connection
from typing import Final, Self

from muniment.local.mending import MendingWriter
from muniment.local.sqlitefile import UNREADABLE, not_usable, open_reader

MOST_BYTES: Final = 1 << 30
"""Bytes of all originals that are kept; whoever may write could fill the disk otherwise."""


class Originals:
    """The originals of one gateway.

    Attributes:
        size: Their bytes.
    """

    def __init__(self, writer: MendingWriter, size: int) -> None:
        """Takes the database, and the bytes of what is in it."""
        self.size = size
        self._writer = writer

    @classmethod
    async def read(cls, writer: MendingWriter) -> Self:
        """Counts what the database has."""
        return cls(writer, await writer.run(_size))

    async def keep(self, originals: Sequence[bytes]) -> int:
        """Keeps them, those that are here already aside; returns once they are synced.

        Says how many could not be kept, for there are MOST_BYTES already.
        """

        def write(db: Connection) -> tuple[int, int]:
            room, lost = MOST_BYTES - self.size, 0
            before = room
            for data in originals:
                if len(data) > room:
                    lost += 1
                    continue
                digest = sha256(data).digest()
                done = db.execute("INSERT OR IGNORE INTO original VALUES (?, ?)", (digest, data))
                room -= len(data) * done.rowcount
            return before - room, lost

        grown, lost = await self._writer.run(write)
        self.size += grown
        return lost


def read_original(path: Path, digest: bytes) -> bytes | None:
    """An original by its SHA-256, also while a gateway runs; None when there is none.

    Raises DatabaseError if the database cannot be read.
    """
    try:
        with closing(open_reader(path)) as db:
            row = db.execute("SELECT data FROM original WHERE digest = ?", (digest,)).fetchone()
    except (*UNREADABLE, sqlite3.Error) as error:
        raise not_usable(path, error) from error
    return None if row is None else bytes(row[0])


def _size(db: Connection) -> int:
    (size,) = db.execute("SELECT coalesce(sum(length(data)), 0) FROM original").fetchone()
    return int(size)
