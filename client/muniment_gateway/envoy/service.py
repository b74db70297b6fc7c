"""The gRPC server that Envoy asks; each question gets an answer that says yes or no.

A status of gRPC other than OK would be a failure of the service for Envoy, which may be told to let
requests pass then (`failure_mode_allow`). So whatever can be answered is, as a denial.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from muniment.local.logs import event
from muniment.local.regularfile import open_regular
from muniment.tlog.encoding import FormatError, MunimentError
from muniment_gateway.deciding.proxied import ProxyDecider
from muniment_gateway.envoy.messages import METHOD, Messages
from muniment_gateway.http.access import Clients
from muniment_service.config import Address
from muniment_service.tls import TlsTable

MAX_CHECK: Final = 4 << 20
"""Largest question, in bytes: headers, metadata and body together; gRPC refuses a larger one."""

MESSAGE_SECONDS: Final = 5.0
"""How long a question may take to come, once its stream is open."""

GRACE_SECONDS: Final = 5.0
"""How long questions under way may take when the server stops."""

_MOST_PEM: Final = 1 << 20
_LOGGER: Final = logging.getLogger(__name__)

Decide = Callable[[bytes, str], Awaitable[bytes]]
"""Answers a CheckRequest, given the header `authorization` that came with it."""


class EnvoyDesk:
    """Answers the questions of one Envoy, by one configuration."""

    def __init__(self, desk: ProxyDecider, clients: Clients, messages: Messages) -> None:
        """Decides at a desk, for those who show a client's token."""
        self._desk = desk
        self._clients = clients
        self._messages = messages

    async def check(self, data: bytes, authorization: str) -> bytes:
        """The CheckResponse to a CheckRequest."""
        client = self._clients.find(authorization)
        wanted = self._desk.proxy.table.client
        if client is None or (wanted is not None and client != wanted):
            answer = self._desk.turn_away(
                "unknown-proxy", "the proxy has not shown its token in `authorization`"
            )
        else:
            try:
                proxied = self._messages.read(data)
            except FormatError as error:
                answer = await self._desk.refuse(str(error), client)
            else:
                answer = await self._desk.answer(proxied, client)
        return self._messages.write(answer)


@asynccontextmanager
async def serving_envoy(
    decide: Decide,
    address: Address,
    tls: TlsTable | None,
    most: int,
    message_seconds: float = MESSAGE_SECONDS,
) -> AsyncIterator[int]:
    """Serves `Check` at an address while the context is open; yields the port.

    On the way out it takes no more questions, and lets those under way finish.

    Args:
        decide: What answers.
        address: Where to listen.
        tls: Certificate and key; None for plain HTTP/2.
        most: Questions under way at one time; Envoy is told of more that nobody has time.
        message_seconds: How long a question may take to come; then it is an empty one.

    Raises:
        MunimentError: Without grpcio, or when the files of `tls` cannot be used.
        OSError: If the address cannot be bound.
    """
    try:
        grpc: Any = import_module("grpc")
        aio: Any = import_module("grpc.aio")
    except ImportError as error:
        raise MunimentError(f"needs the extra `envoy`: {error}") from error
    under_way: set[asyncio.Task[bytes]] = set()

    async def check(messages: AsyncIterator[bytes], context: Any) -> bytes:
        data = b""
        with suppress(TimeoutError, StopAsyncIteration):
            async with asyncio.timeout(message_seconds):
                data = await anext(messages)
        shown = [v for k, v in context.invocation_metadata() or () if k == "authorization"]
        given = shown[0] if len(shown) == 1 and isinstance(shown[0], str) else ""
        # Envoy gives up after a while. What was asked is decided and on record all the same.
        work = asyncio.ensure_future(decide(data, given))
        under_way.add(work)
        work.add_done_callback(under_way.discard)
        return await asyncio.shield(work)

    # Bytes in and out: what is no message is for us to deny. As a stream, which is the same on the
    # wire: of a single message gRPC would wait for ever, and it would take a place.
    handler = grpc.stream_unary_rpc_method_handler(check)
    service, _, method = METHOD[1:].partition("/")
    server = aio.server(
        options=[
            ("grpc.max_receive_message_length", MAX_CHECK),
            ("grpc.so_reuseport", 0),
        ],
        maximum_concurrent_rpcs=most,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {method: handler}),)
    )
    try:
        if tls is None:
            port = server.add_insecure_port(str(address))
        else:
            port = server.add_secure_port(str(address), _credentials(grpc, tls))
    except RuntimeError as error:
        raise OSError(f"{address}: {error}") from error
    if not port:
        raise OSError(f"{address}: cannot be bound")
    await server.start()
    try:
        yield int(port)
    finally:
        await server.stop(GRACE_SECONDS)
        if under_way:
            await asyncio.wait(under_way, timeout=GRACE_SECONDS)


def _credentials(grpc: Any, tls: TlsTable) -> Any:
    """As `muniment_service.tls` has them: with CAs for clients, only their clients get in.

    The files are read before each handshake; what cannot be read then leaves the ones before.
    """
    known = _pem(tls)

    def configuration(pem: tuple[bytes, bytes, bytes | None]) -> Any:
        return grpc.ssl_server_certificate_configuration([pem[:2]], pem[2])

    def renewed() -> Any:
        nonlocal known
        try:
            found = _pem(tls)
        except MunimentError as error:
            event(_LOGGER, logging.ERROR, "TLS files not usable, old ones kept", error=error)
            return None
        if found == known:
            return None
        known = found
        return configuration(found)

    return grpc.dynamic_ssl_server_credentials(
        configuration(known), renewed, require_client_authentication=tls.client_ca is not None
    )


def _pem(tls: TlsTable) -> tuple[bytes, bytes, bytes | None]:
    """Key, certificate and CAs; MunimentError if one cannot be read."""

    def read(path: Path) -> bytes:
        with open_regular(path) as file:
            return file.read(_MOST_PEM)

    try:
        authorities = None if tls.client_ca is None else read(tls.client_ca)
        return read(tls.key), read(tls.certificate), authorities
    except OSError as error:
        raise MunimentError(f"tls: {error}") from error
