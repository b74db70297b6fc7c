"""Builds a gate for MCP and runs it: on stdio, or as a proxy in front of a server's URL.

Hosts start as many gates as they like from one configuration. Each takes a place of its own, the
first that is free: a stream in the log, a spool and a database, beside those of the service. What
a gate has left in its spool, the next one in its place delivers.
"""

import asyncio
import fcntl
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import msgspec
from aiohttp import web

from muniment.errors import MunimentError
from muniment.http.client import HttpSession
from muniment.local.lifecycle import stop_requested
from muniment.records.addenda import ARGUMENTS
from muniment.records.preparation import RecordInput
from muniment_gateway.config import GatewayConfig
from muniment_gateway.deciding.approvals import Approvals
from muniment_gateway.deciding.changes import ChangeReporter, tell_in_force
from muniment_gateway.deciding.counts import Counts
from muniment_gateway.deciding.decider import Decider
from muniment_gateway.deciding.decisions import RequestDetails
from muniment_gateway.deciding.loglink import LogLink
from muniment_gateway.deciding.notices import Notices
from muniment_gateway.deciding.panel import Panel
from muniment_gateway.http.access import Clients
from muniment_gateway.mcp.gate import PATIENCE, McpGate, McpRules
from muniment_gateway.mcp.mapping import Caller, Declared
from muniment_gateway.mcp.messages import MAX_MESSAGE
from muniment_gateway.mcp.proxy import CONNECT_SECONDS, McpProxy
from muniment_gateway.mcp.stdio import serve_stdio
from muniment_gateway.store.database import open_database
from muniment_gateway.store.held import HeldCalls
from muniment_gateway.store.inforce import InForceStore
from muniment_service.config import Address
from muniment_service.metrics import Metrics
from muniment_service.process import print_ready
from muniment_service.tls import server_context

MOST_PLACES: Final = 64
"""Most gates on one machine from one configuration."""

TELL_SECONDS: Final = 5.0
"""How long telling the log what is in force may take, and the time between two looks at it."""

STOP_SECONDS: Final = 5.0
"""How long a proxy that stops lets requests under way finish."""

STOPPED: Final = 0


@dataclass(frozen=True, slots=True)
class McpOptions:
    """What the command line says of a gate.

    Attributes:
        subject: For whom the client acts.
        agent: What the client is; None when that is not told.
        server: The server's name, in the policy.
        passed, ask_unknown, filters: See `gate.McpRules`.
        declared: Whether the mappings that the server declares count.
    """

    subject: str
    server: str
    agent: str | None = None
    passed: frozenset[str] = frozenset()
    ask_unknown: bool = False
    declared: bool = False
    filters: bool = False

    def caller(self, subject: str | None = None) -> Caller:
        """Who asks: the claims that mappings know as `token`."""
        claims = {"sub": subject or self.subject, "aud": self.server}
        if self.agent is not None:
            claims["client_id"] = self.agent
        return Caller(claims)

    def rules(self, config: GatewayConfig) -> McpRules:
        """How the gate judges."""
        signed = any(one.vkey is not None for one in config.authorities)
        return McpRules(
            passed=self.passed,
            ask_unknown=self.ask_unknown,
            declared=Declared() if self.declared else None,
            filters=self.filters,
            # Who signs what it was asked would sign nothing that is withheld.
            withheld=() if signed else (ARGUMENTS,),
            answers_at_once=config.file.mode == "observe",
        )


async def run_stdio(config: GatewayConfig, options: McpOptions, command: Sequence[str]) -> int:
    """Runs a server behind a gate, until it or its client ends, or SIGTERM; an exit code.

    Raises:
        MunimentError: If the gate cannot be built.
        OSError: If the server cannot be started.
    """
    async with gate_of(config, options) as gate:
        withheld = options.rules(config).withheld
        call = RequestDetails(options.subject, "mcp", withheld=withheld, patience=PATIENCE)
        return await until_stopped(
            lambda: serve_stdio(gate, options.caller(), call, command), STOPPED
        )


async def run_http(
    config: GatewayConfig,
    options: McpOptions,
    upstream: str,
    listen: Address,
    hosts: Sequence[str],
) -> int:
    """Serves a gate in front of a server's URL, until SIGTERM or SIGINT; an exit code.

    Args:
        config: The gateway's configuration; its clients may ask.
        options: How to judge; the subject is the client's name, if there are clients.
        upstream: The server's URL.
        listen: Where to listen.
        hosts: More names, with ports, that clients know this server by.

    Raises:
        MunimentError: If the gate cannot be built.
        OSError: If the address cannot be bound.
    """
    clients = Clients(config.clients)
    tls = server_context(config.file.tls)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
    stop = stop_requested()
    async with (
        gate_of(config, options) as gate,
        aiohttp.ClientSession(
            timeout=timeout, auto_decompress=True, cookie_jar=aiohttp.DummyCookieJar()
        ) as http,
    ):
        with socket.create_server(
            (listen.host, listen.port), family=_family(listen.host), backlog=128
        ) as server:
            port = server.getsockname()[1]
            own = {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]", listen.host)}
            proxy = McpProxy(
                gate,
                upstream,
                http,
                named=lambda request: clients.find(request.headers.get("Authorization", "")),
                caller=lambda client: options.caller(client or None),
                hosts=frozenset({*own, *hosts}),
                withheld=options.rules(config).withheld,
            )
            app = web.Application(client_max_size=MAX_MESSAGE)
            app.router.add_route("*", "/{path:.*}", proxy.handle)
            runner = web.AppRunner(
                app, access_log=None, handler_cancellation=True, shutdown_timeout=STOP_SECONDS
            )
            await runner.setup()
            try:
                await web.SockSite(runner, server, ssl_context=tls).start()
                scheme = "https" if tls is not None else "http"
                print_ready(f"{scheme}://{_bracketed(listen.host)}:{port}{urlsplit(upstream).path}")
                await stop
            finally:
                await runner.cleanup()
                await proxy.close()
    return STOPPED


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


async def until_stopped(work: Callable[[], Awaitable[int]], stopped: int) -> int:
    """Does work until it is done, or a signal ends it."""
    stop = stop_requested()
    doing = asyncio.ensure_future(work())
    try:
        both: set[asyncio.Future[Any]] = {stop, doing}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        return doing.result() if doing.done() else stopped
    finally:
        if not doing.done():
            doing.cancel()
            with suppress(asyncio.CancelledError):
                await doing
        stop.cancel()


@asynccontextmanager
async def gate_of(config: GatewayConfig, options: McpOptions) -> AsyncIterator[McpGate]:
    """Builds a gate in a place of its own.

    Raises MunimentError if no place is free, or its files cannot be used.
    """
    access = config.file.outgoing.access
    async with (
        HttpSession(headers={"User-Agent": access.agent()}, tls=access.ssl()) as http,
        AsyncExitStack() as resources,
    ):
        own = resources.enter_context(_place(config))
        database = await open_database(own.file.database)
        link = LogLink(own, http)
        try:
            store = await InForceStore.read(database)
            await link.start()

            async def submit(records: Sequence[RecordInput]) -> int:
                return await link.submit(records, TELL_SECONDS)

            changes = ChangeReporter(own.file.name, store, submit)
            counts = Counts(Metrics("muniment_mcp"))
            panel = Panel(own.authorities, http, counts, own.quorum, own.file.grace_seconds)
            approvals = await resources.enter_async_context(approvals_of(own, submit))
            decider = Decider(own, panel, link, changes, counts, approvals)
            await tell_in_force(own, changes, panel, link)
            work = [
                asyncio.create_task(link.run()),
                asyncio.create_task(_keep_telling(link, changes, panel, own)),
            ]
            gate = McpGate(decider, link, options.rules(own))
            try:
                yield gate
            finally:
                await gate.close()
                for task in work:
                    task.cancel()
                await asyncio.gather(*work, return_exceptions=True)
        finally:
            await link.close()
            await database.close()


@asynccontextmanager
async def approvals_of(
    config: GatewayConfig, submit: Callable[[Sequence[RecordInput]], Awaitable[int]]
) -> AsyncIterator[Approvals | None]:
    """The calls that wait for people, whom the gateway's service asks; None when nobody decides."""
    if not config.people:
        yield None
        return
    calls = await HeldCalls.open(config.held_database)
    notices = Notices()
    try:
        await notices.take_up(config.people)
        yield Approvals(config.file.name, config.people, calls, submit, notices.tell)
    finally:
        await notices.close()
        await calls.close()


@contextmanager
def _place(config: GatewayConfig) -> Iterator[GatewayConfig]:
    """The configuration with stream, spool and database of the first place that is free."""
    file = config.file
    for number in range(MOST_PLACES):
        suffix = f"mcp-{number}"
        spool = file.spool.with_name(f"{file.spool.stem}.{suffix}{file.spool.suffix}")
        lock = os.open(_beside(spool, ".place"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        try:
            database = file.database.with_name(
                f"{file.database.stem}.{suffix}{file.database.suffix}"
            )
            own: Any = msgspec.structs.replace(
                file, stream=f"{file.stream}-{suffix}", spool=spool, database=database
            )
            yield replace(config, file=own)
        finally:
            os.close(lock)
        return
    raise MunimentError(f"{MOST_PLACES} gates of this configuration run already")


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


async def _keep_telling(
    link: LogLink, changes: ChangeReporter, panel: Panel, config: GatewayConfig
) -> None:
    while True:
        is_told = changes.is_told("mode", config.file.mode)
        await asyncio.sleep(TELL_SECONDS if is_told else 0.2)
        await tell_in_force(config, changes, panel, link)
