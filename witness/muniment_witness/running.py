"""A witness that serves, and applies a changed configuration without a restart.

The parts and the routes are built anew for the new configuration and replace the old ones as a
whole, so that a reload gives what a start gives. What must go on is shared: the database, the
connections, and the cosigner, the one place where heads move. Metrics begin again, as after a
start.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from msgspec import Struct

from muniment.local.logs import event
from muniment.local.taskgroup import TaskGroup
from muniment.tlog.loglist import ListedLog
from muniment_service.http import Request, Response, json_response
from muniment_service.inforce import InForce
from muniment_service.metrics import Metrics
from muniment_service.routing import App
from muniment_service.servicefile import reread_file
from muniment_witness.config import WitnessConfig, add_listed, bastions_of, watched
from muniment_witness.gossip.net import HttpTransport
from muniment_witness.gossip.watch import Watch
from muniment_witness.http.statusboard import make_status
from muniment_witness.mirror.mirror import Mirror
from muniment_witness.store.database import Past
from muniment_witness.store.listed import ListedLogs

_LOGGER: Final = logging.getLogger(__name__)


RELOADED: Final = frozenset(
    {"log", "list", "about", "bastion", "peer", "outgoing", "key_passphrase_file"}
)
"""The tables and keys of the file that a reload applies; all else takes a restart."""


class Parts(Struct, frozen=True):
    """The parts of a witness that a configuration decides: what works unasked, and what answers."""

    watch: Watch
    routes: App
    mirror: Mirror | None = None

    @property
    def config(self) -> WitnessConfig:
        """The configuration."""
        return self.watch.shared.config


class RunningWitness:
    """The parts of a witness as they are now, and their tasks."""

    def __init__(
        self,
        parts: Parts,
        rebuild: Callable[[WitnessConfig], Parts],
        network: HttpTransport,
        tasks: TaskGroup,
    ) -> None:
        """Takes the parts over; `start` begins.

        `rebuild` makes the parts of another configuration, with the same cosigner and transport. A
        task of the group that fails ends the process.
        """
        self._parts = parts
        self._rebuild = rebuild
        self._network = network
        self._tasks = tasks
        self._reloading = asyncio.Lock()
        self._work: list[asyncio.Task[None]] = []
        self._in_force = InForce(parts.config.path)

    async def start(self) -> None:
        """Asks others what this witness signed, and begins to work."""
        watch = self._parts.watch
        # Before anything can be asked: a database restored from an old copy must not sign.
        await watch.start()
        self._work = [
            self._tasks.create_task(watch.cosigner.run(), name="cosigner"),
            self._tasks.create_task(watch.run(), name="watch"),
        ]

    def stop(self) -> None:
        """Cancels the tasks."""
        for task in self._work:
            task.cancel()

    async def respond(self, request: Request) -> Response:
        """Answers a public request by the configuration in force."""
        return await self._parts.routes.respond(request)

    async def reload(self) -> None:
        """Applies the logs, peers, tokens and CAs that the configuration file names now.

        Raises:
            ConfigError: If the file or one that it names cannot be used, or something else in it
                has changed; nothing has changed then.
            InputError: If a file of `[outgoing]` cannot be used; nothing has changed then.
        """
        async with self._reloading:
            before = self._parts.watch
            config = await asyncio.to_thread(_reread, before.shared.config)
            await self._network.connect_by(config.file.outgoing.access)
            await self._take(config)
            self._in_force.accepted()
        event(_LOGGER, logging.INFO, "reloaded", logs=len(config.logs), peers=len(config.peers))

    @property
    def config(self) -> WitnessConfig:
        """The configuration in force."""
        return self._parts.config

    async def add_listed(self, logs: Sequence[ListedLog]) -> None:
        """Knows further logs, which a list has brought, from now on; durably.

        Raises InputError or FormatError if that cannot be written down; nothing has changed then.
        """
        async with self._reloading:
            now = self._parts.config
            listed = await asyncio.to_thread(ListedLogs(now.file.database).add, logs)
            known, options = dict(now.logs), dict(now.options)
            add_listed(known, options, listed, now.file.gossip.period_seconds, now.signers)
            await self._take(replace(now, logs=known, options=options))

    async def _take(self, config: WitnessConfig) -> None:
        before = self._parts.watch
        if self._parts.mirror is not None:
            await self._parts.mirror.follow(config.mirrored)
        parts = self._rebuild(config)
        watch = parts.watch
        watch.shared.suspensions.lost.update(before.shared.suspensions.lost)
        self._network.use(config.tokens)
        await watch.start()
        _, work = self._work
        work.cancel()
        await asyncio.wait([work])
        watch.cosigner.obey(watch.shared.suspensions)
        self._parts = parts
        self._work[1] = self._tasks.create_task(watch.run(), name="watch")

    def admin(self) -> App:
        """Makes the routes of the administrative socket."""
        app = App(Metrics("muniment_witness_admin"))

        async def status(_: Request) -> Response:
            watch = self._parts.watch
            answer = {
                "configuration": self._in_force.describe(),
                "database": _describe(watch.shared.store.past),
                **await make_status(watch),
            }
            return json_response(answer)

        async def reload(_: Request) -> Response:
            with self._in_force.refusing():
                await self.reload()
            return json_response(
                {
                    "logs": sorted(self._parts.config.logs),
                    "peers": sorted(peer.name for peer in self._parts.config.peers),
                }
            )

        app.route("GET", "/status", status)
        app.route("POST", "/reload", reload)
        return app


def _describe(past: Past) -> Mapping[str, Any]:
    time, command = past.made or (None, None)
    return {"made": time, "by": command, "lost": past.loss, "settled": sorted(past.known)}


def _reread(now: WitnessConfig) -> WitnessConfig:
    file = reread_file(now.path, now.file, now.signers, use="witness", taken=RELOADED)
    logs, options, peers, tokens = watched(now.path, file, now.signers)
    return replace(
        now,
        file=file,
        logs=logs,
        options=options,
        peers=peers,
        tokens=tokens,
        bastions=bastions_of(now.path, file, logs),
    )
