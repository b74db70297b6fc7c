"""The file of a spool (SQLite): what is in it, and how each step changes it.

Every change is one transaction of ``local.sqlitefile.Writer``. The methods that change the file
take its connection last; the ones in the past tense then bring the counts in memory up to date, so
that these never run ahead of the disk.
"""

import os
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from muniment.gateway.keptaddenda import KeptBytes, erase_kept, keep, wipe
from muniment.gateway.takennames import TakenNames, write_names
from muniment.gateway.withholding import NO_ADDENDA, Addenda
from muniment.local.sqlitefile import DatabaseError

_AT_ONCE: Final = 50  # rows that one statement adds
_ADD_SEVERAL: Final = "INSERT INTO entry (data) VALUES " + ",".join(["(?)"] * _AT_ONCE)  # noqa: S608

Place = tuple[str, str, str]
"""A log's origin, a gateway's key name, a stream's label."""


SENT_AT_ONCE: Final = 32 * 1024 * 1024
"""Bytes of addenda of the records that are claimed together, and so in memory; one alone may have
more."""


SPARE: Final = 256 * 1024
"""Bytes of disk that are kept for outcomes of calls that were going on when the disk got full: a
thousand of them, which share transactions of a few pages."""


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


class Change(NamedTuple):
    """What one transaction does to the rows.

    Attributes:
        entries: Records to add.
        begun: Calls that begin: number, and outcome if nobody sees how it ends.
        ended: Numbers of calls that are over.
        addenda: Addenda to be sent: number of the record in ``entries``, and addendum.
        of_calls: Addenda of outcomes that nobody saw: number of the call, and addendum.
        kept: Addenda to keep here.
        names: What the records are recognised by when they come again; none is known yet.
    """

    entries: Sequence[bytes] = ()
    begun: Sequence[tuple[int, bytes]] = ()
    ended: Sequence[int] = ()
    addenda: Sequence[tuple[int, bytes]] = ()
    of_calls: Sequence[tuple[int, bytes]] = ()
    kept: Sequence[KeptBytes] = ()
    names: Sequence[bytes] = ()


class Turn(NamedTuple):
    """What is next on its way.

    Attributes:
        size: Bytes of what was delivered before, with its addenda.
        rows: Position and record of each, oldest first.
        addenda: Addenda to be sent with them, by their numbers in ``rows``.
    """

    size: int
    rows: Sequence[tuple[int, bytes]]
    addenda: Addenda


@dataclass(slots=True)
class SpoolFile:
    """What the file holds, as counts.

    Attributes:
        place: The stream that the records go to; empty texts until it is known.
        base: Sequence number of the oldest row.
        claimed: How many of the oldest rows may be on their way.
        records: Number of rows.
        size: Their bytes, and those of their addenda.
        has_addenda: Whether addenda to be sent are, or were, in the file.
        names: By what records are recognised; None while they were not read.
    """

    place: Place
    base: int
    claimed: int
    records: int
    size: int
    has_addenda: bool = False
    names: TakenNames | None = None

    @classmethod
    def load(cls, db: sqlite3.Connection) -> "SpoolFile":
        """Reads the counts; a ``DatabaseError`` if they contradict each other."""
        row = db.execute("SELECT origin, producer, stream, base, claimed FROM state").fetchone()
        records, size = db.execute(
            "SELECT count(*), coalesce(sum(length(data)), 0) FROM entry"
        ).fetchone()
        addenda, beside = db.execute(
            "SELECT count(*), coalesce(sum(length(data)), 0) FROM addendum WHERE position > 0"
        ).fetchone()
        of_calls = db.execute("SELECT count(*) FROM addendum WHERE call > 0").fetchone()[0]
        match row:
            case (str() as origin, str() as producer, str() as stream, int(base), int(claimed)):
                place = (origin, producer, stream)
            case (None, None, None, int(base), int(claimed)):
                place = ("", "", "")
            case _:
                raise DatabaseError("the spool is damaged: its state is of other types")
        if not (base >= 0 and 0 <= claimed <= records):
            raise DatabaseError("the spool is damaged: its state contradicts itself")
        return cls(place, base, claimed, records, size + beside, bool(addenda + of_calls))

    @classmethod
    def resume(cls, db: sqlite3.Connection) -> "SpoolFile":
        """As ``load``, in a new process: the calls of the last one are over, and nobody saw how."""
        try:
            for call, data in db.execute(
                "SELECT call, data FROM underway ORDER BY call"
            ).fetchall():
                position = db.execute("INSERT INTO entry (data) VALUES (?)", (data,)).lastrowid
                db.execute(
                    "UPDATE addendum SET position = ?, call = NULL WHERE call = ?", (position, call)
                )
            db.execute("DELETE FROM underway")
        except sqlite3.IntegrityError as error:  # rows that break the rules of their own tables
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
        over = [(call,) for call in found if call not in known]
        db.executemany("DELETE FROM underway WHERE call = ?", over)
        db.executemany("DELETE FROM addendum WHERE call = ?", over)
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
            _add(change.entries, db)
        if change.addenda:
            (last,) = db.execute("SELECT max(position) FROM entry").fetchone()
            first = last - len(change.entries) + 1
            db.executemany(
                "INSERT INTO addendum (position, data) VALUES (?, ?)",
                [(first + number, data) for number, data in change.addenda],
            )
        if change.of_calls:
            db.executemany("INSERT INTO addendum (call, data) VALUES (?, ?)", change.of_calls)
        if change.kept:
            keep(change.kept, db)
        if change.names:
            write_names(change.names, db)
        if change.ended:
            ended = [(call,) for call in change.ended]
            db.executemany("DELETE FROM underway WHERE call = ?", ended)
            if self.has_addenda:
                wipe(db)
                db.executemany("DELETE FROM addendum WHERE call = ?", ended)

    def changed(self, change: Change) -> None:
        """See ``change``."""
        self.records += len(change.entries)
        self.size += sum(map(len, change.entries))
        if change.addenda or change.of_calls:
            self.size += sum(len(data) for _, data in change.addenda)
            self.has_addenda = True
        if change.names and self.names is not None:
            self.names.add(change.names)

    def claimable(self, most: int, db: sqlite3.Connection) -> int:
        """How many of the oldest rows, one at least, have addenda of SENT_AT_ONCE bytes at most."""
        room, count = SENT_AT_ONCE, 0
        rows = db.execute(
            "SELECT (SELECT coalesce(sum(length(data)), 0) FROM addendum"
            " WHERE position = entry.position) FROM entry ORDER BY position LIMIT ?",
            (most,),
        )
        for (size,) in rows:
            room -= size
            if room < 0 and count:
                break
            count += 1
        return count

    def turn(self, delivered: int, most: int, db: sqlite3.Connection) -> Turn:
        """Deletes the oldest rows, which the log has, and claims the next ones, of so many.

        Claimed rows that are left go first, alone.
        """
        size = self.delete(delivered, db) if delivered else 0
        count = self.claimed - delivered
        if not count and most:
            count = self.claimable(most, db) if self.has_addenda else most
            db.execute("UPDATE state SET claimed = ?", (count,))
        rows = db.execute(
            "SELECT position, data FROM entry ORDER BY position LIMIT ?", (count,)
        ).fetchall()
        return Turn(size, rows, self.addenda_of(rows, db) if self.has_addenda else NO_ADDENDA)

    def turned(self, delivered: int, turn: Turn) -> None:
        """See ``turn``."""
        self.deleted(delivered, turn.size)
        self.claimed = len(turn.rows)

    def addenda_of(
        self, rows: Sequence[tuple[int, bytes]], db: sqlite3.Connection
    ) -> dict[int, list[bytes]]:
        """The addenda to be sent with rows, by the number of the row among them."""
        numbers = {position: number for number, (position, _) in enumerate(rows)}
        found: dict[int, list[bytes]] = {}
        if not rows:
            return found
        for position, data in db.execute(
            "SELECT position, data FROM addendum WHERE position BETWEEN ? AND ? ORDER BY number",
            (rows[0][0], rows[-1][0]),
        ):
            found.setdefault(numbers[position], []).append(data)
        return found

    def delete(self, count: int, db: sqlite3.Connection) -> int:
        """Forgets the oldest rows, which the log has; returns their bytes, with their addenda."""
        found, last, size = db.execute(
            "SELECT count(*), max(position), sum(length(data)) FROM"
            " (SELECT position, data FROM entry ORDER BY position LIMIT ?)",
            (count,),
        ).fetchone()
        if found != count:
            raise AssertionError("the log has more than the spool held")
        db.execute("DELETE FROM entry WHERE position <= ?", (last,))
        beside = 0
        if self.has_addenda:
            wipe(db)
            (beside,) = db.execute(
                "SELECT coalesce(sum(length(data)), 0) FROM addendum"
                " WHERE position BETWEEN 1 AND ?",
                (last,),
            ).fetchone()
            db.execute("DELETE FROM addendum WHERE position BETWEEN 1 AND ?", (last,))
        done = db.execute(
            "UPDATE state SET base = base + ?, claimed = claimed - ? WHERE base = ?",
            (count, count, self.base),
        )
        if done.rowcount != 1:
            raise AssertionError("the spool's base has moved")
        return int(size + beside)

    def deleted(self, count: int, size: int) -> None:
        """See ``delete``."""
        self.base += count
        self.claimed -= count
        self.records -= count
        self.size -= size

    def refuse(self, position: int, reason: str, db: sqlite3.Connection) -> int:
        """Puts a record aside that the log will never take; returns its bytes, addenda included."""
        (size,) = db.execute(
            "SELECT length(data) + (SELECT coalesce(sum(length(data)), 0) FROM addendum"
            " WHERE position = entry.position) FROM entry WHERE position = ?",
            (position,),
        ).fetchone()
        db.execute(
            "INSERT INTO refused SELECT position, data, ? FROM entry WHERE position = ?",
            (reason, position),
        )
        db.execute("DELETE FROM entry WHERE position = ?", (position,))
        db.execute("UPDATE addendum SET position = -position WHERE position = ?", (position,))
        db.execute("UPDATE state SET claimed = claimed - 1")
        return int(size)

    def put_aside(self, db: sqlite3.Connection) -> int:
        """Counts the records that were put aside."""
        (count,) = db.execute("SELECT count(*) FROM refused").fetchone()
        return int(count)

    def refused(self, size: int) -> None:
        """See ``refuse``."""
        self.claimed -= 1
        self.records -= 1
        self.size -= size

    def erase(
        self, digests: Sequence[str], entries: Sequence[bytes], db: sqlite3.Connection
    ) -> int:
        """Erases addenda that are kept here, and adds the records that say so; how many it were."""
        count = erase_kept(digests, db)
        if count:
            self.change(Change(entries), db)
        return count


def _add(entries: Sequence[bytes], db: sqlite3.Connection) -> None:
    """Adds rows, several with one statement, which takes half of the time."""
    whole = len(entries) - len(entries) % _AT_ONCE
    for start in range(0, whole, _AT_ONCE):
        db.execute(_ADD_SEVERAL, entries[start : start + _AT_ONCE])
    db.executemany("INSERT INTO entry (data) VALUES (?)", [(one,) for one in entries[whole:]])
