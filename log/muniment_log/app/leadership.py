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
from typing import TYPE_CHECKING, Final

import msgspec

from muniment.local.logs import event
from muniment.tlog.cosignature import verifier_for
from muniment_log.cluster.integrator import IntegratedHeads, Integrator
from muniment_log.cluster.keys import check_keys
from muniment_log.cluster.lease import Lease, LeaseLostError
from muniment_log.cluster.objects import SwapLostError
from muniment_log.cluster.takeover import BucketTiles, rebuild
from muniment_log.cluster.treestore import TreeStore
from muniment_log.cluster.view import IntegratorStatus
from muniment_log.core.heads import HeadSigner
from muniment_log.errors import EngineRefusedError, UnavailableError
from muniment_log.inforce import Witnesses
from muniment_log.publish.commits import CommitListener
from muniment_log.publish.publisher import Publisher
from muniment_log.publish.rollback import EMPTY, Doubts, PastCheck, check_note, check_witnesses
from muniment_log.storage.embedded import EmbeddedTiles

if TYPE_CHECKING:
    from collections.abc import Callable

    from muniment_log.cluster.database import Database
    from muniment_log.cluster.objects import ObjectStore
    from muniment_log.config import LogConfig
    from muniment_log.metrics import LogMetrics

_LOGGER: Final = logging.getLogger(__name__)

TRIES_IN_LEASE: Final = 5
"""How often somebody who waits for the lease looks, in the time of a lease."""

PAUSE_SECONDS: Final = 0.5
"""Time after a term that ended by itself, before the next look."""

_PASSING: Final = (LeaseLostError, SwapLostError, UnavailableError, EngineRefusedError)


class Leadership:
    """One process's part in integrating; `run` is its one task."""

    def __init__(
        self,
        config: LogConfig,
        lease_seconds: float,
        database: Database,
        objects: ObjectStore,
        metrics: LogMetrics,
        clock: Callable[[], int],
    ) -> None:
        """Takes what a term is made of; `clock` gives Unix seconds."""
        self._config = config
        self._lease_seconds = lease_seconds
        self._database = database
        self._objects = objects
        self._metrics = metrics
        self._clock = clock
        self._integrator: Integrator | None = None
        self._publisher: Publisher | None = None
        self._witnesses: Witnesses | None = None
        self._holder: str | None = None

    @property
    def holder(self) -> str | None:
        """What the lease calls this process while it holds it: machine, process, term."""
        return self._holder

    @property
    def publisher(self) -> Publisher | None:
        """The publisher while this process integrates; None while it stands by."""
        return self._publisher

    async def use(self, config: LogConfig) -> None:
        """Takes another policy and other connections, now and for terms to come.

        Raises:
            InputError: a file of `[outgoing]` cannot be used; nothing has changed then.
        """
        if self._witnesses is not None and self._publisher is not None:
            await self._witnesses.replace(config, self._publisher.use)
        else:
            config.file.outgoing.access.ssl()
        self._config = config

    def wake(self) -> None:
        """Something was ordered in this process."""
        if self._integrator is not None:
            self._integrator.wake()

    async def run(self) -> None:
        """Integrates whenever it holds the lease, until cancelled.

        Raises:
            WrongIdentityError: this process has a key that is not the log's.
            RolledBackError: the database, the bucket and the witnesses contradict each other.
            StorageError: what is stored is damaged.
        """
        while True:
            holder = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(8)}"
            lease = None
            try:
                lease = await Lease.acquire(self._database, holder, self._lease_seconds)
                if lease is not None:
                    self._holder = holder
                    event(_LOGGER, logging.INFO, "integrating", epoch=lease.epoch)
                    await self._lead(lease)
            except* _PASSING as group:
                # With something worse beside it, that comes out of here in a group of its own.
                for error in group.exceptions:
                    event(_LOGGER, logging.WARNING, "integrating no more", error=_text(error))
            finally:
                self._integrator = self._publisher = self._holder = self._witnesses = None
                if lease is not None:
                    await lease.release()
            pause = self._lease_seconds / TRIES_IN_LEASE if lease is None else PAUSE_SECONDS
            await asyncio.sleep(pause)

    async def _lead(self, lease: Lease) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(lease.keep(self._status), name="lease")
            tasks.create_task(self._work(lease), name="work")

    async def _work(self, lease: Lease) -> None:
        file = self._config.file
        vkeys = [str(signer.vkey) for signer in self._config.signers]
        await check_keys(self._database, file.origin, vkeys)
        store = TreeStore(self._database, lease.epoch)
        stored = await store.load()
        bucket = BucketTiles(self._objects, store)
        edge = await rebuild(stored, bucket)
        tiles = EmbeddedTiles(bucket, edge, stored.published)
        tiles.damaged = self._metrics.damaged_tile
        for note in (stored.signed, stored.published):
            if note is not None:
                await check_note(note, file.origin, tiles, stored.head)
        keys = [verifier_for(signer.vkey) for signer in self._config.signers]
        await bucket.check_published(stored)
        await bucket.reconcile(file.origin, keys, stored, tiles)
        config = self._config
        async with Witnesses(config) as witnesses:
            policy, clients = witnesses.policy, witnesses.clients
            silent = await check_witnesses(
                clients, file.origin, keys, tiles, stored.head, file.limits.start_seconds
            )
            doubts = Doubts(
                PastCheck(
                    file.origin, keys, tiles, lambda: publisher.integrated, store.check_epoch
                ),
                policy,
                clients,
                silent,
                file.limits.start_seconds,
                unproven="" if stored.head.size else EMPTY,
            )
            heads = IntegratedHeads(store, self._objects, tiles)
            signer = HeadSigner(file.origin, self._config.signers, self._clock, stored.signed)
            signed = stored.signed
            if signed is not None and signer.last == stored.head and not signer.has_signed(signed):
                # A key is new: an idle log shows its signature at once, too.
                signed = await heads.put_signed(lambda: signer.sign(stored.head))
            publisher = Publisher(
                signer,
                heads,
                tiles,
                policy,
                clients,
                self._metrics,
                file.limits.publisher,
                doubts,
            )
            listener = CommitListener(tiles, publisher, self._metrics)
            integrator = Integrator(store, self._objects, heads, edge, listener, self._metrics)
            publisher.start(stored.head, signed, stored.published, lambda: integrator.is_busy)
            self._metrics.integrated(stored.head.size)
            self._integrator, self._publisher = integrator, publisher
            self._witnesses = witnesses
            if self._config is not config:  # reloaded meanwhile
                await witnesses.replace(self._config, publisher.use)
            event(
                _LOGGER, logging.INFO, "took over", epoch=lease.epoch, size=stored.head.size,
                witnesses=len(clients),
            )  # fmt: skip
            async with asyncio.TaskGroup() as inner:
                inner.create_task(integrator.run(), name="integrator")
                inner.create_task(publisher.run(), name="publisher")

    def _status(self) -> bytes:
        publisher = self._publisher
        if publisher is None:
            return b"{}"
        status = IntegratorStatus(
            publisher.is_stalled, publisher.witnesses, publisher.doubt, heard=not publisher.hold
        )
        return msgspec.json.encode(status)


def _text(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error)
