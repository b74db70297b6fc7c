"""What a check of a service's SQLite file finds, and the part of a check that all files share.

A check works on one snapshot through a query-only connection, so a service may go on beside it.
Whatever SQLite cannot read is damage, not a failure of the check.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from msgspec import Struct, field

from muniment.local.sqlitefile import (
    UNREADABLE,
    AbsentDatabaseError,
    DatabaseError,
    open_reader,
)

MAX_NAMED: Final = 100
"""Damages of one table that are named one by one; thousands would bury the first."""

FILE: Final = "file"
"""The table's name of what is damaged in the file itself."""

_DAMAGED_CODES: Final = frozenset(
    {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}
)
_SCHEMA: Final = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name"


class Damage(NamedTuple):
    """Something stored that is not what it must be, in a table of the schema or in FILE.

    `what` is a sentence for the operator.
    """

    table: str
    what: str


class Findings(Struct):
    """What is not as it must be in a database; nothing when all is sound."""

    damage: list[Damage] = field(default_factory=list)

    def add(self, table: str, what: str) -> None:
        """Notes a damage, unless that table has too many already."""
        if sum(known.table == table for known in self.damage) < MAX_NAMED:
            self.damage.append(Damage(table, what))


def inspect_file(
    path: Path, findings: Findings, work: Callable[[sqlite3.Connection], object]
) -> bool:
    """Lets `work(connection)` look at a database, on one snapshot; whether all could be read.

    Raises DatabaseError if there is no such database, or it cannot be opened although it may be
    sound.
    """
    try:
        db = open_reader(path)
    except AbsentDatabaseError:
        raise
    except DatabaseError as error:
        code = getattr(error.__cause__, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        if code not in _DAMAGED_CODES:
            raise
        findings.add(FILE, f"SQLite cannot open it: {error.__cause__}")
        return False
    with closing(db):
        return inspect(db, findings, work)


def inspect(
    db: sqlite3.Connection, findings: Findings, work: Callable[[sqlite3.Connection], object]
) -> bool:
    """As `inspect_file`, in the transaction that is open, if one is; whether all could be read."""
    try:
        with _snapshot(db):
            work(db)
    except UNREADABLE as error:
        findings.add(FILE, f"SQLite cannot read it: {error}")
        return False
    return True


def check_structure(db: sqlite3.Connection, findings: Findings) -> None:
    """SQLite's own check of all pages and indices; reads the whole file."""
    for (line,) in db.execute(f"PRAGMA integrity_check({MAX_NAMED})"):
        if line != "ok":
            findings.add(FILE, str(line))


def check_schema(db: sqlite3.Connection, migrations: Sequence[str], findings: Findings) -> None:
    """Compares the schema with what the migrations make, up to the file's version."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    with closing(sqlite3.connect(":memory:")) as fresh:
        for script in migrations[:version]:
            fresh.executescript(script)
        if db.execute(_SCHEMA).fetchall() != fresh.execute(_SCHEMA).fetchall():
            findings.add(FILE, f"its schema is not that of version {version}")


@contextmanager
def _snapshot(db: sqlite3.Connection) -> Iterator[None]:
    own = not db.in_transaction
    if own:
        db.execute("BEGIN")
    try:
        yield
    finally:
        if own and db.in_transaction:
            db.execute("ROLLBACK")
