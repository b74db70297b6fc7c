"""The file of a witness's database: its schema, whose it is, and how it came to be.

A key that may have signed must not meet a database that does not know what: the witness would sign
a second history in good faith. So a database is made together with its keys, by `init`, and an
absent or empty one is refused. Where the old one is lost, the operator begins anew by a command
that records it; of such a database, as of a restored backup, it is not known what the witness has
signed, until somebody has told, log by log. Who told is recorded, too.

With heads.py, observations.py and check.py, the only modules with SQL.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from sqlite3 import Connection
from typing import Final, Literal, NamedTuple

from muniment.local.sqlitefile import AbsentDatabaseError, DatabaseError, Writer
from muniment.tlog.note import VKey
from muniment_witness.store.observations import SCHEMA

APPLICATION: Final = 0x4D757757
"""SQLite application_id of witness databases."""

MIGRATIONS: Final = (
    """
    CREATE TABLE identity (vkey TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE head (
        origin TEXT PRIMARY KEY,
        size INTEGER NOT NULL,
        root BLOB NOT NULL,
        note BLOB NOT NULL,
        time INTEGER NOT NULL
    );
    CREATE TABLE history (
        origin TEXT NOT NULL,
        size INTEGER NOT NULL,
        digest BLOB NOT NULL,
        root BLOB NOT NULL,
        old_size INTEGER NOT NULL,
        proof BLOB NOT NULL,
        note BLOB NOT NULL,
        time INTEGER NOT NULL,
        PRIMARY KEY (origin, size, digest)
    );
    """,
    SCHEMA + "CREATE INDEX history_step ON history (origin, old_size);",
    "CREATE TABLE copied (time INTEGER NOT NULL);",
    """
    CREATE TABLE made (time INTEGER NOT NULL, command TEXT NOT NULL);
    ALTER TABLE copied ADD COLUMN loss TEXT NOT NULL DEFAULT 'backup';
    CREATE TABLE settled (
        origin TEXT PRIMARY KEY,
        time INTEGER NOT NULL,
        by TEXT NOT NULL
    ) WITHOUT ROWID;
    """,
)
"""Schema changes, oldest first. Times are Unix seconds; `proof` is hashes of 32 bytes each;
`digest` is the SHA-256 of the note's text. `made` says by which command the database was made.
`copied` has rows where the witness may have signed what the database does not know: in a backup,
and in one that was begun anew. `settled` are the origins of which that is known again, and who said
so; in a database without rows in `copied` that is every origin."""

_COPIES: Final = 3
"""The first schema version that can be marked as a copy."""

_SETTLEMENTS: Final = 4
"""The first schema version that has `settled`."""

_LOST: Final = (
    "mount it, or restore a backup; if it is lost, `muniment-witness new-database` makes one that "
    "signs nothing for a log before the log and peers were asked"
)

Command = Literal["init", "new-database"]
"""The commands that make a database."""

Loss = Literal["backup", "anew"]
"""Why a database may lack what its witness signed."""


Teller = Literal["asked", "operator"]
"""Who told what was signed: logs and peers that were asked, or the operator."""


class Past(NamedTuple):
    """What a database may lack of what its witness signed.

    Attributes:
        loss: Why it may lack something; None when it lacks nothing.
        known: The origins of which it is known again what was signed.
        made: When it was made, Unix seconds, and by which command; None when a version made it that
            did not record that.
    """

    loss: Loss | None
    known: frozenset[str]
    made: tuple[int, Command] | None

    def lacks(self, origin: str) -> bool:
        """Whether the witness may have signed for an origin what the database does not know."""
        return self.loss is not None and origin not in self.known


async def open_database(path: Path) -> Writer:
    """Opens the database of a witness.

    Raises:
        AbsentDatabaseError: If it is absent or empty.
        DatabaseError: If it is in use, not a witness's, or too new.
    """
    try:
        return await Writer.open(path, MIGRATIONS, application=APPLICATION, expected="old")
    except AbsentDatabaseError as error:
        raise AbsentDatabaseError(f"{error}; {_LOST}") from error


async def create(path: Path, keys: Sequence[VKey], command: Command) -> None:
    """Makes the database of a witness that has signed nothing, as far as the database knows.

    `init` makes the keys, too, so that they have signed nothing; those of `new-database` may have.
    The file is absent, or empty. Raises DatabaseError if there is one, or it cannot be written.
    """
    now = int(time.time())

    def work(connection: Connection) -> None:
        connection.execute("INSERT INTO made (time, command) VALUES (?, ?)", (now, command))
        if command == "new-database":
            connection.execute("INSERT INTO copied (time, loss) VALUES (?, 'anew')", (now,))
        identify(connection, keys)

    writer = await Writer.open(path, MIGRATIONS, application=APPLICATION, expected="new", fill=work)
    await writer.close()


async def recorded(path: Path, keys: Sequence[VKey]) -> set[str]:
    """Those of the keys that are recorded as those of a database's witness; raises as `rebind`."""
    writer = await open_database(path)
    try:
        unknown = await writer.run(lambda connection: check_identity(connection, path, keys))
    finally:
        await writer.close()
    return {str(key) for key in keys} - unknown


async def rebind(path: Path, keys: Sequence[VKey], commit: Callable[[], None]) -> None:
    """Records keys as those of a database's witness; see `muniment_service.rotation.Record`.

    Keys that were recorded before stay recorded: what was signed with them is in the database.

    Raises:
        DatabaseError: If it is in use or not a witness's.
        FatalDatabaseError: If it cannot be written.
    """

    def work(connection: Connection) -> None:
        check_identity(connection, path, keys)
        identify(connection, keys)
        commit()

    writer = await open_database(path)
    try:
        await writer.run(work)
    finally:
        await writer.close()


def mark_copy(connection: Connection) -> None:
    """Marks a copy of a witness's database, for `backup`.

    Raises DatabaseError if its schema is too old for that.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version < _COPIES:
        raise DatabaseError(f"schema version {version}: start this version's witness once")
    connection.execute("INSERT INTO copied (time) VALUES (strftime('%s', 'now'))")
    if version >= _SETTLEMENTS:
        connection.execute("DELETE FROM settled")


def record_known(connection: Connection, origin: str, now: int, by: Teller) -> None:
    """Records who told what was signed for an origin; `now` in Unix seconds."""
    connection.execute(
        "INSERT INTO settled (origin, time, by) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (origin, now, by),
    )


def identify(connection: Connection, keys: Sequence[VKey]) -> None:
    """Records keys as those of the database's witness."""
    connection.executemany(
        "INSERT INTO identity (vkey) VALUES (?) ON CONFLICT DO NOTHING",
        [(str(key),) for key in keys],
    )


def check_identity(connection: Connection, path: Path, keys: Sequence[VKey]) -> set[str]:
    """Compares a witness's keys with the database's; gives those that it does not know.

    Raises DatabaseError if it knows none of them.
    """
    stored = {vkey for (vkey,) in connection.execute("SELECT vkey FROM identity")}
    mine = {str(key) for key in keys}
    if not stored:
        raise AbsentDatabaseError(f"{path}: of no witness: it has no keys; {_LOST}")
    if not stored & mine:
        names = ", ".join(sorted({vkey.partition("+")[0] for vkey in stored}))
        raise DatabaseError(
            f"{path}: belongs to a witness with other keys ({names}); none of them is configured"
        )
    return mine - stored


def read_past(connection: Connection) -> Past:
    """Reads how the database came to be, and what it may lack."""
    rows = connection.execute("SELECT loss FROM copied ORDER BY rowid DESC LIMIT 1").fetchall()
    known = frozenset(origin for (origin,) in connection.execute("SELECT origin FROM settled"))
    made = connection.execute("SELECT time, command FROM made").fetchone()
    return Past(rows[0][0] if rows else None, known, made)
