"""The HTTP/1.1 server below `App`: listening, one clock for all connections, a graceful stop.

HTTP itself is aiohttp's low-level server's; `connection` adds the bounds that it does not have.
"""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final

from muniment_service.config import Address
from muniment_service.connection import Server, drain
from muniment_service.http import Responder
from muniment_service.limits import Limits
from muniment_service.unixsocket import bind_private, is_own_user, unbind

_BACKLOG: Final = 1024
_HANDSHAKE_SECONDS: Final = 10.0
_SHUTDOWN_SECONDS: Final = 1.0
_PRIVATE: Final = Limits(inflight_bytes=1 << 20, connections=16)
"""An operator's commands: few and small."""

_LONGEST_TICK: Final = 0.5
"""Seconds between two looks at all deadlines; less when a limit is shorter than that."""


@asynccontextmanager
async def serving(
    app: Responder,
    address: Address,
    limits: Limits | None = None,
    tls: ssl.SSLContext | None = None,
    *,
    shares_port: bool = False,
) -> AsyncIterator[str]:
    """Serves `app` while the context is open; yields the URL, without a final slash.

    On the way out it stops listening, lets requests in flight finish (bounded by `grace_seconds`),
    and closes all connections. Raises OSError if the address cannot be bound.

    Args:
        app: What answers.
        address: Where to listen.
        limits: What is taken at most.
        tls: For HTTPS; None for plain HTTP.
        shares_port: Whether other processes of the same user may listen there, too.
    """
    create = asyncio.get_running_loop().create_server

    async def listen(connect: Server) -> asyncio.Server:
        with binding(address):
            return await create(
                connect,
                address.host,
                address.port,
                backlog=_BACKLOG,
                reuse_port=shares_port or None,
                ssl=tls,
                ssl_handshake_timeout=None if tls is None else _HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=None if tls is None else _SHUTDOWN_SECONDS,
            )

    async with _listening(app, limits or Limits(), listen) as server:
        host, port = server.sockets[0].getsockname()[:2]
        scheme = "http" if tls is None else "https"
        yield f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


@contextmanager
def binding(address: Address) -> Iterator[None]:
    """Has an OSError of who binds an address say which one, and why in the system's words."""
    try:
        yield
    except OSError as error:
        # The event loop says it in words of its own, which name the address in Python's notation.
        number = error.errno or 0
        reason = os.strerror(number) if number > 0 else error.strerror or str(error)
        raise OSError(f"listen: {address}: {reason}") from error


@asynccontextmanager
async def serving_unix(app: Responder, path: Path | None) -> AsyncIterator[None]:
    """Serves `app` to this process's own user over a Unix socket, while the context is open.

    Raises OSError if there is something else at the path, or another process listens there.

    Args:
        app: What answers.
        path: Where; the socket gets mode 0600. None for nowhere.
    """
    if path is None:
        yield
        return
    create = asyncio.get_running_loop().create_unix_server
    listener = bind_private(path)
    try:
        async with _listening(
            app, _PRIVATE, lambda connect: create(connect, sock=listener), is_own_user
        ):
            yield
    finally:
        listener.close()
        unbind(path)


@asynccontextmanager
async def _listening(
    app: Responder,
    limits: Limits,
    listen: Callable[[Server], Awaitable[asyncio.Server]],
    admits: Callable[[asyncio.BaseTransport], bool] = lambda _: True,
) -> AsyncIterator[asyncio.Server]:
    server = Server(app, limits, admits)
    listener = await listen(server)
    clock = asyncio.create_task(_tick(server), name="http deadlines")
    try:
        yield listener
    finally:
        listener.close()
        await drain(server)
        clock.cancel()
        with suppress(asyncio.CancelledError):
            await clock


async def _tick(server: Server) -> None:
    """Ends what has waited too long; cheaper than a timer for each request."""
    limits = server.limits
    shortest = min(limits.body_seconds, limits.idle_seconds, limits.send_seconds)
    while True:
        await asyncio.sleep(min(shortest / 4, _LONGEST_TICK))
        server.expire()
