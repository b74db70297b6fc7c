"""The log's own keys by command: one more, or one less (`muniment.service.rotation`)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from muniment.service.rotation import Own
from muniment_log.config import load
from muniment_log.storage.sqlite import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from muniment.formats.note import VKey


def own_keys(config: Path) -> Own:
    """The log's own keys, to add one or retire one; the log must not run meanwhile.

    Raises:
        ConfigError: the configuration or a key cannot be used, or the log is a cluster.
    """
    loaded = load(config)
    file, database = loaded.file, loaded.database

    async def rebind(keys: Sequence[VKey], commit: Callable[[], None]) -> None:
        store = await SQLiteStore.open(database)
        try:
            await store.rebind(file.origin, keys, commit)
        finally:
            await store.close()

    return Own(
        config,
        name=file.origin,
        use="log",
        keys=file.keys,
        passphrase_file=file.key_passphrase_file,
        check=load,
        record=lambda keys, commit: asyncio.run(rebind(keys, commit)),
    )
