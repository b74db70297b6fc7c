"""What the log was last told to be in force: the gateway's mode, and its engines' policies."""

from pathlib import Path
from sqlite3 import Connection
from typing import Final, Self

from muniment.local.sqlitefile import Writer

APPLICATION: Final = 0x4D756E47
"""SQLite application_id of gateways' databases: ``MunG``."""

MIGRATIONS: Final = (
    """
    -- What was in force, as the last record in the log about it says.
    CREATE TABLE told (
        subject TEXT PRIMARY KEY,
        content TEXT NOT NULL,
        record TEXT NOT NULL
    ) WITHOUT ROWID;
    """,
)
"""Schema changes, oldest first."""


class InForceStore:
    """The database of one gateway.

    Attributes:
        told: Of each subject, what the log was last told.
    """

    def __init__(self, writer: Writer, told: dict[str, str]) -> None:
        """Takes over the writer, and what is in the file."""
        self.told = told
        self._writer = writer

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Opens the database, or makes it: who begins anew tells the log everything once more.

        Raises:
            DatabaseError: If it is in use, damaged, or another program's.
        """
        writer = await Writer.open(path, MIGRATIONS, application=APPLICATION)
        try:
            return cls(writer, await writer.run(_read))
        except BaseException:
            await writer.close()
            raise

    async def tell(self, subject: str, content: str, record: str) -> None:
        """Notes that the log has a record of this id, about what is in force."""

        def write(db: Connection) -> None:
            db.execute("INSERT OR REPLACE INTO told VALUES (?, ?, ?)", (subject, content, record))

        await self._writer.run(write)
        self.told[subject] = content

    async def close(self) -> None:
        """Closes the file."""
        await self._writer.close()


def _read(db: Connection) -> dict[str, str]:
    return dict(db.execute("SELECT subject, content FROM told").fetchall())
