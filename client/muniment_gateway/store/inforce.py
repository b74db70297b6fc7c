"""What the log was last told to be in force: the gateway's mode, and its engines' policies."""

import logging
from sqlite3 import Connection
from typing import Final, Self

from muniment.local.logs import event
from muniment.local.mending import MendingWriter
from muniment.local.sqlitefile import DatabaseError

_LOGGER: Final = logging.getLogger(__name__)


class InForceStore:
    """What one gateway has told its log.

    Attributes:
        told: Of each subject, what the log was last told.
    """

    def __init__(self, writer: MendingWriter, told: dict[str, str]) -> None:
        """Takes the database, and what is in it."""
        self.told = told
        self._writer = writer
        self._unwritten: dict[str, tuple[str, str, str]] = {}

    @classmethod
    async def read(cls, writer: MendingWriter) -> Self:
        """Reads the database: who begins a new one tells the log everything once more."""
        return cls(writer, await writer.run(_read))

    async def tell(self, subject: str, content: str, record: str) -> None:
        """Notes that the log has a record of this id, about what is in force.

        What the disk does not take it takes with the next note; who begins anew before that tells
        the log once more.
        """
        self.told[subject] = content
        self._unwritten[subject] = (subject, content, record)
        rows = list(self._unwritten.values())

        def write(db: Connection) -> None:
            db.executemany("INSERT OR REPLACE INTO told VALUES (?, ?, ?)", rows)

        try:
            await self._writer.run(write)
        except DatabaseError as error:
            event(
                _LOGGER, logging.ERROR, "what the log was told cannot be noted", reason=str(error)
            )
        else:
            self._unwritten.clear()


def _read(db: Connection) -> dict[str, str]:
    return dict(db.execute("SELECT subject, content FROM told").fetchall())
