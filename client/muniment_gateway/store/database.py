"""The file of a gateway's database, and its schema."""

from functools import partial
from pathlib import Path
from typing import Final

from muniment.local.mending import MendingWriter
from muniment.local.sqlitefile import Writer

APPLICATION: Final = 0x4D756E47
"""SQLite application_id of gateways' databases: ``MunG``."""

MIGRATIONS: Final = (
    """
    -- What was in force, as the last record in the log about it says.
    CREATE TABLE told (
        subject TEXT PRIMARY KEY,
        content TEXT NOT NULL,
        record TEXT NOT NULL
    ) WITHOUT ROWID;
    """,
    """
    -- What others have sent, where a record has its digest instead: by SHA-256.
    CREATE TABLE original (
        digest BLOB PRIMARY KEY,
        data BLOB NOT NULL
    );
    """,
)
"""Schema changes, oldest first."""


async def open_database(path: Path) -> MendingWriter:
    """Opens the database of a gateway, or makes it.

    Raises DatabaseError if it is in use, damaged, or another program's.
    """
    return await MendingWriter.open(partial(Writer.open, path, MIGRATIONS, application=APPLICATION))
