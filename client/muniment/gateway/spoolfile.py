"""The file of a spool (SQLite): what is in it, and how each step changes it.

Every change is one transaction of ``service.database.Writer``. The methods that change the file
take its connection last; the ones in the past tense then bring the counts in memory up to date, so
that these never run ahead of the disk.
"""

import os
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from muniment.local.sqlitefile import UNREADABLE, DatabaseError, is_fatal

APPLICATION_ID: Final = 0x4D756E53
"""``MunS`` in the file's header."""

SPARE: Final = 256 * 1024
"""Bytes of disk that are kept for outcomes of calls that were going on when the disk got full: a
thousand of them, which share transactions of a few pages."""

MIGRATIONS: Final[Sequence[str]] = (
    """
-- The stream that the records go to, once it is known; `base` is the sequence number, there, of the
-- oldest row of `entry`; the oldest `claimed` rows may be on their way.
CREATE TABLE state (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    origin TEXT,
    producer TEXT,
    stream TEXT,
    base INTEGER NOT NULL,
    claimed INTEGER NOT NULL
);
INSERT INTO state VALUES (0, NULL, NULL, NULL, 0, 0);

-- Records that the log has not acknowledged, oldest first. AUTOINCREMENT: numbers never come back.
CREATE TABLE entry (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    data BLOB NOT NULL
);

-- Records that the log will never take, and what it said.
CREATE TABLE refused (
    position INTEGER PRIMARY KEY,
    data BLOB NOT NULL,
    reason TEXT NOT NULL
)
""",
    """
-- For each call that is going on: its outcome, should nobody see how it ends.
CREATE TABLE underway (
    call INTEGER PRIMARY KEY,
    data BLOB NOT NULL
)
""",
)
"""Schema version n is the result of the first n scripts."""

Place = tuple[str, str, str]
"""A log's origin, a gateway's key name, a stream's label."""


@dataclass(frozen=True, slots=True)
class Change:
    """What one transaction does to the rows.

    Attributes:
        entries: Records to add.
        begun: Calls that begin: number, and outcome if nobody sees how it ends.
        ended: Numbers of calls that are over.
    """

    entries: Sequence[bytes] = ()
    begun: Sequence[tuple[int, bytes]] = ()
    ended: Sequence[int] = ()


@dataclass(slots=True)
class SpoolFile:
    """What the file holds, as counts.

    Attributes:
        place: The stream that the records go to; empty texts until it is known.
        base: Sequence number of the oldest row.
        claimed: How many of the oldest rows may be on their way.
        records: Number of rows.
        size: Their bytes.
    """

    place: Place
    base: int
    claimed: int
    records: int
    size: int

    @classmethod
    def load(cls, db: sqlite3.Connection) -> "SpoolFile":
        """Reads the counts; a ``DatabaseError`` if the file is damaged."""
        try:
            row = db.execute("SELECT origin, producer, stream, base, claimed FROM state").fetchone()
            records, size = db.execute(
                "SELECT count(*), coalesce(sum(length(data)), 0) FROM entry"
            ).fetchone()
        except UNREADABLE as error:
            if isinstance(error, sqlite3.Error) and is_fatal(error):
                raise  # the writer must know
            raise DatabaseError(f"the spool is damaged: {error}") from error
        match row:
            case (str() as origin, str() as producer, str() as stream, int(base), int(claimed)):
                place = (origin, producer, stream)
            case (None, None, None, int(base), int(claimed)):
                place = ("", "", "")
            case _:
                raise DatabaseError("the spool is damaged: its state is of other types")
        if not (base >= 0 and 0 <= claimed <= records):
            raise DatabaseError("the spool is damaged: its state contradicts itself")
        return cls(place, base, claimed, records, size)

    @classmethod
    def resume(cls, db: sqlite3.Connection) -> "SpoolFile":
        """As ``load``, in a new process: the calls of the last one are over, and nobody saw how."""
        try:
            db.execute("INSERT INTO entry (data) SELECT data FROM underway ORDER BY call")
            db.execute("DELETE FROM underway")
        except UNREADABLE as error:
            if isinstance(error, sqlite3.Error) and is_fatal(error):
                raise
            raise DatabaseError(f"the spool is damaged: {error}") from error
        return cls.load(db)

    @classmethod
    def reload(
        cls, last: bytes | None, going_on: Iterable[int], db: sqlite3.Connection
    ) -> tuple["SpoolFile", bool]:
        """As ``load``, for a process that does not know what became of its last transaction.

        ``last`` is the last record of it, None for one without records; no calls but those in
        ``going_on`` are. Also tells whether it was committed.
        """
        file = cls.load(db)
        row = db.execute("SELECT data FROM entry ORDER BY position DESC LIMIT 1").fetchone()
        known = set(going_on)
        found = [call for (call,) in db.execute("SELECT call FROM underway")]
        db.executemany(
            "DELETE FROM underway WHERE call = ?", [(call,) for call in found if call not in known]
        )
        return file, last is not None and row is not None and row[0] == last

    @property
    def is_bound(self) -> bool:
        """Whether the stream is known."""
        return bool(self.place[0])

    def bind(self, place: Place, base: int, db: sqlite3.Connection) -> None:
        """Ties the file to a stream, and to where that stands."""
        db.execute(
            "UPDATE state SET origin = ?, producer = ?, stream = ?, base = ?", (*place, base)
        )

    def bound(self, place: Place, base: int) -> None:
        """See ``bind``."""
        self.place, self.base = place, base

    def change(self, change: Change, db: sqlite3.Connection) -> None:
        """Adds records, and notes which calls have begun and which are over."""
        if change.begun:
            db.executemany("INSERT INTO underway VALUES (?, ?)", change.begun)
        if change.entries:
            db.executemany(
                "INSERT INTO entry (data) VALUES (?)", [(entry,) for entry in change.entries]
            )
        if change.ended:
            db.executemany(
                "DELETE FROM underway WHERE call = ?", [(call,) for call in change.ended]
            )

    def changed(self, change: Change) -> None:
        """See ``change``."""
        self.records += len(change.entries)
        self.size += sum(map(len, change.entries))

    def claim(self, count: int, db: sqlite3.Connection) -> None:
        """Notes that the oldest rows may be on their way from now on."""
        db.execute("UPDATE state SET claimed = ?", (count,))

    def oldest(self, count: int, db: sqlite3.Connection) -> list[tuple[int, bytes]]:
        """The oldest rows: position and record."""
        return db.execute(
            "SELECT position, data FROM entry ORDER BY position LIMIT ?", (count,)
        ).fetchall()

    def delete(self, count: int, db: sqlite3.Connection) -> int:
        """Forgets the oldest rows, which the log has; returns their bytes."""
        rows = db.execute(
            "SELECT position, length(data) FROM entry ORDER BY position LIMIT ?", (count,)
        ).fetchall()
        if len(rows) != count:
            raise AssertionError("the log has more than the spool held")
        db.execute("DELETE FROM entry WHERE position <= ?", (rows[-1][0],))
        done = db.execute(
            "UPDATE state SET base = base + ?, claimed = claimed - ? WHERE base = ?",
            (count, count, self.base),
        )
        if done.rowcount != 1:
            raise AssertionError("the spool's base has moved")
        return sum(size for _, size in rows)

    def deleted(self, count: int, size: int) -> None:
        """See ``delete``."""
        self.base += count
        self.claimed -= count
        self.records -= count
        self.size -= size

    def refuse(self, position: int, reason: str, db: sqlite3.Connection) -> None:
        """Puts a record aside that the log will never take."""
        db.execute(
            "INSERT INTO refused SELECT position, data, ? FROM entry WHERE position = ?",
            (reason, position),
        )
        db.execute("DELETE FROM entry WHERE position = ?", (position,))
        db.execute("UPDATE state SET claimed = claimed - 1")

    def put_aside(self, db: sqlite3.Connection) -> int:
        """Counts the records that were put aside."""
        (count,) = db.execute("SELECT count(*) FROM refused").fetchone()
        return int(count)

    def refused(self, size: int) -> None:
        """See ``refuse``."""
        self.claimed -= 1
        self.records -= 1
        self.size -= size


@dataclass(slots=True)
class SpareRoom:
    """A file beside the spool that does nothing but fill ``SPARE`` bytes of the disk.

    When the disk is full, it goes, and the outcomes of the calls that are going on take its place.
    """

    path: Path
    _is_made: bool = field(default=False, init=False)

    @property
    def is_there(self) -> bool:
        """Whether it holds the room now; somebody may have deleted it."""
        try:
            return self._is_made and self.path.stat().st_size >= SPARE
        except OSError:
            return False

    def make(self) -> None:
        """Fills the room, unless that is done; an ``OSError`` if the disk has not so much."""
        if self.is_there:
            return
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(file).st_blocks * 512 < SPARE:
                os.posix_fallocate(file, 0, SPARE)
                os.fsync(file)
        except OSError:
            self.path.unlink()
            raise
        finally:
            os.close(file)
        self._is_made = True

    def spend(self) -> None:
        """Gives the room away."""
        self._is_made = False
        self.path.unlink(missing_ok=True)
