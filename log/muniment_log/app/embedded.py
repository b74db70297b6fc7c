"""Puts a log together: the only place that builds its objects. One task group is the service.

When a background task dies the process ends: a sequencer that cannot commit must not answer, and a
restart learns from the disk what is true.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from muniment.local.lifecycle import stop_requested
from muniment.local.logs import event
from muniment.tlog.cosignature import verifier_for
from muniment_log.core.budgets import Budgets
from muniment_log.core.heads import HeadSigner
from muniment_log.core.integrate import restore
from muniment_log.core.sequencer import Sequencer
from muniment_log.core.tokens import TokenFramer
from muniment_log.http.access import AccessControl
from muniment_log.http.admin import Admin
from muniment_log.http.api import build, state_of
from muniment_log.index.supervisor import IndexFiles, IndexProcess, IndexReads
from muniment_log.inforce import Witnesses
from muniment_log.metrics import LogMetrics
from muniment_log.publish.commits import CommitListener
from muniment_log.publish.published import published_size
from muniment_log.publish.publisher import Publisher
from muniment_log.publish.rollback import (
    COPY,
    EMPTY,
    Doubts,
    PastCheck,
    check_note,
    check_witnesses,
)
from muniment_log.storage.embedded import EmbeddedTiles
from muniment_log.storage.order import EmbeddedOrder
from muniment_log.storage.snapshot import LogSnapshot
from muniment_log.storage.sqlite import SQLiteStore
from muniment_service.metrics import Metrics
from muniment_service.process import (
    allow_connections,
    print_ready,
    spare_collections,
)
from muniment_service.server import serving, serving_unix
from muniment_service.tls import server_context

if TYPE_CHECKING:
    from collections.abc import Callable

    from muniment_log.config import LogConfig
    from muniment_log.storage.sqlite import Made

_LOGGER = logging.getLogger(__name__)

SWITCH_SECONDS: Final = 0.0005
"""How soon the writer's thread gets the interpreter lock back from a busy event loop. With the
default of 5 ms every SQL statement of a commit may wait that long."""


def _clock() -> int:
    return int(time.time())


async def serve(
    config: LogConfig,
    *,
    ready: Callable[[str], None] = print_ready,
    clock: Callable[[], int] = _clock,
) -> None:
    """Serves until SIGTERM or SIGINT; requests in flight finish first.

    Args:
        config: the configuration.
        ready: called with the URL once requests are taken.
        clock: gives the time in Unix seconds.

    Raises:
        AbsentDatabaseError: there is no database.
        DatabaseError: it is in use, or not this program's.
        WrongIdentityError: it belongs to another log.
        RolledBackError: a witness knows more than it holds.
        StorageError: it is damaged.
        OSError: the address cannot be bound.
        ExceptionGroup: a background task failed.
    """
    file = config.file
    tls = server_context(file.tls)
    sys.setswitchinterval(SWITCH_SECONDS)
    allow_connections(file.limits.connections)
    store = await SQLiteStore.open(config.database)
    try:
        await store.claim(file.origin, [str(signer.vkey) for signer in config.signers])
        async with Witnesses(config) as witnesses:
            loaded = await store.load()
            made = await store.made()
            is_copy = await store.is_copy()
            edge = restore(loaded.head, loaded.fragments, loaded.partials)
            tiles = EmbeddedTiles(store, edge, loaded.published)
            for note in (loaded.signed, loaded.published):
                if note is not None:
                    await check_note(note, file.origin, tiles, loaded.head)
            clients = witnesses.clients
            keys = [verifier_for(signer.vkey) for signer in config.signers]
            silent = await check_witnesses(
                clients, file.origin, keys, tiles, loaded.head, file.limits.start_seconds
            )
            doubts = Doubts(
                PastCheck(file.origin, keys, tiles, lambda: publisher.integrated),
                config.policy,
                clients,
                silent,
                file.limits.start_seconds,
                unproven=EMPTY if loaded.head.size == 0 else COPY if is_copy else "",
            )
            await store.make_ready()
            metrics = Metrics("muniment_log")
            measured = LogMetrics(metrics)
            measured.integrated(loaded.head.size)
            tiles.damaged = measured.damaged_tile
            heads = HeadSigner(file.origin, config.signers, clock, loaded.signed)
            signed = loaded.signed
            if signed is not None and heads.last == loaded.head and not heads.has_signed(signed):
                # A key is new: an idle log shows its signature at once, too.
                signed = await store.put_signed(lambda: heads.sign(loaded.head))
            publisher = Publisher(
                heads,
                store,
                tiles,
                config.policy,
                clients,
                measured,
                file.limits.publisher,
                doubts,
            )
            sequencer = Sequencer(
                EmbeddedOrder(
                    store,
                    edge,
                    CommitListener(tiles, publisher, measured),
                    file.limits.recalled_records,
                ),
                TokenFramer(file.origin, config.signers[0]),
                measured,
                file.limits.sequencer,
                doubts.cleared,
            )
            publisher.start(loaded.head, signed, loaded.published, lambda: sequencer.is_busy)
            index = _index(config, lambda: published_size(publisher.published), metrics)
            budgets = Budgets(file.limits.rates, config.rates, file.limits.failures_per_second)
            access = AccessControl(config.admission)
            api = build(access, budgets, sequencer, publisher, tiles, metrics, index)

            async def apply(changed: LogConfig) -> None:
                await witnesses.replace(changed, publisher.use)
                budgets.replace(changed.rates)

            admin = Admin(
                config,
                access,
                lambda: {
                    "stalled": publisher.is_stalled,
                    "database": _how_made(made),
                    **state_of(publisher, None if index is None else index[0]),
                },
                metrics,
                apply,
            )
            async with AsyncExitStack() as closing:
                if index is not None:
                    closing.push_async_callback(index[1].close)
                async with asyncio.TaskGroup() as tasks:
                    background = [
                        tasks.create_task(sequencer.run(), name="sequencer"),
                        tasks.create_task(publisher.run(), name="publisher"),
                    ]
                    if index is not None:
                        background.append(tasks.create_task(index[0].run(), name="index"))
                    async with (
                        serving_unix(admin.app(), file.admin),
                        serving(api, file.listen, file.limits, tls) as url,
                    ):
                        event(
                            _LOGGER,
                            logging.INFO,
                            "log is ready",
                            origin=file.origin,
                            url=url,
                            size=loaded.head.size,
                            gateways=len(config.admission.gateways),
                            witnesses=len(clients),
                        )
                        spare_collections()
                        stop = stop_requested()
                        ready(url)
                        which = await stop
                        event(_LOGGER, logging.INFO, "stopping", signal=which.name)
                    for task in background:
                        task.cancel()
    finally:
        await store.close()


def _how_made(made: Made | None) -> dict[str, str | None]:
    if made is None:
        return {"made": None, "by": None}
    when = datetime.fromtimestamp(made.time, UTC).isoformat(timespec="seconds")
    return {"made": when, "by": made.command}


def _index(
    config: LogConfig, published: Callable[[], int], metrics: Metrics
) -> tuple[IndexProcess, IndexReads] | None:
    file, path, database = config.file, config.file.index_database, config.database
    if path is None:
        return None
    source = ("--database", str(database))
    files = IndexFiles(source, path, file.log_level, file.log_format)
    return (
        IndexProcess(files, published, metrics),
        IndexReads(file.origin, path, lambda: LogSnapshot(database)),
    )
