"""Clients that are slow, silent, gone or too many: cut off in time, while others are served."""

import asyncio
import contextlib
import resource
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import decisions
import signing
from faults.crowd import Line, files, many_files, run
from faults.overloaded import Load, configured, everything
from faults.services import Services
from log_deployment import GATEWAY, WORKERS, Stream
from waiting import until
from witness_tools import GrowingLog, set_up

DEADLINES = "idle_seconds = 1.0\nbody_seconds = 1.0\nsend_seconds = 1.0\ngrace_seconds = 5.0\n"
EACH = 12
DRIP_SECONDS = 0.2
TCP_REPAIR = 19
"""A socket that is closed in this mode (Linux) says nothing to its peer, as when a machine dies."""

Ill = Callable[[str], Awaitable[Any]]


def connected(url: str, receive: int = 0) -> socket.socket:
    host, _, port = url.removeprefix("http://").rpartition(":")
    made = socket.socket()
    if receive:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    made.connect((host, int(port)))
    made.setblocking(False)
    return made


async def drip(to: socket.socket, data: bytes) -> None:
    """One byte now and then, for ever, until the service has had enough."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        await loop.sock_sendall(to, data)
        while True:
            await asyncio.sleep(DRIP_SECONDS)
            await loop.sock_sendall(to, b"x")


def post(path: str, *, length: int) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode()


def ill_clients(url: str, path: str, large: str) -> tuple[list[socket.socket], list[bytes]]:
    """Sockets, and what each of them drips; nothing for those that are silent from the start."""
    get = f"GET {large} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    chunked = f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    sockets, starts = [], []
    for _ in range(EACH):
        for start in (
            b"GET /heal",  # a head that never ends
            b"GET /healthz HTTP/1.1\r\nA: ",
            post(path, length=60_000),  # a body that never ends
            chunked + b"ea60\r\n",
        ):
            sockets.append(connected(url))
            starts.append(start)
        for said in (b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HT"):
            silent = connected(url)
            silent.send(said)
            sockets.append(silent)
        deaf = connected(url, receive=4096)
        deaf.send(get * 40)  # and reads none of it
        sockets.append(deaf)
        gone = connected(url)
        gone.send(post(path, length=100) + b"and then the cable is cut")
        with contextlib.suppress(OSError):  # not everybody may do that
            gone.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        gone.close()
    return sockets, starts


async def all_are_cut(url: str, pid: int, path: str, large: str) -> None:
    """The service closes every ill connection although its client holds on to it."""
    line = Line(url)
    reply = await line.ask("GET", "/healthz")
    assert reply is not None
    before = files(pid)
    sockets, starts = ill_clients(url, path, large)
    drips = [asyncio.create_task(drip(*pair)) for pair in zip(sockets, starts, strict=False)]
    try:
        most = 0
        while (now := files(pid)) > before + 2 or most < before + EACH:
            most = max(most, now)
            await line.expect(200, "GET", "/healthz")
            await asyncio.sleep(0.05)
    finally:
        for task in drips:
            task.cancel()
        await asyncio.gather(*drips, return_exceptions=True)
        for made in sockets:
            made.close()


async def log_among_the_ill(url: str, pid: int) -> None:
    load = Load(url)
    working = [asyncio.create_task(load.signed()) for _ in range(2)]
    await until(lambda: len(load.receipts) >= 4)
    taken = len(load.receipts)
    await all_are_cut(url, pid, "/v1/batches", "/tile/entries/000")
    await until(lambda: len(load.receipts) >= taken + 2)
    load.stopped = True
    await asyncio.gather(*working)
    assert set(load.statuses) == {200}  # nobody else has noticed
    await everything(url)


def test_a_log_cuts_off_clients_that_do_not_keep_up(tmp_path: Path, quick: Services) -> None:
    log = quick.log(configured(tmp_path / "log", DEADLINES))
    run(log_among_the_ill(log.url, log.pid))
    assert "unhandled" not in log.stderr


def test_a_witness_cuts_off_clients_that_do_not_keep_up(tmp_path: Path, quick: Services) -> None:
    config, _ = set_up(tmp_path / "w", GrowingLog().vkeys)
    config.write_text(f"{config.read_text()}\n[limits]\n{DEADLINES}")
    witness = quick.witness(config)
    run(all_are_cut(witness.url, witness.pid, "/add-checkpoint", "/metrics"))
    assert "unhandled" not in witness.stderr


MOST = 150


async def a_crowd_comes(url: str, pid: int) -> None:
    """More connections than there may be: the surplus is closed, those there are served."""
    line = Line(url)
    reply = await line.ask("GET", "/healthz")
    assert reply is not None
    before = files(pid)
    sockets = []
    try:
        for number in range(1000):
            sockets.append(connected(url))
            if number % 50 == 0:
                await line.expect(200, "GET", "/healthz")
                assert files(pid) <= before + MOST * WORKERS + 50
        await until(lambda: files(pid) <= before + MOST * WORKERS + 2)
    finally:
        for made in sockets:
            made.close()
    await until(lambda: files(pid) <= before + 2)
    await Line(url).expect(200, "GET", "/readyz")


def test_a_thousand_connections(tmp_path: Path, quick: Services) -> None:
    with many_files(4096):
        log = quick.log(configured(tmp_path / "log", f"connections = {MOST}\n"))
        run(a_crowd_comes(log.url, log.pid))


async def no_files_left(url: str, pid: int) -> None:
    """The process may open nothing more: it waits, serves who is there, and gets over it."""
    stream = Stream("s", signing.log_signer(GATEWAY))
    records = decisions.decisions(3, producer=GATEWAY)
    line = Line(url)
    sockets = []
    try:
        for number, record in enumerate(records):
            if number == 1:
                _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
                most = files(pid) + 10
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, hard))
                sockets += [connected(url) for _ in range(60)]
                await until(lambda most=most: files(pid) >= most)  # type: ignore[misc]
            elif number == 2:
                while sockets:
                    sockets.pop().close()
                await asyncio.sleep(1.5)  # asyncio looks again after a second, and tells nobody
                line = Line(url)  # a new connection
            await line.expect(200, "POST", "/v1/batches", stream.take([record]))
    finally:
        for made in sockets:
            made.close()
    assert len(await everything(url)) == 6


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits of another process: Linux")
def test_a_log_without_a_file_to_spare_lives_on(tmp_path: Path, quick: Services) -> None:
    log = quick.log(configured(tmp_path / "log", ""))
    run(no_files_left(log.url, log.pid))
    assert log.returncode is None
