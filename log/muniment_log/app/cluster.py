"""Puts the parts of a cluster together: frontend, integrator, or both.

They share nothing but the database and the object store, also within one process; there, an order
merely wakes the integrator at once.
"""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import structs

from muniment.local.logs import event
from muniment.tlog.mirrors import mirrors_of
from muniment.tlog.tiles import MIRRORED
from muniment_log.app.leadership import Leadership
from muniment_log.app.policyturn import turning
from muniment_log.app.processstatus import ProcessStatus
from muniment_log.app.serving import BackgroundTask, serve_beside
from muniment_log.cluster.addenda import ClusterAddenda
from muniment_log.cluster.addendaobjects import AddendaObjects
from muniment_log.cluster.bucket import check_bucket
from muniment_log.cluster.cosigned import CosignedObject, MirroredView
from muniment_log.cluster.keys import check_keys, claim
from muniment_log.cluster.metrics import ClusterMetrics
from muniment_log.cluster.migrate import check_schema, made_when
from muniment_log.cluster.objects import ObjectStore
from muniment_log.cluster.order import Backlog, PostgresOrder
from muniment_log.cluster.startup import Startup, find_public
from muniment_log.cluster.tiles import ObjectTiles
from muniment_log.cluster.view import PublishedView
from muniment_log.core.budgets import Budgets
from muniment_log.core.sharedsequencer import SharedSequencer
from muniment_log.core.tokens import TokenFramer
from muniment_log.http.access import AccessControl
from muniment_log.http.admin import Admin
from muniment_log.http.adminsockets import socket_of
from muniment_log.http.api import build
from muniment_log.http.problems import ERRORS
from muniment_log.index.bucket import bucket_index
from muniment_log.metrics import LogMetrics
from muniment_service.metrics import Metrics
from muniment_service.process import allow_connections, unix_seconds
from muniment_service.routing import App
from muniment_service.tls import server_context

if TYPE_CHECKING:
    from muniment_log.cluster.database import Database
    from muniment_log.config import LogConfig
    from muniment_service.config import Address

_LOGGER: Final = logging.getLogger(__name__)

REQUESTS_IN_LEASE: Final = 2
"""A request to the object store is given up after half a lease: what cannot be done in time is left
to the next term."""


class _Open(NamedTuple):
    """A cluster's log as this process has opened it; nobody is served yet.

    Attributes:
        arriving: the objects of requests with addenda that are not ordered yet.
        leadership: this process's part in integrating; None in one that is only a frontend.
    """

    database: Database
    objects: ObjectStore
    view: PublishedView
    sequencer: SharedSequencer
    arriving: set[str]
    leadership: Leadership | None
    status: ProcessStatus


async def serve(
    config: LogConfig,
    *,
    is_frontend: bool,
    is_integrator: bool,
    listen: Address | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT; requests in flight finish first.

    A process that is no frontend serves only health and metrics. `listen` goes before the
    configuration's address.

    Raises:
        ConfigError: the log is no cluster, or no version of its policy is in force.
        DatabaseError: the database cannot be reached, or is of another version.
        WrongIdentityError: it belongs to another log.
        StorageError: the object store ignores conditions, or one of the two is damaged.
        OSError: the address cannot be bound.
        ExceptionGroup: a background task failed.
    """
    config.check_in_force()
    file = config.file
    tls = server_context(file.tls)
    allow_connections(file.limits.connections)
    metrics = Metrics("muniment_log")
    measured = LogMetrics(metrics)
    async with AsyncExitStack() as closing:
        opened = await _open(
            config,
            metrics,
            measured,
            closing,
            is_frontend=is_frontend,
            is_integrator=is_integrator,
        )
        view, sequencer, leadership = opened.view, opened.sequencer, opened.leadership
        access = AccessControl(config.admission)
        budgets = Budgets(file.limits.rates, config.rates, file.limits.failures_per_second)
        role = "integrator" if not is_frontend else "serve" if is_integrator else "frontend"

        async def apply(changed: LogConfig) -> None:
            if leadership is not None:
                await leadership.use(changed)
            budgets.replace(changed.rates)

        admin = Admin(
            config=config,
            access=access,
            state=opened.status.status,
            metrics=metrics,
            apply=apply,
            clock=unix_seconds,
            erase=None if leadership is None else leadership.erase,
        )
        tasks = [
            BackgroundTask("view of the cluster", view.run),
            BackgroundTask("sequencer", sequencer.run),
        ]
        tasks.append(turning(admin))
        if leadership is not None:
            # Not before a signal ends the process in good order: it would leave a lease behind.
            tasks.append(BackgroundTask("integration", leadership.run, waits=True))
        if is_frontend:
            objects = opened.objects
            tiles = ObjectTiles(objects, lambda: view.tree, damaged=measured.damaged_tile)
            addenda = ClusterAddenda(
                opened.database,
                AddendaObjects(objects),
                file.limits.waiting_bytes,
                await _refusal(config, objects),
                opened.arriving,
            )
            closing.push_async_callback(addenda.close)
            index = None
            if file.index_database is not None:
                index = bucket_index(
                    config, file.index_database, head=view, tiles=tiles, metrics=metrics
                )
                closing.push_async_callback(index.reads.close)
                tasks.append(BackgroundTask("index", index.process.run))
            api = build(
                access=access,
                budgets=budgets,
                sequencer=sequencer,
                publisher=view,
                tiles=tiles,
                addenda=addenda,
                metrics=metrics,
                index=index,
                cluster=opened.status.cluster,
                cosigned=CosignedObject(objects).load,
                mirrored=MirroredView(
                    CosignedObject(objects, MIRRORED),
                    has_mirrors=config.policy is not None and bool(mirrors_of(config.policy)),
                ),
            )
        else:
            api = App(metrics, ERRORS)
            api.operations(opened.status.integrator)
        admin_path = None if file.admin is None else socket_of(file.admin, role)
        await serve_beside(
            structs.replace(file, listen=listen or file.listen, admin=admin_path),
            api,
            admin.app(),
            tasks,
            tls=tls,
            fields={
                "frontend": is_frontend,
                "integrator": is_integrator,
                "gateways": len(config.admission.gateways),
            },
        )


async def _open(
    config: LogConfig,
    metrics: Metrics,
    measured: LogMetrics,
    closing: AsyncExitStack,
    *,
    is_frontend: bool,
    is_integrator: bool,
) -> _Open:
    """Opens the database and the object store, and compares what is in them."""
    file, cluster = config.file, config.cluster
    startup = Startup(cluster)
    database = await startup.database(cluster.connections)
    closing.push_async_callback(database.close)
    await check_schema(database)
    vkeys = config.vkeys
    await claim(database, file.origin, vkeys)
    await startup.probe(races=is_integrator)
    objects = ObjectStore.open(
        cluster.object_store,
        seconds=cluster.lease_seconds / REQUESTS_IN_LEASE,
        is_locked=cluster.lock_days is not None,
        metrics=metrics,
    )
    closing.push_async_callback(objects.close)
    seen = ClusterMetrics(metrics)
    view = PublishedView(database, measured, seen, lambda: check_keys(database, file.origin, vkeys))
    leadership: Leadership | None = None
    arriving: set[str] = set()
    backlog = Backlog(cluster.backlog_leaves, cluster.backlog_bytes)
    sequencer = SharedSequencer(
        order=PostgresOrder(
            database,
            backlog,
            lambda: None if leadership is None else leadership.wake(),
            file.limits.recalled_records,
            arriving,
        ),
        queue=file.limits.sequencer.queue(TokenFramer(file.origin, config.signers[0])),
        metrics=measured,
        limits=file.limits.sequencer,
        cleared=view.cleared,
    )
    if is_integrator:
        leadership = Leadership(
            config=config,
            lease_seconds=cluster.lease_seconds,
            database=database,
            objects=objects,
            sequencer=sequencer,
            metrics=measured,
            clock=unix_seconds,
        )
    if is_frontend:
        # An integrator compares all of it, and more, whenever it takes over.
        await check_bucket(objects, view, file.origin, config.verifiers)
    await view.look()
    status = ProcessStatus(
        view=view,
        backlog=backlog,
        leadership=leadership,
        signers=config.signers,
        metrics=seen,
        made=await made_when(database),
    )
    return _Open(database, objects, view, sequencer, arriving, leadership, status)


async def _refusal(config: LogConfig, objects: ObjectStore) -> str:
    """Why no addenda are taken; empty if some are."""
    cluster = config.cluster
    if cluster.lock_days is not None:
        return "this log's bucket keeps all that is written, and could not erase it"
    if config.admission.opens_addenda:
        return ""
    key = await find_public(cluster.object_store, objects)
    if key is None:
        return ""
    event(
        _LOGGER,
        logging.WARNING,
        "no addenda are taken: everybody can read them in the bucket",
        readable=f"{objects.name}/{key}",
    )
    return "everybody can read this log's bucket, and in it what records withhold"
