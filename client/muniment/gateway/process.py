"""A gateway for a whole program: each process opens it by itself, when it first needs it.

    gateway = ProcessGateway(url, signer, policy=policy, decide=engine, spools="spools")

    async with gateway.call("send", arguments, agent="planner") as run: ...   # or: with

It may be made before the program forks, and used in every process, thread and event loop. What it
opens works on a loop of its own thread, with a stream and a spool of its own: see ``spoolfolder``.
When the log holds something else on that stream than was left there, it is opened anew.
"""

import asyncio
import atexit
import contextlib
import os
import threading
import weakref
from concurrent.futures import Future
from pathlib import Path
from typing import Final, Self, Unpack

from muniment.errors import GatewayClosed, MunimentError, Unreachable
from muniment.gateway import blocking
from muniment.gateway.breaker import Breaker
from muniment.gateway.calls import GatewaySource
from muniment.gateway.gateway import Gateway
from muniment.gateway.once import OnceStore
from muniment.gateway.spoolfolder import MAX_SPOOLS, SpoolFolder
from muniment.local.sqliteerrors import InUseError
from muniment.tlog.note import Signer

ONCE_FOLDER: Final = "once"
"""The folder, within that of the spools, for permits of calls that have a key."""

EXIT_TIMEOUT: Final = 2.0
"""Seconds that the end of a process waits for what is being sent; the spool keeps the rest."""


class ProcessOptions(blocking.SharedOptions, total=False):
    """Options of ``muniment.Gateway``, by the same names; ``withhold`` is read more than once."""

    withhold: list[str] | tuple[str, ...] | None


class ProcessGateway(GatewaySource):
    """The gateway of whichever process uses it; see the module.

    Args:
        log_url: The log's base URL.
        signer: Signs the manifests; its key name is the records' producer.
        spools: A folder for the spools of all processes of this machine that use this key.
        stream: What the labels of its streams begin with.
        options: As ``muniment.Gateway`` takes them.

    Raises:
        ValueError: If an argument is out of range, or the URL is not one.
        FormatError: If streams cannot be named so.
    """

    def __init__(
        self,
        log_url: str,
        signer: Signer,
        *,
        spools: Path | str,
        stream: str = "process",
        **options: Unpack[ProcessOptions],
    ) -> None:
        blocking.Gateway(log_url, signer, **options)  # checks them; it is never opened
        self.decide = options.get("decide")
        self._url, self._signer, self._options = log_url, signer, options
        self._folder = SpoolFolder(Path(spools), stream)
        self._begin_anew()
        _GATEWAYS.add(self)

    def _begin_anew(self) -> None:
        """Begins in a process, which has nothing of its parent's but the arguments."""
        self._lock = threading.Lock()
        self._gateway: blocking.Gateway | None = None
        self._opening: Future[Gateway] | None = None
        self._breaker = Breaker()
        self._spoilt: set[Path] = set()

    def __enter__(self) -> Self:
        """Opens nothing: each process does when it needs to."""
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        """As ``__enter__``."""
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)

    def close(self, timeout: float | None = None) -> None:
        """Closes what this process has opened; the next call opens it again.

        See ``muniment.Gateway.close`` for ``timeout``.
        """
        with self._lock:
            gateway, self._gateway = self._gateway, None
        if gateway is not None:
            gateway.close(timeout)

    # Opening

    def find(self) -> "Gateway | Future[Gateway]":
        """The gateway of this process; if it is not open, or its streams are not well, opens one.

        Raises Unreachable if that has just failed.
        """
        gateway = self._gateway
        if gateway is not None and gateway.asynchronous.failure is None:
            return gateway.asynchronous
        return self._begin_to_open()

    def _begin_to_open(self) -> "Future[Gateway]":
        with self._lock:
            if self._opening is not None:
                return self._opening
            if (away := self._breaker.refusal()) is not None:
                raise Unreachable(away)
            # In a thread that may be left alone: the log may give no answer for a while.
            opening = self._opening = Future[Gateway]()
            former, self._gateway = self._gateway, None
        opening.set_running_or_notify_cancel()
        work = threading.Thread(
            target=self._open, args=(opening, former), name="muniment-opening", daemon=True
        )
        work.start()
        return opening

    def _open(self, opening: "Future[Gateway]", former: blocking.Gateway | None) -> None:
        try:
            if former is not None:
                self._give_up(former)
            gateway = self._open_free()
        except BaseException as error:  # noqa: BLE001 - who waits gets it
            self._breaker.failed(str(error) or type(error).__name__)
            with self._lock:
                self._opening = None
            opening.set_exception(error)
            return
        self._breaker.answered()
        with self._lock:
            self._gateway, self._opening = gateway, None
        opening.set_result(gateway.asynchronous)

    def _give_up(self, former: blocking.Gateway) -> None:
        """Closes a gateway whose stream is not where it was left."""
        inner = former.asynchronous
        if inner.has_spool and inner.spool.failure is not None:
            self._spoilt.add(inner.spool.path)  # its own stream is not: nobody can mend that here
        with contextlib.suppress(MunimentError):
            former.close(0)

    def _open_free(self) -> blocking.Gateway:
        """Opens a gateway with the first spool that is free."""
        for label, path in self._folder.free():
            if path in self._spoilt:
                continue
            gateway = blocking.Gateway(
                self._url, self._signer, stream=label, spool=path, **self._options
            )
            gateway.asynchronous.once = OnceStore(self._folder.path / ONCE_FOLDER)
            try:
                return gateway.__enter__()
            except InUseError:
                continue  # somebody was faster
        raise GatewayClosed(f"{self._folder.path}: all of {MAX_SPOOLS} spools are in use")


_GATEWAYS: Final[weakref.WeakSet[ProcessGateway]] = weakref.WeakSet()


def _begin_in_fork() -> None:
    for gateway in list(_GATEWAYS):
        gateway._begin_anew()  # noqa: SLF001 - of this module


def _close_at_exit() -> None:
    for gateway in list(_GATEWAYS):
        with contextlib.suppress(MunimentError):
            gateway.close(EXIT_TIMEOUT)


os.register_at_fork(after_in_child=_begin_in_fork)
atexit.register(_close_at_exit)
