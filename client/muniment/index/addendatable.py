"""The addenda that a replica has taken along, in a table of its own."""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from muniment.local.sqlitefile import Writer

FIRST_PAUSE: Final = 60
LAST_PAUSE: Final = 86_400
"""Seconds until an addendum that was not there is asked for again: at first, and at most."""

MOST_ABSENT: Final = 100_000
"""Addenda that are asked for again, the newest: where gateways keep their own, all are absent."""


class AbsentAddendum(NamedTuple):
    """An addendum that the log did not have.

    Attributes:
        digest: In hexadecimal digits.
        producer: Of the record that names it.
        pause: Seconds before it was asked for the last time.
    """

    digest: str
    producer: str
    pause: int


class AddendaProgress(NamedTuple):
    """How far a replica is with addenda, as leaf indices behind the last one looked at.

    Attributes:
        taken: Up to where the log was asked for what the leaves name; 0 if it never was.
        obeyed: Up to where erasures are carried out.
        is_wiped: Whether nothing that was erased is left in the file or beside it.
    """

    taken: int
    obeyed: int
    is_wiped: bool


class AddendaTable:
    """The table, by the writer of a replica; raises what `Writer.run` raises."""

    def __init__(self, writer: Writer) -> None:
        """Takes the writer, which stays its owner's."""
        self._writer = writer

    async def progress(self) -> AddendaProgress:
        """How far it is."""

        def work(db: sqlite3.Connection) -> AddendaProgress:
            taken, obeyed, unwiped = db.execute(
                "SELECT taken, obeyed, unwiped FROM addenda"
            ).fetchone()
            return AddendaProgress(taken, obeyed, not unwiped)

        return await self._writer.run(work)

    async def bundle(self, number: int) -> bytes | None:
        """An entry bundle of the replica; None if it is not there."""

        def work(db: sqlite3.Connection) -> bytes | None:
            row = db.execute("SELECT data FROM bundle WHERE idx = ?", (number,)).fetchone()
            return None if row is None else row[0]

        return await self._writer.run(work)

    async def keep(
        self,
        rows: Sequence[tuple[str, str, bytes]],
        *,
        taken: int | None = None,
        absent: Iterable[AbsentAddendum] = (),
        gone: Iterable[str] = (),
        now: int = 0,
    ) -> None:
        """Keeps addenda, and notes how far they are taken; None to leave that.

        Args:
            rows: Digest, producer of the record that names it, and the bytes; what is there stays.
            taken: Up to which leaf.
            absent: What was not there, to be asked for again.
            gone: What need not be asked for again, by digest; what is kept is not, either.
            now: Unix seconds.
        """
        waiting = [
            (one.digest, one.producer, pause, now + pause)
            for one in absent
            for pause in [min(max(FIRST_PAUSE, 2 * one.pause), LAST_PAUSE)]
        ]
        over = [(digest,) for digest in (*gone, *(digest for digest, _, _ in rows))]

        def work(db: sqlite3.Connection) -> None:
            db.executemany("INSERT OR IGNORE INTO addendum VALUES (?, ?, ?)", rows)
            db.executemany("DELETE FROM absent WHERE digest = ?", over)
            if waiting:
                db.executemany(
                    "INSERT INTO absent (digest, producer, pause, again) VALUES (?, ?, ?, ?)"
                    " ON CONFLICT (digest) DO UPDATE SET pause = ?3, again = ?4",
                    waiting,
                )
                db.execute(
                    "DELETE FROM absent WHERE id <= (SELECT max(id) FROM absent) - ?",
                    (MOST_ABSENT,),
                )
            if taken is not None:
                db.execute("UPDATE addenda SET taken = max(taken, ?)", (taken,))

        await self._writer.run(work)

    async def due(self, now: int, most: int) -> list[AbsentAddendum]:
        """What is to be asked for again, at most so many; `now` in Unix seconds."""

        def work(db: sqlite3.Connection) -> list[AbsentAddendum]:
            rows = db.execute(
                "SELECT digest, producer, pause FROM absent WHERE again <= ?"
                " ORDER BY again LIMIT ?",
                (now, most),
            )
            return [AbsentAddendum(*row) for row in rows]

        return await self._writer.run(work)

    async def erase(self, erasures: Iterable[tuple[str, str]], origin: str, obeyed: int) -> int:
        """Deletes what erasures name, (digest, producer), where the producer may erase it.

        That are the log itself, and the producer of the record that names it. Says how many it
        were; `wipe` removes the last traces.
        """
        wanted = [(digest, producer, origin) for digest, producer in erasures]

        def work(db: sqlite3.Connection) -> int:
            erased = 0
            if wanted:
                erased = db.executemany(
                    "DELETE FROM addendum WHERE digest = ?1 AND ?2 IN (producer, ?3)", wanted
                ).rowcount
                db.executemany(
                    "DELETE FROM absent WHERE digest = ?1 AND ?2 IN (producer, ?3)", wanted
                )
            db.execute(
                "UPDATE addenda SET obeyed = ?, unwiped = unwiped OR ?", (obeyed, erased > 0)
            )
            return erased

        await self._writer.run(lambda db: db.execute("PRAGMA secure_delete=1"))
        return await self._writer.run(work)

    async def wipe(self) -> bool:
        """Cuts off the write-ahead log, which may hold what was erased; not while others read."""
        if not await self._writer.truncate_log():
            return False

        def work(db: sqlite3.Connection) -> None:
            db.execute("UPDATE addenda SET unwiped = 0")

        await self._writer.run(work)
        return True
