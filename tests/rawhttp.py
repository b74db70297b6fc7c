"""A server on a socket, and clients that send it exactly these bytes."""

import asyncio
import select
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from muniment_service.config import Address
from muniment_service.http import Problem
from muniment_service.limits import Limits
from muniment_service.routing import App
from muniment_service.server import serving
from waiting import SECONDS, close_writer


class Body:
    """A body as the server gives it to a `Request`: refused when it is too large."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data

    async def read(
        self,
        most: int,
        more: int,
        admit: Callable[[bytes], object] | None,
        *,
        coded: bool = False,
    ) -> bytes:
        if len(self.data) > most + more:
            raise Problem(413, "too-large", "too large")
        if len(self.data) > most and admit is not None:
            admit(self.data[:most])
        return self.data

    async def pieces(self) -> AsyncIterator[bytes]:
        yield self.data


@asynccontextmanager
async def server(app: App, **limits: Any) -> AsyncIterator[tuple[str, int]]:
    async with serving(app, Address("127.0.0.1:0"), Limits(**limits)) as url:
        yield "127.0.0.1", int(url.rpartition(":")[2])


async def talk(where: tuple[str, int], *parts: bytes, pause: float = 0.0) -> bytes:
    """Sends parts, and reads until the server closes or the response is complete."""
    reader, writer = await asyncio.open_connection(*where)
    try:
        async with asyncio.timeout(SECONDS):
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(pause)
            head = b""
            while not head.endswith(b"\r\n\r\n") or head.startswith(b"HTTP/1.1 100"):
                if head.startswith(b"HTTP/1.1 100") and head.endswith(b"\r\n\r\n"):
                    head = b""
                piece = await reader.read(1)
                if not piece:
                    return head
                head += piece
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
            return head if parts[0].startswith(b"HEAD") else head + await reader.readexactly(length)
    finally:
        await close_writer(writer)


def reset(writer: asyncio.StreamWriter) -> None:
    """Ends a connection without having finished sending: the other side sees a reset."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


def send_on(where: tuple[str, int], *parts: bytes) -> bytes:
    """Sends a part, each other one when the server has begun to answer and to close; the answers.

    They are read last: a server that closes at once, with something unread, takes them away.
    """
    with socket.create_connection(where, SECONDS) as client:
        first, *others = parts
        client.sendall(first)
        ending = select.poll()
        ending.register(client, select.POLLRDHUP)
        for part in others:
            assert ending.poll(SECONDS * 1000)
            client.sendall(part)
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(65_536), b""))


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def post(body: bytes, *headers: bytes, length: int | None = None) -> bytes:
    lines = [b"POST /echo HTTP/1.1", b"Host: x", *headers]
    if length is not None or b"Transfer-Encoding: chunked" not in headers:
        lines.append(b"Content-Length: %d" % (len(body) if length is None else length))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def send(url: str, data: bytes) -> bytes:
    """Sends bytes and nothing more; what comes back until the server closes."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=SECONDS) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the server has refused it already
        received = []
        try:
            while piece := connection.recv(1 << 16):
                received.append(piece)
        except ConnectionError:
            pass
        return b"".join(received)
