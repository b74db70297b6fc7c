"""The log's own keys by command: one more, or one less (`muniment_service.rotation`).

A log in one file must be stopped meanwhile. A cluster goes on, and its processes take the keys up
one after the other: see `cluster.keys`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from muniment_log.cli.cluster import import_cluster_module
from muniment_log.config import load
from muniment_log.storage.sqlite import SQLiteStore
from muniment_service.process import run
from muniment_service.rotation import Own

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from muniment.tlog.note import VKey


def own_keys(config: Path) -> Own:
    """The log's own keys, to add one or retire one.

    Raises ConfigError if the configuration, a key or the cluster's libraries cannot be used.
    """
    loaded = load(config)
    file = loaded.file

    async def rebind(keys: Sequence[VKey], commit: Callable[[], None]) -> None:
        if file.cluster is not None:
            await import_cluster_module("cluster.maintenance").rebind(loaded, keys, commit)
            return
        database = loaded.database
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
        record=lambda keys, commit: run(rebind(keys, commit)),
    )
