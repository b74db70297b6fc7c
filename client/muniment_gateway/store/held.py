"""The calls that wait for a person: one file for all gateways of a configuration.

The service and its gates for MCP share it, each in a process of its own: whoever holds a call finds
the person's word there, whichever of them took it. Each change is one transaction, and synced.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from sqlite3 import Connection
from typing import Any, Final, NamedTuple

import msgspec

from muniment.local.mending import MendingWriter
from muniment.local.sqlitefile import Writer
from muniment.records.approval import SignedApproval
from muniment.tlog.encoding import MunimentError
from muniment_gateway.core.approvals import Held, Word
from muniment_gateway.store.callbacks import SCHEMA as CALLBACKS
from muniment_gateway.store.callbacks import CallbackStore

APPLICATION: Final = 0x4D756E41
"""SQLite application_id of these databases: ``MunA``."""

MOST_PENDING: Final = 2_000
"""Most calls that people are asked about at one time, of all clients."""

MOST_REQUESTABLE: Final = 1_000
"""Most denials that may still be requested; the oldest is forgotten for another one."""

MOST_OVER: Final = 5_000
"""Most calls that are kept although they expired or were used; the oldest is forgotten."""

MOST_DENIALS: Final = 64
"""Most decisions of one call by which an access request may name it: the newest."""

KEPT_SECONDS: Final = 172_800
"""How long a call is kept after people could decide on it."""

MIGRATIONS: Final = (
    """
    CREATE TABLE held (
        id TEXT PRIMARY KEY,
        key BLOB NOT NULL,
        client TEXT NOT NULL,
        authority TEXT NOT NULL,
        evaluation TEXT NOT NULL,
        request TEXT NOT NULL,    -- JSON
        withheld TEXT NOT NULL,   -- JSON: pointers
        salt TEXT NOT NULL,
        call TEXT NOT NULL,
        made INTEGER NOT NULL,
        expires INTEGER NOT NULL,
        asked TEXT,               -- JSON; null while people were not asked
        approval TEXT,            -- JSON; null without a person's word
        leaf INTEGER,
        used TEXT
    );
    CREATE INDEX held_by_key ON held (key, made);
    CREATE INDEX held_by_expiry ON held (expires);
    -- The decisions that denied a call: an access request names one of them.
    CREATE TABLE denial (
        id TEXT PRIMARY KEY,
        held TEXT NOT NULL REFERENCES held (id) ON DELETE CASCADE
    );
    CREATE INDEX denial_by_held ON denial (held);
    -- Submissions by their Idempotency-Key.
    CREATE TABLE submission (
        client TEXT NOT NULL,
        key TEXT NOT NULL,
        body BLOB NOT NULL,       -- SHA-256
        held TEXT NOT NULL REFERENCES held (id) ON DELETE CASCADE,
        PRIMARY KEY (client, key)
    ) WITHOUT ROWID;
    CREATE INDEX submission_by_held ON submission (held);
    """,
    """
    ALTER TABLE held ADD COLUMN earlier TEXT;    -- JSON: who has approved before `approval`
    """,
    """
    ALTER TABLE held ADD COLUMN cancelled INTEGER;
    """,
    CALLBACKS,
)
"""Schema changes, oldest first."""

_COLUMNS: Final = (
    "id, key, client, authority, evaluation, request, withheld, salt, call, made, expires, asked, "
    "approval, leaf, used, earlier, cancelled"
)
_WAITS: Final = "expires > ? AND asked IS NOT NULL AND approval IS NULL AND cancelled IS NULL"


class Room(NamedTuple):
    """How many calls of a client people may be asked about, at a time in Unix seconds."""

    now: int
    most: int


class Waiting(NamedTuple):
    """What waits for the people of one authority.

    Attributes:
        calls: How many calls.
        since: When the oldest was denied first, Unix seconds.
    """

    calls: int
    since: int


class TooManyError(MunimentError):
    """So many calls wait for people that no other one may."""


class HeldCalls:
    """The calls of one file, and `callbacks`: who wants to be told of them."""

    def __init__(self, writer: MendingWriter) -> None:
        """Takes the open database."""
        self._writer = writer
        self.callbacks = CallbackStore(writer)

    @classmethod
    async def open(cls, path: Path) -> "HeldCalls":
        """Opens the file, or makes it; DatabaseError if it cannot be used."""
        opening = partial(Writer.open, path, MIGRATIONS, application=APPLICATION, shared=True)
        return cls(await MendingWriter.open(opening))

    async def close(self) -> None:
        """Closes the file."""
        await self._writer.close()

    async def seek(self, new: Held, now: int, most: int) -> Held:
        """The call that is there by its key and is live; else a new one, which is kept.

        Raises TooManyError if people are asked about `most` calls of this client already.
        """

        def work(db: Connection) -> Held:
            row = db.execute(
                f"SELECT {_COLUMNS} FROM held WHERE key = ? ORDER BY made DESC, rowid DESC LIMIT 1",  # noqa: S608 - names of ours
                (new.key,),
            ).fetchone()
            if row is not None and (found := _held(row)).is_live(now):
                _note_denial(db, new.evaluation, found.id)
                return found
            _forget(db, now)
            _make_room(db, new, now, most)
            _write(db, new)
            _note_denial(db, new.evaluation, new.id)
            return new

        return await self._writer.run(work)

    async def change(
        self, id_: str, change: Callable[[Held], Held], room: Room | None = None
    ) -> Held | None:
        """Changes a call by a pure function, which may raise and change nothing; None for none.

        With `room`, people are asked by the change: TooManyError if they have enough to do.
        """

        def work(db: Connection) -> Held | None:
            row = _row(db, id_)
            if row is None:
                return None
            found = _held(row)
            changed = change(found)
            if changed != found:
                if room is not None:
                    _make_room(db, changed, room.now, room.most)
                _write(db, changed)
            return changed

        return await self._writer.run(work)

    async def get(self, id_: str) -> Held | None:
        """A call by what the gateway calls it; None for none."""
        return await self._writer.run(lambda db: _maybe(_row(db, id_)), synced=False)

    async def of_evaluation(self, evaluation: str) -> Held | None:
        """The call that a decision has denied; None for none."""

        def work(db: Connection) -> Held | None:
            row = db.execute("SELECT held FROM denial WHERE id = ?", (evaluation,)).fetchone()
            return None if row is None else _maybe(_row(db, row[0]))

        return await self._writer.run(work, synced=False)

    async def pending(self, now: int, limit: int) -> list[Held]:
        """The calls about which people were asked and have not answered, the oldest first."""

        def work(db: Connection) -> list[Held]:
            rows = db.execute(
                f"SELECT {_COLUMNS} FROM held WHERE {_WAITS} ORDER BY made, rowid LIMIT ?",  # noqa: S608 - likewise
                (now, limit),
            ).fetchall()
            return [_held(row) for row in rows]

        return await self._writer.run(work, synced=False)

    async def waiting(self, now: int) -> dict[str, Waiting]:
        """How many calls people are asked about, by authority; of those about which they are."""

        def work(db: Connection) -> dict[str, Waiting]:
            rows = db.execute(
                f"SELECT authority, count(*), min(made) FROM held WHERE {_WAITS} GROUP BY 1",  # noqa: S608 - likewise
                (now,),
            )
            return {name: Waiting(calls, oldest) for name, calls, oldest in rows}

        return await self._writer.run(work, synced=False)

    async def note_submission(self, client: str, key: str, body: bytes, held: str) -> str | None:
        """Notes who submitted what by an Idempotency-Key.

        Returns the call of the first submission, None when it was of another body.
        """

        def work(db: Connection) -> str | None:
            row = db.execute(
                "SELECT body, held FROM submission WHERE client = ? AND key = ?", (client, key)
            ).fetchone()
            if row is not None:
                return row[1] if bytes(row[0]) == body else None
            db.execute("INSERT INTO submission VALUES (?, ?, ?, ?)", (client, key, body, held))
            return held

        return await self._writer.run(work)


def _make_room(db: Connection, new: Held, now: int, most: int) -> None:
    """Raises TooManyError if people must not be asked about one more call; forgets old denials."""
    if new.asked is None:
        db.execute(
            "DELETE FROM held WHERE rowid IN (SELECT rowid FROM held WHERE asked IS NULL"
            " ORDER BY made DESC, rowid DESC LIMIT -1 OFFSET ?)",
            (MOST_REQUESTABLE - 1,),
        )
        return
    own, everybody = db.execute(
        "SELECT coalesce(sum(client = ? AND authority = ?), 0), count(*) FROM held"  # noqa: S608 - likewise
        f" WHERE {_WAITS}",
        (new.client, new.authority, now),
    ).fetchone()
    if own >= most:
        raise TooManyError(f"{own} calls of this client wait for {new.authority} already")
    if everybody >= MOST_PENDING:
        raise TooManyError(f"{everybody} calls wait for people already")


def _forget(db: Connection, now: int) -> None:
    """Forgets calls that are long over, and all but so many of the others that are over."""
    db.execute("DELETE FROM held WHERE expires < ?", (now - KEPT_SECONDS,))
    db.execute(
        "DELETE FROM held WHERE rowid IN (SELECT rowid FROM held WHERE expires < ?"
        " AND (approval IS NULL OR used IS NOT NULL) ORDER BY expires DESC LIMIT -1 OFFSET ?)",
        (now, MOST_OVER),
    )


def _note_denial(db: Connection, decision: str, held: str) -> None:
    db.execute("INSERT OR IGNORE INTO denial VALUES (?, ?)", (decision, held))
    db.execute(
        "DELETE FROM denial WHERE rowid IN (SELECT rowid FROM denial WHERE held = ?"
        " ORDER BY rowid DESC LIMIT -1 OFFSET ?)",
        (held, MOST_DENIALS),
    )


def _write(db: Connection, held: Held) -> None:
    db.execute(
        f"INSERT INTO held ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - likewise
        " ON CONFLICT (id) DO UPDATE SET asked = excluded.asked, approval = excluded.approval,"
        " leaf = excluded.leaf, used = excluded.used, earlier = excluded.earlier,"
        " cancelled = excluded.cancelled",
        (
            held.id,
            held.key,
            held.client,
            held.authority,
            held.evaluation,
            json.dumps(held.request),
            json.dumps(held.withheld),
            held.salt,
            held.call,
            held.made,
            held.expires,
            None if held.asked is None else json.dumps(held.asked),
            None if held.approval is None else msgspec.json.encode(held.approval).decode(),
            held.leaf,
            held.used,
            msgspec.json.encode(held.earlier).decode() if held.earlier else None,
            held.cancelled,
        ),
    )


def _row(db: Connection, id_: str) -> Any:
    return db.execute(f"SELECT {_COLUMNS} FROM held WHERE id = ?", (id_,)).fetchone()  # noqa: S608 - likewise


def _maybe(row: Any) -> Held | None:
    return None if row is None else _held(row)


def _held(row: Any) -> Held:
    return Held(
        id=row[0],
        key=bytes(row[1]),
        client=row[2],
        authority=row[3],
        evaluation=row[4],
        request=json.loads(row[5]),
        withheld=tuple(json.loads(row[6])),
        salt=row[7],
        call=row[8],
        made=row[9],
        expires=row[10],
        asked=None if row[11] is None else json.loads(row[11]),
        approval=None if row[12] is None else msgspec.json.decode(row[12], type=SignedApproval),
        leaf=row[13],
        used=row[14],
        earlier=() if row[15] is None else msgspec.json.decode(row[15], type=tuple[Word, ...]),
        cancelled=row[16],
    )
