"""Who wants to be told what becomes of a task: in the file of the calls that it is about."""

import json
from collections.abc import Sequence
from sqlite3 import Connection
from typing import Any, Final, NamedTuple

from muniment.local.mending import MendingWriter
from muniment_gateway.core.accessrequests import Callback

SCHEMA: Final = """
    CREATE TABLE callback (
        task TEXT PRIMARY KEY,
        client TEXT NOT NULL,
        endpoint TEXT NOT NULL,
        state TEXT,               -- JSON; null without one
        events TEXT NOT NULL,     -- JSON: names; empty for all
        tries INTEGER NOT NULL,
        due INTEGER NOT NULL      -- when it is to be looked at, Unix seconds
    ) WITHOUT ROWID;
    CREATE INDEX callback_by_due ON callback (due);
"""


class Due(NamedTuple):
    """A callback that is to be looked at, and how often it was tried in vain."""

    task: str
    client: str
    callback: Callback
    tries: int


class CallbackStore:
    """The callbacks in one file."""

    def __init__(self, writer: MendingWriter) -> None:
        """Takes the open file."""
        self._writer = writer

    async def note(self, task: str, client: str, callback: Callback, due: int) -> None:
        """Keeps the callback of a task, the newest one."""
        state = None if callback.state is None else json.dumps(callback.state)
        row = (task, client, callback.endpoint, state, json.dumps(sorted(callback.events)), 0, due)

        def work(db: Connection) -> None:
            db.execute("INSERT OR REPLACE INTO callback VALUES (?, ?, ?, ?, ?, ?, ?)", row)

        await self._writer.run(work)

    async def hurry(self, held: str | None, now: int) -> None:
        """Has the callbacks looked at of the tasks that a call is in; of None, all."""

        def work(db: Connection) -> None:
            db.execute(
                "UPDATE callback SET due = ? WHERE ? IS NULL OR instr(task, ?)", (now, held, held)
            )

        await self._writer.run(work, synced=False)

    async def due(self, now: int, most: int) -> list[Due]:
        """Those that are to be looked at, the longest due first."""

        def work(db: Connection) -> Sequence[Any]:
            return db.execute(
                "SELECT task, client, endpoint, state, events, tries FROM callback"
                " WHERE due <= ? ORDER BY due LIMIT ?",
                (now, most),
            ).fetchall()

        return [
            Due(
                task,
                client,
                Callback(
                    endpoint,
                    None if state is None else json.loads(state),
                    frozenset(json.loads(events)),
                ),
                tries,
            )
            for task, client, endpoint, state, events, tries in await self._writer.run(
                work, synced=False
            )
        ]

    async def put_off(self, task: str, due: int, tries: int) -> None:
        """Has a callback looked at again later."""

        def work(db: Connection) -> None:
            db.execute("UPDATE callback SET due = ?, tries = ? WHERE task = ?", (due, tries, task))

        await self._writer.run(work, synced=False)

    async def forget(self, task: str) -> None:
        """Forgets a callback: it was told, or is given up."""

        def work(db: Connection) -> None:
            db.execute("DELETE FROM callback WHERE task = ?", (task,))

        await self._writer.run(work)
