"""Fuzz target of HTTP itself: any bytes at a server's connection."""

import asyncio
import re
from collections.abc import Coroutine
from functools import cache
from typing import Any, Final

from fuzzing.law import target
from muniment_service.connection import Server
from muniment_service.http import Request, Response
from muniment_service.limits import Limits
from muniment_service.metrics import Metrics
from muniment_service.routing import App

CUT: Final = b"\xfe\xfd"
"""Stands between what arrives at different moments."""

_INFLIGHT: Final = 4096
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([0-9]{3}) ")
_DECLARED: Final = {b"100", b"200", b"400", b"404", b"405", b"413", b"415", b"431", b"503", b"505"}


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def _run(work: Coroutine[Any, Any, None]) -> None:
    _loop().run_until_complete(work)


class _Transport(asyncio.Transport):
    """Takes what is written, and tells the protocol when it is closed, as sockets do."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self._protocol = protocol
        self._closing = False

    def write(self, data: Any) -> None:
        self.sent.append(bytes(data))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def writelines(self, list_of_data: Any) -> None:
        self.sent.extend(bytes(data) for data in list_of_data)

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            _loop().call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()


def _app() -> App:
    app = App(Metrics("wire"))

    async def echo(request: Request) -> Response:
        await asyncio.sleep(0)
        return Response(200, await request.body(1000), "application/octet-stream")

    app.route("POST", "/echo", echo)
    app.operations(dict)
    return app


@target("http-server")
def _http_server(data: bytes) -> None:
    """Declared answers alone, and nothing is held once the client has gone."""
    _run(_served(data))


async def _served(data: bytes) -> None:
    server = Server(_app(), Limits(inflight_bytes=_INFLIGHT))
    connection = server()
    transport = _Transport(connection)
    connection.connection_made(transport)
    for piece in data.split(CUT):
        if piece and not transport.is_closing():
            connection.data_received(piece)
            await asyncio.sleep(0)
    if not transport.is_closing():
        connection.eof_received()
    for _ in range(5000):
        if connection.is_idle:
            break
        await asyncio.sleep(0)
    assert connection.is_idle
    connection.abort()
    for _ in range(20):
        await asyncio.sleep(0)
    sent = b"".join(transport.sent)
    assert not sent or _STATUS.match(sent)
    heads = {found[1] for found in _STATUS.finditer(sent)}
    # What a body echoes may look like a status line.
    assert heads <= _DECLARED or b"/echo" in data
    assert not server.open
    server.budget.take(_INFLIGHT)
