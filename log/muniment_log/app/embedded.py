"""Puts a log together: the only place that builds its objects. One task group is the service.

When a background task dies the process ends: a sequencer that cannot commit must not answer, and a
restart learns from the disk what is true.
"""

from __future__ import annotations

import logging
import sys
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from muniment.local.logs import event
from muniment_log.app.openlog import open_log
from muniment_log.app.policyturn import turning
from muniment_log.app.serving import BackgroundTask, serve_beside
from muniment_log.app.storage import EmbeddedStorage
from muniment_log.core.budgets import Budgets
from muniment_log.core.erasable import Mark
from muniment_log.core.erasing import Eraser
from muniment_log.core.orders import Orders
from muniment_log.core.sequencer import Sequencer
from muniment_log.core.tokens import TokenFramer, token_key
from muniment_log.http.access import AccessControl
from muniment_log.http.admin import Admin
from muniment_log.http.api import build, state_of
from muniment_log.http.erasing import Erasing
from muniment_log.index.supervisor import IndexFiles, IndexProcess, IndexReads
from muniment_log.inforce import Witnesses
from muniment_log.metrics import LogMetrics
from muniment_log.publish.keeping import CosignedKeepers
from muniment_log.publish.published import published_size
from muniment_log.storage.addenda import WHAT_TO_DO, AddendaStore, find_lost
from muniment_log.storage.cosigned import CosignedFile
from muniment_log.storage.embedded import leaves_from
from muniment_log.storage.erasing import ErasableAddenda
from muniment_log.storage.order import EmbeddedOrder
from muniment_log.storage.snapshot import LogSnapshot
from muniment_log.storage.sqlite import SQLiteStore
from muniment_service.metrics import Metrics
from muniment_service.process import allow_connections, unix_seconds
from muniment_service.tls import server_context

if TYPE_CHECKING:
    from collections.abc import Callable

    from muniment_log.config import LogConfig
    from muniment_log.storage.schema import Made
    from muniment_log.workers.pool import WorkerPool

_LOGGER = logging.getLogger(__name__)

SWITCH_SECONDS: Final = 0.0005
"""How soon the writer's thread gets the interpreter lock back from a busy event loop. With the
default of 5 ms every SQL statement of a commit may wait that long."""


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
        store = await SQLiteStore.open(config.database)
        closing.push_async_callback(store.close)
        await store.claim(file.origin, config.vkeys)
        witnesses = await closing.enter_async_context(Witnesses(config))
        storage = EmbeddedStorage(store, await store.load(), is_copy=await store.is_copy())
        addenda = AddendaStore(
            config.addenda,
            file.origin,
            size=lambda: log.tiles.edge.head.size,
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
        swept = await addenda.sweep(lambda start: leaves_from(log.tiles, start))
        if swept:
            event(_LOGGER, logging.WARNING, "removed addenda that no record names", addenda=swept)
        publisher = log.publisher
        sequencer = Sequencer(
            order=EmbeddedOrder(store, storage.edge, log.listener, file.limits.recalled_records),
            queue=queue,
            metrics=measured,
            limits=file.limits.sequencer,
            cleared=log.doubts.cleared,
        )
        own = token_key(file.origin)

        async def logged() -> Mark:
            return Mark((await sequencer.stream(own)).next, log.tiles.edge.head.size)

        eraser = Eraser(
            origin=file.origin,
            addenda=ErasableAddenda(addenda),
            submit=sequencer.submit_records,
            logged=logged,
            retention=config.retention,
            now_ms=lambda: unix_seconds() * 1000,
            new_id=lambda: str(uuid4()),
        )
        again = await eraser.catch_up(lambda start: leaves_from(log.tiles, start))
        if again:
            event(_LOGGER, logging.WARNING, "an older copy of the addenda", erased_again=again)
        measured.watch_addenda(lambda: eraser.totals, lambda: eraser.pending)
        tasks = [
            BackgroundTask("addenda", addenda.run),
            BackgroundTask("erasures", eraser.run),
            BackgroundTask("sequencer", sequencer.run),
            BackgroundTask("publisher", publisher.run),
        ]
        index = _index(config, lambda: published_size(publisher.published), metrics)
        if index is not None:
            closing.push_async_callback(index[1].close)
            tasks.append(BackgroundTask("index", index[0].run, waits=True))
        index_log = None
        if file.complete.enabled:
            from muniment_log.app.indexlog import make_index_log  # noqa: PLC0415  # and the map

            index_log = make_index_log(config, publisher, metrics, unix_seconds)
            tasks.append(BackgroundTask("index log", index_log.run))
        budgets = Budgets(file.limits.rates, config.rates, file.limits.failures_per_second)
        access = AccessControl(config.admission)

        async def apply(changed: LogConfig) -> None:
            await witnesses.replace(changed, publisher.use)
            if index_log is not None:
                await index_log.reload(changed)
            budgets.replace(changed.rates)
            eraser.use(changed.retention)
            if pool is not None:
                await pool.reload(changed)

        async def cosigned() -> bytes | None:
            kept = publisher.rated.kept
            return None if kept is None else kept.encode()

        pool: WorkerPool | None = None
        if file.worker_count > 1:
            # What only several processes need costs the start of one nothing.
            from muniment_log.workers.desk import Ports  # noqa: PLC0415
            from muniment_log.workers.pool import WorkerPool  # noqa: PLC0415

            ports = Ports(
                orders=Orders(sequencer, addenda),
                at_once=sequencer.submit_at_once,
                publisher=publisher,
                tiles=log.tiles,
                reached=publisher.reached,
                damaged=measured.damaged_tile,
                pruned=log.tiles.min_index,
            )
            pool = WorkerPool(config, ports, metrics)
            metrics.gather = pool.render

        admin = Admin(
            config=config,
            access=access,
            state=lambda: {
                "stalled": publisher.is_stalled,
                "database": _how_made(made),
                "addenda": {**eraser.describe(), **({} if lost is None else {"lost": lost.hex()})},
                **state_of(publisher, None if index is None else index[0], index_log),
                **({} if pool is None else {"workers": pool.pids}),
            },
            metrics=metrics,
            apply=apply,
            clock=unix_seconds,
            erase=Erasing(eraser, log.tiles, lambda: log.tiles.edge.head.size).erase,
        )
        tasks.append(turning(admin))
        api = build(
            access=access,
            budgets=budgets,
            sequencer=sequencer,
            publisher=publisher,
            tiles=log.tiles,
            addenda=addenda,
            metrics=metrics,
            index=index,
            index_log=index_log,
            cosigned=cosigned,
            mirrored=publisher.mirrors,
            min_index=log.tiles.min_index,
        )
        await serve_beside(
            file,
            api,
            admin.app(),
            tasks,
            tls=tls,
            public=None if pool is None else pool.serving(api),
            fields={
                "size": storage.stored.head.size,
                "gateways": len(config.admission.gateways),
                "witnesses": len(witnesses.asked.witnesses),
            },
        )


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
