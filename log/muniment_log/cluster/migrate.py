"""The schema's versions: ordered migrations, each of which commits together with its record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from muniment.local.sqlitefile import DatabaseError
from muniment_log.cluster.startup import Startup

if TYPE_CHECKING:
    from datetime import datetime

    from muniment_log.cluster.database import Database, DatabaseConnection
    from muniment_log.config import LogConfig

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS muniment_schema (
    version integer PRIMARY KEY,
    applied timestamptz NOT NULL DEFAULT now()
)
"""


def migrations() -> list[str]:
    """The schema's changes, oldest first."""
    scripts = Path(__file__).with_name("migrations").glob("*.sql")
    return [script.read_text("utf-8") for script in sorted(scripts)]


async def migrate_database(config: LogConfig) -> tuple[int, int]:
    """Brings the database to this program's schema; the versions before and after.

    Raises:
        ConfigError: the log is no cluster.
        DatabaseError: the database cannot be reached, or is of a newer version.
        StorageError: it refuses.
    """
    database = await Startup(config.cluster).database(2)
    try:
        return await migrate(database)
    finally:
        await database.close()


async def migrate(database: Database) -> tuple[int, int]:
    """Brings the schema to this program's version; the versions before and after.

    Two of them at the same time do no harm: the record of a version can be made only once, and
    whoever comes second waits for the first and finds it done.

    Raises:
        DatabaseError: the schema is newer than this program.
        StorageError, UnavailableError: the database refuses or cannot be reached.
    """
    scripts = migrations()
    await database.transact(lambda db: db.execute(_TABLE), "making the table of versions")
    before = version = await _version(database)
    if version > len(scripts):
        raise DatabaseError(_newer(version, len(scripts)))
    while version < len(scripts):
        number, script = version + 1, scripts[version]

        async def step(db: DatabaseConnection, number: int = number, script: str = script) -> None:
            mine = await db.fetchval(
                "INSERT INTO muniment_schema (version) VALUES ($1)"
                " ON CONFLICT DO NOTHING RETURNING version",
                number,
            )
            if mine is not None:
                await db.execute(script)

        await database.transact(step, f"migrating the schema to version {number}")
        version = number
    return before, version


async def check_schema(database: Database) -> None:
    """Checks that the schema is exactly this program's.

    Raises:
        DatabaseError: it is older, newer, or not there; names both versions.
        StorageError, UnavailableError: the database refuses or cannot be reached.
    """
    version, wanted = await _version(database), len(migrations())
    if version > wanted:
        raise DatabaseError(_newer(version, wanted))
    if version < wanted:
        raise DatabaseError(
            f"the database's schema has version {version}, this program needs {wanted}: "
            "run muniment-log migrate"
        )


async def made_when(database: Database) -> datetime:
    """When the schema was made, by the database's clock: the log has logged nothing before.

    Raises StorageError or UnavailableError if the database refuses or cannot be reached.
    """
    made: datetime = await database.read(
        lambda db: db.fetchval("SELECT min(applied) FROM muniment_schema"),
        "reading when the schema was made",
    )
    return made


async def _version(database: Database) -> int:
    async def work(db: DatabaseConnection) -> int:
        if await db.fetchval("SELECT to_regclass('muniment_schema') IS NULL"):
            return 0
        return int(await db.fetchval("SELECT coalesce(max(version), 0) FROM muniment_schema"))

    return await database.read(work, "reading the schema's version")


def _newer(version: int, wanted: int) -> str:
    return (
        f"the database's schema has version {version}, and this program knows only {wanted}: "
        "use a newer muniment"
    )
