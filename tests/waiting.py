"""Waiting for what no event tells of: a state of another process, or of the way there."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeVar

from aiohttp import web

T = TypeVar("T")

SECONDS: Final = 120.0
"""The longest wait; a loaded machine takes many times what a quiet one does."""

_STEP: Final = 0.02


def eventually(
    is_true: Callable[[], bool],
    what: Callable[[], object] = lambda: "it did not come about",
    *,
    seconds: float = SECONDS,
) -> None:
    """Returns when a condition holds.

    Args:
        is_true: The condition; asked often, so it must be cheap.
        what: What to say when it does not come about.
        seconds: The longest wait.
    """
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, what()
        time.sleep(_STEP)


def eventual(look: Callable[[], T | None]) -> T:
    """What a look finds, once it finds something: a second one may find it gone; see `eventually`.

    Who leads a cluster, say: a busy machine may be late to renew the lease.
    """
    found: list[T] = []

    def has_found() -> bool:
        seen = look()
        if seen is not None:
            found.append(seen)
        return bool(found)

    eventually(has_found)
    return found[0]


async def until(is_true: Callable[[], bool], *, seconds: float = SECONDS) -> None:
    """As `eventually`, while the event loop goes on."""
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "it did not come about"
        await asyncio.sleep(_STEP)


@asynccontextmanager
async def at_work(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Does some work beside the body, and stops it at its end, in whatever way it has ended."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


LONGER: Final = (1.0, 5.0, 25.0)
"""Deadlines, one after the other, of what has to end by its deadline, but not before something else
has come about: on a busy machine, that takes longer than anybody wants to wait on a quiet one."""


def listens(port: int) -> bool:
    """Whether something listens at a port of loopback."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@asynccontextmanager
async def served(runner: web.BaseRunner, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """A server of aiohttp at a port that the system chooses; its URL.

    aiohttp (3.14) closes the connections that it knows one turn of the loop after it stops to
    listen; one that was accepted before needs a few turns to be known, and would stay open.
    """
    await runner.setup()
    try:
        await web.TCPSite(runner, host, 0).start()
        yield "http://{}:{}".format(*runner.addresses[0])
    finally:
        for site in list(runner.sites):
            await site.stop()
        for _ in range(5):
            await asyncio.sleep(0)
        await runner.cleanup()


async def close_writer(writer: asyncio.StreamWriter) -> None:
    """Closes a connection, and waits until it is; what was not sent by now never is.

    A transport that still has something to send stays open until the other side takes that, and
    would outlive the loop of the test.
    """
    if writer.transport.get_write_buffer_size():
        writer.transport.abort()
    else:
        writer.close()
    with suppress(OSError):
        await writer.wait_closed()
