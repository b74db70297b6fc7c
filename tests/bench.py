"""A log in memory, and governed calls through a gateway on an event loop or in threads."""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from logsim import GATEWAY_SIGNER, POLICY, LogSim, records_of
from muniment.errors import Denied
from muniment.gateway import blocking
from muniment.gateway.gateway import Gateway
from muniment.gateway.governed import governed

AGENT = {"type": "agent", "id": "planner"}
TOOL = {"type": "tool", "id": "tool"}


def yes(_: Any) -> dict[str, Any]:
    return {"decision": True}


@asynccontextmanager
async def gateway_of(sim: LogSim, **options: Any) -> AsyncIterator[Gateway]:
    """A gateway to a simulated log, which is served as long."""
    async with sim.serve() as url, Gateway(url, GATEWAY_SIGNER, **options) as gateway:
        yield gateway


def spooled(sim: LogSim, path: Path, **options: Any) -> AbstractAsyncContextManager[Gateway]:
    """One with the log's policy, and a spool in a folder."""
    return gateway_of(sim, policy=POLICY, spool=path / "spool", **options)


@dataclass
class Bench:
    """A log, a gateway of one kind, and calls through it."""

    kind: str
    url: str
    sim: LogSim
    path: Path
    gateway: Any = None
    ran: list[Any] = field(default_factory=list)

    @asynccontextmanager
    async def opened(self, **options: Any) -> AsyncIterator["Bench"]:
        options = {"policy": POLICY, "spool": self.path, **options}
        if self.kind == "event loop":
            async with Gateway(self.url, GATEWAY_SIGNER, **options) as self.gateway:
                yield self
            return
        self.gateway = blocking.Gateway(self.url, GATEWAY_SIGNER, **options)
        await asyncio.to_thread(self.gateway.__enter__)
        try:
            yield self
        finally:
            await asyncio.to_thread(self.gateway.close)

    @property
    def inner(self) -> Gateway:
        return self.gateway if self.kind == "event loop" else self.gateway.asynchronous

    def tool(self, body: Callable[..., Any], **rules: Any) -> Callable[..., Any]:
        """Governs a function; with a gateway of an event loop, one that awaits nothing."""
        rules = {"decide": yes, "subject": AGENT, "resource": TOOL, **rules}
        decorate: Any = governed(self.gateway, **rules)
        if self.kind == "threads":
            return decorate(body)  # type: ignore[no-any-return]

        @functools.wraps(body)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            return body(*args, **kwargs)

        del awaited.__wrapped__  # type: ignore[attr-defined]
        return decorate(awaited)  # type: ignore[no-any-return]

    async def call(self, tool: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self.kind == "event loop":
            return await tool(*args, **kwargs)
        return await asyncio.to_thread(tool, *args, **kwargs)

    async def on_loop(self, work: Any) -> Any:
        if self.kind == "event loop":
            return await work
        return await asyncio.to_thread(self.gateway.run, work)

    async def denied(self, tool: Callable[..., Any], *args: Any, **kwargs: Any) -> Denied:
        with pytest.raises(Denied) as caught:
            await self.call(tool, *args, **kwargs)
        return caught.value

    def records(self, kind: str) -> list[dict[str, Any]]:
        return records_of(self.sim, kind)

    async def outcomes(self) -> list[dict[str, Any]]:
        await self.on_loop(self.inner.spool.drained())
        return self.records("outcome")


@pytest.fixture(params=["event loop", "threads"])
async def bench(
    request: pytest.FixtureRequest, tmp_path: Path, fast_retries: None
) -> AsyncIterator[Bench]:
    sim = LogSim()
    async with sim.serve() as url:
        yield Bench(request.param, url, sim, tmp_path / "spool")
