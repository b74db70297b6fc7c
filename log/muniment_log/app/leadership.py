"""An integrator's life: wait for the lease, take over, work, and start again.

What is only in the way (the lease was lost, the database or the object store cannot be reached, or
refuses) ends a term: everything in memory is dropped, and the next term learns what is true. What
contradicts (a history that went back, a tile that is not the one it must be) ends the process.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from muniment.local.logs import event
from muniment.local.taskgroup import TaskGroup
from muniment.tlog.tiles import MIRRORED
from muniment_log.app.addendakeeping import AddendaKeeping
from muniment_log.app.openlog import open_log
from muniment_log.app.storage import LogStorage
from muniment_log.cluster.cosigned import CosignedObject
from muniment_log.cluster.integrator import CommitActivity, IntegratedHeads, Integrator
from muniment_log.cluster.keys import check_keys
from muniment_log.cluster.lease import Lease, LeaseLostError
from muniment_log.cluster.objects import SwapLostError
from muniment_log.cluster.partials import PartialTiles
from muniment_log.cluster.takeover import BucketTiles, rebuild
from muniment_log.cluster.treestore import TreeStore
from muniment_log.cluster.view import IntegratorStatus
from muniment_log.errors import (
    EngineRefusedError,
    LogError,
    RolledBackError,
    StorageError,
    UnavailableError,
)
from muniment_log.inforce import Witnesses
from muniment_log.publish.keeping import CosignedKeepers
from muniment_service.http import Problem, Request, Response

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from muniment.tlog.note import Verifier
    from muniment_log.cluster.database import Database
    from muniment_log.cluster.objects import ObjectStore
    from muniment_log.cluster.treestore import StoredTree
    from muniment_log.config import LogConfig
    from muniment_log.core.erasing import Eraser
    from muniment_log.core.integrate import RightEdge
    from muniment_log.core.ports import TileSource
    from muniment_log.core.sequencer import Sequencer
    from muniment_log.metrics import LogMetrics
    from muniment_log.publish.publisher import Publisher
    from muniment_log.storage.embedded import EmbeddedTiles

_LOGGER: Final = logging.getLogger(__name__)

TRIES_IN_LEASE: Final = 5
"""How often somebody who waits for the lease looks, in the time of a lease."""

PAUSE_SECONDS: Final = 0.5
"""Time after a term that ended by itself, before the next look."""

_PASSING: Final = (LeaseLostError, SwapLostError, UnavailableError, EngineRefusedError)


class ClusterStorage(LogStorage[IntegratedHeads]):
    """PostgreSQL and a bucket as the storage that a log is opened from."""

    def __init__(
        self,
        *,
        origin: str,
        store: TreeStore,
        objects: ObjectStore,
        bucket: BucketTiles,
        stored: StoredTree,
        edge: RightEdge,
    ) -> None:
        super().__init__(stored, edge, bucket)
        self._tree = stored
        self._bucket = bucket
        self._origin = origin
        self._store = store
        self._objects = objects

    def heads(self, tiles: EmbeddedTiles) -> IntegratedHeads:
        """Stores a head's partial tiles in the bucket, then its checkpoint in the database."""
        return IntegratedHeads(self._store, self._objects, tiles)

    async def compare(self, keys: Sequence[Verifier], tiles: TileSource) -> None:
        """Compares the database with the bucket, and brings the bucket's checkpoint up to date."""
        await self._bucket.check_published(self._tree)
        await self._bucket.reconcile(self._origin, keys, self._tree, tiles)

    async def still_leads(self) -> None:
        """Checks that the lease has not passed to another process."""
        await self._store.check_epoch()


class _Term(NamedTuple):
    """What works while this process holds the lease."""

    integrator: Integrator
    publisher: Publisher
    witnesses: Witnesses
    addenda: AddendaKeeping


@dataclass(kw_only=True, eq=False)
class Leadership:
    """One process's part in integrating; `run` is its one task."""

    config: LogConfig
    lease_seconds: float
    database: Database
    objects: ObjectStore
    sequencer: Sequencer
    metrics: LogMetrics
    clock: Callable[[], int]
    _term: _Term | None = field(default=None, init=False)
    _holder: str | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        # Who does not lead shows zeros.
        self.metrics.watch_addenda(
            lambda: (0, 0, 0, 0) if self.eraser is None else self.eraser.counts
        )

    @property
    def holder(self) -> str | None:
        """What the lease calls this process while it holds it: machine, process, term."""
        return self._holder

    @property
    def publisher(self) -> Publisher | None:
        """The publisher while this process integrates; None while it stands by."""
        return None if self._term is None else self._term.publisher

    @property
    def eraser(self) -> Eraser | None:
        """Erases addenda while this process integrates."""
        return None if self._term is None else self._term.addenda.eraser

    async def erase(self, request: Request) -> Response:
        """Answers a request to erase addenda; only who leads can.

        Raises Problem 503 while it does not, and what the request deserves.
        """
        if self._term is None:
            raise Problem(
                503, "not-leading", "this process does not integrate; ask the one that does"
            )
        return await self._term.addenda.erasing.erase(request)

    async def use(self, config: LogConfig) -> None:
        """Takes another policy and other connections, now and for terms to come.

        Raises InputError if a file of `[outgoing]` cannot be used; nothing has changed then.
        """
        if self._term is not None:
            await self._term.witnesses.replace(config, self._term.publisher.use)
            self._term.addenda.eraser.use(config.retention)
        else:
            config.file.outgoing.access.ssl()
        self.config = config

    def wake(self) -> None:
        """Something was ordered in this process."""
        if self._term is not None:
            self._term.integrator.wake()

    async def run(self) -> None:
        """Integrates whenever it holds the lease, until cancelled.

        Raises:
            WrongIdentityError: this process has a key that is not the log's.
            RolledBackError: the database, the bucket and the witnesses contradict each other.
            StorageError: what is stored is damaged.
        """
        holder = _name_of_term()
        while True:
            lease = None
            try:
                lease = await Lease.acquire(self.database, holder, self.lease_seconds)
            except _PASSING as error:
                # By the same name it is had again, if it was given and only the answer was lost.
                event(_LOGGER, logging.WARNING, "cannot take the lease", error=str(error))
            if lease is None:
                await asyncio.sleep(self.lease_seconds / TRIES_IN_LEASE)
                continue
            self._holder, holder = holder, _name_of_term()
            event(_LOGGER, logging.INFO, "took the lease", epoch=lease.epoch)
            try:
                await self._lead(lease)
            except* _PASSING as group:
                # With something worse beside it, that comes out of here in a group of its own.
                for one in group.exceptions:
                    event(_LOGGER, logging.WARNING, "stopped integrating", error=_text(one))
            finally:
                self._term = self._holder = None
                await lease.release()
            await asyncio.sleep(PAUSE_SECONDS)

    async def _lead(self, lease: Lease) -> None:
        async with TaskGroup() as tasks:
            tasks.create_task(lease.keep(self._status, self._size), name="lease")
            tasks.create_task(self._work(lease), name="work")

    async def _work(self, lease: Lease) -> None:
        await check_keys(self.database, self.config.file.origin, self.config.vkeys)
        store = TreeStore(self.database, lease.epoch)
        try:
            await self._integrate(lease, store)
        except (LogError, ExceptionGroup) as error:
            # What contradicts may be what another integrator has done since it took over: witnesses
            # know more, entries are in full bundles. If so, this term has nothing to say of it.
            # No `except*`: with other errors beside, a cancellation here would end in a group.
            if _contradicts(error):
                await store.check_epoch()
            raise

    async def _integrate(self, lease: Lease, store: TreeStore) -> None:
        file, metrics = self.config.file, self.metrics
        stored = await store.load()
        bucket = BucketTiles(self.objects, store)
        storage = ClusterStorage(
            origin=file.origin,
            store=store,
            objects=self.objects,
            bucket=bucket,
            stored=stored,
            edge=await rebuild(stored, bucket),
        )
        activity = CommitActivity()
        config = self.config
        async with Witnesses(config) as witnesses:
            log = await open_log(
                config,
                storage,
                witnesses,
                metrics=metrics,
                is_committing=lambda: activity.is_busy,
                now=self.clock,
                keepers=CosignedKeepers(
                    CosignedObject(self.objects), CosignedObject(self.objects, MIRRORED)
                ),
            )
            integrator = Integrator(
                store=store,
                objects=self.objects,
                heads=log.heads,
                edge=storage.edge,
                listener=log.listener,
                activity=activity,
                metrics=metrics,
            )
            addenda = AddendaKeeping(
                self.config,
                database=self.database,
                objects=self.objects,
                sequencer=self.sequencer,
                tiles=log.tiles,
                hold_term=store.hold_epoch,
                clock=self.clock,
            )
            partials = PartialTiles(self.objects, log.tiles, self.clock)
            self._term = _Term(integrator, log.publisher, witnesses, addenda)
            if self.config is not config:  # reloaded meanwhile
                await witnesses.replace(self.config, log.publisher.use)
            event(
                _LOGGER, logging.INFO, "took over", epoch=lease.epoch, size=stored.head.size,
                witnesses=len(witnesses.asked.witnesses),
            )  # fmt: skip
            async with TaskGroup() as inner:
                inner.create_task(integrator.run(), name="integrator")
                inner.create_task(log.publisher.run(), name="publisher")
                inner.create_task(addenda.run(), name="addenda")
                inner.create_task(partials.run(), name="partial tiles")

    def _size(self) -> int:
        return 0 if self._term is None else self._term.integrator.head.size

    def _status(self) -> bytes:
        publisher = self.publisher
        if publisher is None:
            return b"{}"
        status = IntegratorStatus(
            publisher.is_stalled,
            publisher.witnesses,
            publisher.doubt,
            heard=not publisher.doubts.hold,
        )
        return msgspec.json.encode(status)


def _name_of_term() -> str:
    return f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(8)}"


def _contradicts(error: LogError | ExceptionGroup) -> bool:
    """Whether something stored contradicts the rest, and nothing beside it is a fault of ours."""
    group = error if isinstance(error, ExceptionGroup) else ExceptionGroup("", [error])
    _, ours = group.split(LogError)
    return ours is None and group.subgroup((RolledBackError, StorageError)) is not None


def _text(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error)
