"""What the log was last told to be in force: the gateway's mode, and its engines' policies."""

from sqlite3 import Connection
from typing import Self

from muniment_gateway.store.mending import MendingWriter


class InForceStore:
    """What one gateway has told its log.

    Attributes:
        told: Of each subject, what the log was last told.
    """

    def __init__(self, writer: MendingWriter, told: dict[str, str]) -> None:
        """Takes the database, and what is in it."""
        self.told = told
        self._writer = writer

    @classmethod
    async def read(cls, writer: MendingWriter) -> Self:
        """Reads the database: who begins a new one tells the log everything once more."""
        return cls(writer, await writer.run(_read))

    async def tell(self, subject: str, content: str, record: str) -> None:
        """Notes that the log has a record of this id, about what is in force."""

        def write(db: Connection) -> None:
            db.execute("INSERT OR REPLACE INTO told VALUES (?, ?, ?)", (subject, content, record))

        await self._writer.run(write)
        self.told[subject] = content


def _read(db: Connection) -> dict[str, str]:
    return dict(db.execute("SELECT subject, content FROM told").fetchall())
