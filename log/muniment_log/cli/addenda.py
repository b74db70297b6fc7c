"""``muniment-log new-addenda``: going on when the addenda are lost."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import click

from muniment_log.cli.exits import fail, failing
from muniment_log.cli.options import CONFIG
from muniment_log.config import load
from muniment_log.storage.addenda import AddendaStore
from muniment_log.storage.sqlite import SQLiteStore
from muniment_service.exits import EXIT_CONFIG

if TYPE_CHECKING:
    from pathlib import Path

    from muniment_log.config import LogConfig


@click.command("new-addenda")
@CONFIG
def new_addenda(config: Path) -> None:
    """Let a stopped log go on without addenda that are lost.

    For a log whose addenda.db is gone or older than the log, and of which no newer copy exists: an
    empty one is made if there is none, and the log starts again. The next start reads the whole
    log once, to learn what was erased before. What was lost stays lost: `check` names it, and
    audits report it.
    """
    with failing():
        loaded = load(config)
        if loaded.file.cluster is not None:
            fail(EXIT_CONFIG, "a cluster keeps its addenda in the bucket: there is no such file")
        asyncio.run(_make(loaded))
    click.echo(f"the log goes on with {loaded.addenda}", err=True)


async def _make(loaded: LogConfig) -> None:
    origin = loaded.file.origin
    async with AsyncExitStack() as closing:
        store = await SQLiteStore.open(loaded.database)
        closing.push_async_callback(store.close)
        await store.claim(origin, loaded.vkeys)
        addenda = AddendaStore(
            loaded.addenda, origin, size=lambda: 0, waiting_bytes=0, now_ms=lambda: 0
        )
        closing.push_async_callback(addenda.close)
        await addenda.make()
        await store.note_addendum(None)
