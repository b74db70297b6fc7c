"""The database of an embedded log as a file: its schema, how it is made, how a copy says so."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from muniment.local.sqlitefile import Writer

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

APPLICATION_ID: Final = 0x4D756E4C
"""``MunL`` in the file's header: SQLite and file(1) show whose database it is."""

_COPIES: Final = 4
"""The schema's first version that can say that a file is a copy."""


class Made(NamedTuple):
    """How a log's database came to be.

    Attributes:
        time: when, Unix seconds.
        command: `init` with the log's keys, or what made it anew under keys that existed.
    """

    time: int
    command: str


async def create_database(path: Path, origin: str, keys: Sequence[str], command: str) -> None:
    """Makes the database of a log that has logged nothing, and records by which command.

    Raises DatabaseError if there is one, or it cannot be written.

    Args:
        path: where; there must be none.
        origin: the log's origin.
        keys: its vkeys.
        command: see `Made`.
    """

    def fill(db: sqlite3.Connection) -> None:
        bind(db, origin, keys)
        db.execute("INSERT INTO made VALUES (0, ?, ?)", (int(time.time()), command))

    writer = await Writer.open(
        path, migrations(), application=APPLICATION_ID, expected="new", fill=fill
    )
    await writer.close()


def bind(db: sqlite3.Connection, origin: str, keys: Sequence[str]) -> None:
    """Notes whose database it is: the log's origin and vkeys."""
    db.executemany(
        "INSERT INTO identity (vkey, origin) VALUES (?, ?)", [(key, origin) for key in keys]
    )


def mark_copy(copy: sqlite3.Connection) -> None:
    """Notes in a copy of a log's database that it is one, for `backup`.

    One of an older version has no place for that, and is copied as it is.
    """
    (version,) = copy.execute("PRAGMA user_version").fetchone()
    if version >= _COPIES:
        copy.execute(
            "INSERT OR REPLACE INTO copied SELECT 0, ?, size FROM tree", (int(time.time()),)
        )


def migrations() -> list[str]:
    """The schema's changes, oldest first, for `Writer.open`."""
    scripts = Path(__file__).with_name("migrations").glob("*.sql")
    return [script.read_text("utf-8") for script in sorted(scripts)]
