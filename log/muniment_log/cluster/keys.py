"""Which keys are a cluster's, and how they change while it goes on.

The database lists them. A process may sign with some of them and with no others, so that processes
can be given a new key one after the other. A change of the list ends every term: the lease's epoch
grows, nothing of the old one is stored any more, and whoever integrates next looks at the list.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from muniment_log.cluster.lease import end_term
from muniment_log.cluster.migrate import check_schema
from muniment_log.cluster.startup import Startup
from muniment_log.errors import StorageError
from muniment_log.storage.identity import check_identity, check_signed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Sequence

    from muniment.tlog.note import VKey
    from muniment_log.cluster.database import Database, DatabaseConnection
    from muniment_log.config import LogConfig


async def claim(database: Database, origin: str, keys: Sequence[str]) -> None:
    """Binds a new database to a log's origin and vkeys, or checks that it has them in its list.

    Raises:
        WrongIdentityError: the database belongs to another origin or to other keys.
        StorageError, UnavailableError: it cannot be used.
    """

    async def work(db: DatabaseConnection) -> dict[str, str]:
        owned = await _owned(db)
        if not owned:
            await _insert(db, origin, keys)
        return owned

    # Most starts only read: they need not wait for who orders, nor for a standby that is away.
    owned = await _read(database) or await database.transact(
        work, "binding the database to the log's keys"
    )
    check_identity(owned, origin, keys, "the database", are_all=False)


async def check_keys(database: Database, origin: str, keys: Sequence[str]) -> None:
    """Checks that a log's vkeys are in the list of its database; see `claim`."""
    owned = await _read(database)
    if not owned:
        raise StorageError("the database has lost its identity")
    check_identity(owned, origin, keys, "the database", are_all=False)


async def recorded(config: LogConfig) -> list[str]:
    """The vkeys that are in the list; raises as `rebind`."""
    async with _opened(config) as database:
        return list(await _read(database))


async def rebind(
    config: LogConfig, keys: Collection[VKey], changed: VKey, commit: Callable[[], None]
) -> None:
    """Changes the list as the keys of one configuration change; see `rotation.Record`.

    A key goes only when all that stay have signed the published checkpoint. `commit` is called
    inside the transaction, just before it ends; twice does no harm.

    Raises:
        DatabaseError: the database cannot be reached, or is of another version.
        WrongIdentityError: it belongs to another log, or a key that stays has not signed yet.
        StorageError, UnavailableError: it cannot be used.
    """
    origin, kept = config.file.origin, [str(key) for key in keys if key != changed]
    fresh, gone = ({str(changed)}, set()) if changed in keys else (set(), {str(changed)})

    async def work(db: DatabaseConnection) -> None:
        # Another attempt of this very transaction may have been committed.
        owned = await _owned(db)
        check_identity(owned, origin, kept, "the database", are_all=False)
        leaving = owned.keys() & gone
        note = await db.fetchval("SELECT note FROM head WHERE kind = 'published'")
        if leaving and note is not None:
            check_signed(note, sorted(owned.keys() - leaving))
        await db.execute("DELETE FROM identity WHERE vkey = ANY($1::text[])", sorted(leaving))
        await _insert(db, origin, list(fresh - owned.keys()))
        await end_term(db)
        commit()

    async with _opened(config) as database:
        await database.transact(work, "changing the log's keys")


@asynccontextmanager
async def _opened(config: LogConfig) -> AsyncIterator[Database]:
    database = await Startup(config.cluster).database(2)
    try:
        await check_schema(database)
        yield database
    finally:
        await database.close()


async def _read(database: Database) -> dict[str, str]:
    return await database.read(_listed, "reading the log's keys")


async def _listed(db: DatabaseConnection) -> dict[str, str]:
    rows = await db.fetch("SELECT vkey, origin FROM identity")
    return {row["vkey"]: row["origin"] for row in rows}


async def _owned(db: DatabaseConnection) -> dict[str, str]:
    # One row decides who is first; the others of one log wait for it here.
    await db.fetchval("SELECT next FROM coordinator WHERE id = 0 FOR UPDATE")
    return await _listed(db)


async def _insert(db: DatabaseConnection, origin: str, keys: Sequence[str]) -> None:
    await db.execute(
        "INSERT INTO identity (vkey, origin) SELECT v.vkey, $2 FROM unnest($1::text[]) AS v (vkey)",
        list(keys),
        origin,
    )
