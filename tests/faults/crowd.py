"""Many clients of one service, over plain sockets: polite ones, rude ones and ill ones."""

import asyncio
import contextlib
import resource
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processes import children_of

SECONDS = 60.0
"""How long an answer may take: for a machine with much else to do."""


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes


_open: "set[Line]" = set()


class Line:
    """A connection to a service, opened anew whenever the service has closed it."""

    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix("http://").rpartition(":")
        self._where = (host, int(port))
        self._open: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Reply | None:
        """One request; None when the connection ended without an answer."""
        lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        try:
            async with asyncio.timeout(SECONDS):
                if self._open is None:
                    self._open = await asyncio.open_connection(*self._where)
                    _open.add(self)
                reader, writer = self._open
                writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
                reply = await self._read(reader)
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            return None
        if reply.headers.get("connection", "").lower() == "close":
            self.close()
        return reply

    async def expect(
        self,
        status: int,
        method: str,
        path: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
    ) -> Reply:
        """One request that must be answered, and with this status."""
        reply = await self.ask(method, path, body, headers)
        assert reply is not None, path
        assert reply.status == status, reply
        return reply

    async def _read(self, reader: asyncio.StreamReader) -> Reply:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {}
        for line in head[1:-2]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        return Reply(int(head[0].split()[1]), headers, body)

    def close(self) -> None:
        if self._open is not None:
            self._open[1].transport.abort()
            self._open = None
        _open.discard(self)


def run(work: Coroutine[Any, Any, None]) -> None:
    """Runs a test on a loop of its own, and closes every line that it has left open."""

    async def main() -> None:
        try:
            await work
        finally:
            for line in list(_open):
                line.close()
            await asyncio.sleep(0)

    asyncio.run(main())


def resident(pid: int, most: bool = False) -> int:
    """Bytes of memory that a service has, or has had at most, its workers included."""
    name = "VmHWM:" if most else "VmRSS:"
    lines = [
        line
        for one in with_workers(pid)
        for line in Path(f"/proc/{one}/status").read_text().splitlines()
        if line.startswith(name)
    ]
    assert lines, "no memory shown"
    return sum(int(line.split()[1]) << 10 for line in lines)


def files(pid: int) -> int:
    """Open file descriptors of a service, its workers included."""
    return sum(1 for one in with_workers(pid) for _ in Path(f"/proc/{one}/fd").iterdir())


def with_workers(pid: int) -> list[int]:
    """The processes of a service that take requests, or order them."""
    return [pid, *children_of(pid, "muniment_log.app.worker")]


@contextlib.contextmanager
def many_files(count: int) -> Iterator[None]:
    """Lets this process have so many files open, where that is allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
