"""Puts a log together: the only place that builds its objects. One task group is the service.

When a background task dies the process ends: a sequencer that cannot commit must not answer, and a
restart learns from the disk what is true.
"""

from __future__ import annotations

import logging
import sys
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from muniment.local.logs import event
from muniment_log.app.openlog import open_log
from muniment_log.app.policyturn import turning
from muniment_log.app.serving import BackgroundTask, serve_beside
from muniment_log.app.storage import EmbeddedStorage
from muniment_log.core.budgets import Budgets
from muniment_log.core.erasing import Eraser
from muniment_log.core.orders import Orders
from muniment_log.core.sequencer import Sequencer
from muniment_log.core.tokens import TokenFramer
from muniment_log.http.access import AccessControl
from muniment_log.http.admin import Admin
from muniment_log.http.api import build, state_of
from muniment_log.http.erasing import Erasing
from muniment_log.index.supervisor import make_index
from muniment_log.inforce import Witnesses
from muniment_log.metrics import LogMetrics
from muniment_log.publish.keeping import CosignedKeepers
from muniment_log.publish.published import published_size
from muniment_log.storage.addenda import WHAT_TO_DO, AddendaStore, find_lost
from muniment_log.storage.cosigned import CosignedFile
from muniment_log.storage.erasing import ErasableAddenda
from muniment_log.storage.order import EmbeddedOrder
from muniment_log.storage.snapshot import LogSnapshot
from muniment_log.storage.sqlite import SQLiteStore
from muniment_service.metrics import Metrics
from muniment_service.process import allow_connections, unix_seconds
from muniment_service.tls import server_context

if TYPE_CHECKING:
    from collections.abc import Callable

    from muniment_log.app.openlog import OpenLog
    from muniment_log.config import LogConfig
    from muniment_log.index.supervisor import LogIndex
    from muniment_log.storage.schema import Made
    from muniment_log.workers.pool import WorkerPool

_LOGGER = logging.getLogger(__name__)

SWITCH_SECONDS: Final = 0.0005
"""How soon the writer's thread gets the interpreter lock back from a busy event loop. With the
default of 5 ms every SQL statement of a commit may wait that long."""


class _Open(NamedTuple):
    """A log in one file, open and compared with all that is known of it; nobody is served yet.

    Attributes:
        made: when the file was made, and by which command.
        lost: the digest of an addendum that is missing, see `find_lost`.
    """

    log: OpenLog[SQLiteStore]
    witnesses: Witnesses
    addenda: AddendaStore
    sequencer: Sequencer
    eraser: Eraser
    made: Made | None
    lost: bytes | None


async def serve(config: LogConfig) -> None:
    """Serves until SIGTERM or SIGINT; requests in flight finish first.

    Raises:
        ConfigError: no version of its policy is in force.
        AbsentDatabaseError: there is no database.
        DatabaseError: it is in use, or not this program's.
        WrongIdentityError: it belongs to another log.
        RolledBackError: a witness knows more than it holds, or the file of the addenda is missing.
        StorageError: it is damaged.
        OSError: the address cannot be bound.
        ExceptionGroup: a background task failed.
    """
    config.check_in_force()
    file = config.file
    tls = server_context(file.tls)
    sys.setswitchinterval(SWITCH_SECONDS)
    allow_connections(file.limits.connections)
    metrics = Metrics("muniment_log")
    measured = LogMetrics(metrics)
    async with AsyncExitStack() as closing:
        opened = await _open(config, measured, closing)
        log, publisher = opened.log, opened.log.publisher
        tasks = [
            BackgroundTask("addenda", opened.addenda.run),
            BackgroundTask("erasures", opened.eraser.run),
            BackgroundTask("sequencer", opened.sequencer.run),
            BackgroundTask("publisher", publisher.run),
        ]
        index = _index(config, lambda: published_size(publisher.published), metrics)
        if index is not None:
            closing.push_async_callback(index.reads.close)
            tasks.append(BackgroundTask("index", index.process.run, waits=True))
        index_log = None
        if file.complete.enabled:
            from muniment_log.app.indexlog import make_index_log  # noqa: PLC0415  # and the map

            index_log = make_index_log(config, publisher, metrics, unix_seconds)
            tasks.append(BackgroundTask("index log", index_log.run))
        budgets = Budgets(file.limits.rates, config.rates, file.limits.failures_per_second)
        access = AccessControl(config.admission)
        pool = _pool(config, opened, measured, metrics) if file.worker_count > 1 else None

        async def apply(changed: LogConfig) -> None:
            await opened.witnesses.replace(changed, publisher.use)
            if index_log is not None:
                await index_log.reload(changed)
            budgets.replace(changed.rates)
            opened.eraser.use(changed.retention)
            if pool is not None:
                await pool.reload(changed)

        admin = Admin(
            config=config,
            access=access,
            state=lambda: {
                "stalled": publisher.is_stalled,
                "database": _how_made(opened.made),
                "addenda": {
                    **opened.eraser.describe(),
                    **({} if opened.lost is None else {"lost": opened.lost.hex()}),
                },
                **state_of(publisher, index, index_log),
                **({} if pool is None else {"workers": pool.pids}),
            },
            metrics=metrics,
            apply=apply,
            clock=unix_seconds,
            erase=Erasing(opened.eraser, log.tiles).erase,
        )
        api = build(
            access=access,
            budgets=budgets,
            sequencer=opened.sequencer,
            publisher=publisher,
            tiles=log.tiles,
            addenda=opened.addenda,
            metrics=metrics,
            index=index,
            index_log=index_log,
            cosigned=publisher.rated.newest,
            mirrored=publisher.mirrors,
            min_index=log.tiles.min_index,
        )
        await serve_beside(
            file,
            api,
            admin.app(),
            [*tasks, turning(admin)],
            tls=tls,
            public=None if pool is None else pool.serving(api),
            fields={
                "size": log.tiles.size(),
                "gateways": len(config.admission.gateways),
                "witnesses": len(opened.witnesses.asked.witnesses),
            },
        )


async def _open(config: LogConfig, measured: LogMetrics, closing: AsyncExitStack) -> _Open:
    """Opens a log's files, compares what is in them, and finishes what a crash has left undone."""
    file = config.file
    store = await SQLiteStore.open(config.database)
    closing.push_async_callback(store.close)
    await store.claim(file.origin, config.vkeys)
    witnesses = await closing.enter_async_context(Witnesses(config))
    storage = EmbeddedStorage(store, await store.load(), is_copy=await store.is_copy())
    addenda = AddendaStore(
        config.addenda,
        file.origin,
        size=lambda: log.tiles.size(),  # noqa: PLW0108 - opened below
        waiting_bytes=file.limits.waiting_bytes,
        now_ms=lambda: unix_seconds() * 1000,
        note=store.note_addendum,
    )
    closing.push_async_callback(addenda.close)
    await addenda.open()
    lost = await find_lost(store, addenda)
    measured.watch_lost_addenda(is_lost=lost is not None)
    if lost is not None:
        addenda.keep_note()
        event(
            _LOGGER,
            logging.ERROR,
            "the addenda are an older copy",
            missing=lost.hex(),
            file=str(addenda.path),
            do=WHAT_TO_DO,
        )
    made = await store.made()
    queue = file.limits.sequencer.queue(TokenFramer(file.origin, config.signers[0]))
    log = await open_log(
        config,
        storage,
        witnesses,
        metrics=measured,
        is_committing=lambda: queue.is_busy,
        now=unix_seconds,
        keepers=CosignedKeepers(
            CosignedFile(config.database), CosignedFile(config.database, ".mirrored")
        ),
    )
    swept = await addenda.sweep(log.tiles.leaves)
    if swept:
        event(_LOGGER, logging.WARNING, "removed addenda that no record names", addenda=swept)
    sequencer = Sequencer(
        order=EmbeddedOrder(store, storage.edge, log.listener, file.limits.recalled_records),
        queue=queue,
        metrics=measured,
        limits=file.limits.sequencer,
        cleared=log.doubts.cleared,
    )
    eraser = Eraser(
        origin=file.origin,
        addenda=ErasableAddenda(addenda),
        sequencer=sequencer,
        size=log.tiles.size,
        retention=config.retention,
        now_ms=lambda: unix_seconds() * 1000,
    )
    await eraser.catch_up(log.tiles.leaves)
    measured.watch_addenda(lambda: eraser.counts)
    return _Open(log, witnesses, addenda, sequencer, eraser, made, lost)


def _pool(config: LogConfig, opened: _Open, measured: LogMetrics, metrics: Metrics) -> WorkerPool:
    """The workers of a log that takes requests by several processes."""
    # What only several processes need costs the start of one nothing.
    from muniment_log.workers.desk import Ports  # noqa: PLC0415
    from muniment_log.workers.pool import WorkerPool  # noqa: PLC0415

    log, sequencer = opened.log, opened.sequencer
    ports = Ports(
        orders=Orders(sequencer, opened.addenda),
        at_once=sequencer.submit_at_once,
        publisher=log.publisher,
        tiles=log.tiles,
        reached=log.publisher.reached,
        damaged=measured.damaged_tile,
        pruned=log.tiles.min_index,
    )
    pool = WorkerPool(config, ports, metrics)
    metrics.gather = pool.render
    return pool


def _how_made(made: Made | None) -> dict[str, str | None]:
    if made is None:
        return {"made": None, "by": None}
    when = datetime.fromtimestamp(made.time, UTC).isoformat(timespec="seconds")
    return {"made": when, "by": made.command}


def _index(config: LogConfig, published: Callable[[], int], metrics: Metrics) -> LogIndex | None:
    path, database = config.file.index_database, config.database
    if path is None:
        return None
    source = ("--database", str(database))
    return make_index(config, path, source, lambda: LogSnapshot(database), published, metrics)
