"""A server that sends exactly these bytes, and the lean HTTP client that asks it."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from muniment.http.client import HttpClient
from waiting import SECONDS

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Served:
    """What a server saw: its connections, and every request on them."""

    url = ""

    def __init__(self) -> None:
        self.connections = 0
        self.requests: list[bytes] = []


Script = Callable[[Served, asyncio.StreamWriter], bytes | None]


@asynccontextmanager
async def serving(
    script: Script, tls: ssl.SSLContext | None = None, connections: int | None = None
) -> AsyncIterator[tuple[HttpClient, Served]]:
    """Answers each request with what the script says; None closes the connection."""
    served = Served()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(
                    head.lower().partition(b"content-length: ")[2].partition(b"\r")[0] or 0
                )
                served.requests.append(head + await reader.readexactly(int(length or 0)))
                answer = script(served, writer)
                if answer is None:
                    break
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    scheme = "http" if tls is None else "https"
    served.url = f"{scheme}://127.0.0.1:{port}/base/"
    client = HttpClient(
        served.url,
        headers={"User-Agent": "test"},
        connections=connections,
    )
    try:
        yield client, served
    finally:
        await client.close()
        server.close()


async def get(client: HttpClient, path: str = "/x", limit: int = 1000) -> bytes:
    return (await client.ask("GET", path, limit=limit, seconds=SECONDS)).body
