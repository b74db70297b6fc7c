"""The addenda that a spool's file keeps instead of the log: what is in the table `kept`."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from muniment.local.sqlitefile import DatabaseError, open_reader


class Kept(NamedTuple):
    """An addendum that is kept: its SHA-256, and what names it."""

    digest: str
    producer: str
    record: str
    pointer: str
    data: bytes


class KeptAddendum(NamedTuple):
    """What a spool's file says of an addendum that it keeps.

    ``digest`` is its SHA-256 in hexadecimal digits; ``record`` the id of the record, of a
    ``producer``, that named it last, at ``pointer``; ``size`` its bytes.
    """

    digest: str
    producer: str
    record: str
    pointer: str
    size: int


def keep(addenda: Sequence[Kept], db: sqlite3.Connection) -> None:
    """Adds addenda; of one that is there, it notes what names it now."""
    db.executemany(
        "INSERT INTO kept VALUES (?, ?, ?, ?, ?) ON CONFLICT (digest) DO UPDATE"
        " SET record = excluded.record, pointer = excluded.pointer",
        addenda,
    )


def list_kept(db: sqlite3.Connection) -> list[KeptAddendum]:
    """What is kept, in the order in which it came."""
    rows = db.execute(
        "SELECT digest, producer, record, pointer, length(data) FROM kept ORDER BY rowid"
    )
    return [KeptAddendum(*row) for row in rows]


def read_kept(digest: str, db: sqlite3.Connection) -> bytes | None:
    """An addendum that is kept; None if it is not."""
    row = db.execute("SELECT data FROM kept WHERE digest = ?", (digest,)).fetchone()
    return None if row is None else bytes(row[0])


def erase_kept(digests: Sequence[str], db: sqlite3.Connection) -> int:
    """Erases addenda; says how many it were."""
    wipe(db)
    return int(
        db.executemany("DELETE FROM kept WHERE digest = ?", [(one,) for one in digests]).rowcount
    )


def wipe(db: sqlite3.Connection) -> None:
    """Has what is deleted from now on overwritten in the file."""
    db.execute("PRAGMA secure_delete=1")


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Opens a spool's file to read what it keeps, also while a gateway has it.

    Raises DatabaseError if it is none, or of a version that kept no addenda.
    """
    db = open_reader(path)
    try:
        yield db
    except sqlite3.Error as error:
        raise DatabaseError(f"{path}: no spool that keeps addenda: {error}") from error
    finally:
        db.close()
