"""A worker, ``python -m muniment_log.app.worker CHANNEL``: it takes requests for a log.

`WorkerPool` starts it. It has ports whose other side is another process, and reads full tiles from
the log's file itself. It has none of the log's keys. It ends when it is told to, or when the other
process does.
"""

from __future__ import annotations

import argparse
import logging
import signal
import socket
import sys
from contextlib import AsyncExitStack
from math import ceil, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

from msgspec import structs

from muniment.local.logs import LogFormat, LogLevel, configure, event
from muniment.records.batchbody import MAX_ADDENDA_BYTES
from muniment.records.manifest import MAX_BATCH_BYTES
from muniment.tlog.encoding import MunimentError
from muniment_log.config import admission_of, rates_of
from muniment_log.http.access import AccessControl
from muniment_log.workers.channel import open_channel
from muniment_log.workers.front import Front
from muniment_log.workers.metrics import families
from muniment_log.workers.remote import RemoteHead, RemoteOrders, SharedBudgets, WorkerTiles
from muniment_log.workers.wire import Setup, unpack_file
from muniment_service.metrics import Metrics
from muniment_service.process import allow_connections, freeze_startup_objects, run
from muniment_service.readers import Readers
from muniment_service.server import serving
from muniment_service.tls import server_context

if TYPE_CHECKING:
    from collections.abc import Callable

    from muniment_log.workers.channel import Channel
    from muniment_service.limits import Limits

READERS: Final = 2
"""Connections that read tiles."""

LARGEST: Final = MAX_BATCH_BYTES + MAX_ADDENDA_BYTES
"""Bytes of the largest request."""

_LOGGER: Final = logging.getLogger(__name__)


class Worker:
    """What a worker is made of, from its first word with the other process on."""

    def __init__(self) -> None:
        self._metrics = Metrics("muniment_log")
        self._stack = AsyncExitStack()
        self._path = Path()
        self._notices: dict[str, Callable[[Any], object]] = {}
        # These are there before the worker says that it listens, and nobody uses them before.
        self._access: AccessControl
        self._budgets: SharedBudgets
        self._head: RemoteHead

    async def run(self, connected: socket.socket) -> int:
        """Serves what it is told to until it is told to stop, or the other process has ended.

        Returns the exit code.
        """
        channel = await open_channel(
            connected,
            {"reload": self._reload, "metrics": self._measured, "stop": self._stop},
            self._notices,
        )
        try:
            await self._begin(channel)
            await channel.ended.wait()
            self._head.stop()
        except (MunimentError, OSError) as error:
            event(_LOGGER, logging.ERROR, "a worker cannot serve", error=str(error))
            return 1
        finally:
            await self._stack.aclose()
            await channel.close()
        return 0

    async def _begin(self, channel: Channel) -> None:
        setup = await channel.ask_for(Setup, "setup")
        file, self._path = unpack_file(setup.file), Path(setup.path)
        if file.database is None:
            raise AssertionError("workers are of a log in one file")
        limits = _share(file.limits, setup.workers)
        allow_connections(limits.connections)
        readers = await Readers.open(file.database, READERS)
        self._stack.push_async_callback(readers.close)
        tiles = WorkerTiles(channel, readers, setup.pruned)
        self._head = RemoteHead(channel, tiles)
        self._access = AccessControl(admission_of(self._path, file))
        self._budgets = SharedBudgets(
            channel,
            file.limits.rates,
            rates_of(self._path, file),
            file.limits.failures_per_second,
        )
        self._notices |= {
            "beat": lambda _: channel.tell("beat"),
            "announced": self._head.announced,
            "served": self._head.served,
            "charged": self._budgets.others_charged,
            "failed": self._budgets.others_failed,
        }
        front = Front(
            channel=channel,
            access=self._access,
            budgets=self._budgets,
            orders=RemoteOrders(channel),
            head=self._head,
            tiles=tiles,
            metrics=self._metrics,
        )
        address, tls = file.listen.at(setup.port), server_context(file.tls)
        await self._stack.enter_async_context(
            serving(front, address, limits, tls, shares_port=True)
        )
        freeze_startup_objects()
        try:
            await self._reload(await channel.ask("listening"))
        finally:
            front.begin()  # who has come already is told, too, that the other process has ended

    async def _reload(self, value: Any) -> None:
        file = unpack_file(value)
        self._access.admission = admission_of(self._path, file)
        self._budgets.replace(rates_of(self._path, file))

    async def _measured(self, _: Any) -> Any:
        return families(self._metrics.registry)

    async def _stop(self, _: Any) -> None:
        await self._stack.aclose()


def _share(limits: Limits, workers: int) -> Limits:
    """What one of several workers takes at most, of what all may take.

    The system deals out connections by chance: each has room for four standard deviations more. And
    each takes the largest request that one process would take.
    """
    connections = limits.connections / workers
    return structs.replace(
        limits,
        connections=min(limits.connections, ceil(connections + 4 * sqrt(connections))),
        inflight_bytes=min(limits.inflight_bytes, max(LARGEST, limits.inflight_bytes // workers)),
    )


def main() -> int:
    """Runs the process."""
    parser = argparse.ArgumentParser(prog="muniment_log.app.worker")
    parser.add_argument("channel", type=int)
    parser.add_argument("--log-level", choices=get_args(LogLevel), default="info")
    parser.add_argument("--log-format", choices=get_args(LogFormat), default="text")
    options = parser.parse_args()
    # Signals are for the process that started this one, which has the requests finish first.
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    configure(options.log_level, options.log_format)
    with socket.socket(fileno=options.channel) as connected:
        return run(Worker().run(connected))


if __name__ == "__main__":
    sys.exit(main())
