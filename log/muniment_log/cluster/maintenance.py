"""What an operator does to a cluster's database: migrate its schema, change the log's keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from muniment_log.cluster.keys import rebind as change_keys
from muniment_log.cluster.migrate import check_schema, migrate
from muniment_log.cluster.startup import Startup

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from muniment.tlog.note import VKey
    from muniment_log.config import LogConfig


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


async def rebind(config: LogConfig, keys: Sequence[VKey], commit: Callable[[], None]) -> None:
    """Changes the cluster's keys; see `keys.rebind`.

    Raises:
        DatabaseError: the database cannot be reached, or is of another version.
        WrongIdentityError: it belongs to another log, or a key that stays has not signed yet.
        StorageError, UnavailableError: it cannot be used.
    """
    database = await Startup(config.cluster).database(2)
    try:
        await check_schema(database)
        before = [signer.vkey for signer in config.signers]
        await change_keys(database, config.file.origin, before=before, after=keys, commit=commit)
    finally:
        await database.close()
