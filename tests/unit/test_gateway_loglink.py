"""A gateway whose stream at the log is lost: it says once that only a restart helps."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from decisions import request
from logsim import GATEWAY_SIGNER, POLICY, LogSim
from muniment.errors import MunimentError, StreamConflict
from muniment.gateway import logstream
from muniment.gateway.gateway import Gateway
from muniment.http.access import Access
from muniment.http.client import HttpSession
from muniment_gateway.deciding import loglink
from muniment_gateway.deciding.loglink import LogLink
from waiting import SECONDS

DENIAL = {
    "kind": "decision",
    "request": request("planner"),
    "response": {"decision": False},
    "denial": {"codes": ["denied_by_policy"]},
}


def link_of(gateway: object) -> LogLink:
    """The link of a service whose gateway of the SDK is open; opening one takes a log."""
    config = SimpleNamespace(file=SimpleNamespace(name="gw.example/a"))
    link = LogLink(cast(Any, config), cast(Any, None))
    link._gateway = cast(Any, gateway)  # noqa: SLF001
    return link


def link_to(log: MunimentError | None = None, spool: MunimentError | None = None) -> LogLink:
    """The same when something keeps the log's stream or the spool from going on."""
    failed = SimpleNamespace(failure=log), SimpleNamespace(failure=spool)
    return link_of(SimpleNamespace(log=failed[0], spool=failed[1]))


async def test_a_lost_stream_is_told_once_though_the_log_was_away(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lost = StreamConflict("the log holds something else at record 7", problem=None)
    link = link_to(log=lost)
    link.away = "no answer within 2 s"
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            await link._look()  # noqa: SLF001 - `run` waits between two
    words = "the log holds something else at record 7; it stays so until the gateway is restarted"
    assert link.away == words
    [told] = caplog.records
    assert told.getMessage() == "the log stays away"
    assert words in str(vars(told))


async def test_a_spool_that_cannot_deliver_is_not_said_to_need_a_restart() -> None:
    link = link_to(spool=StreamConflict("two writers", problem=None))
    await link._look()  # noqa: SLF001
    assert link.away == "the spool: two writers"


@asynccontextmanager
async def hesitant(folder: Path) -> AsyncIterator[tuple[LogLink, asyncio.Event, asyncio.Event]]:
    """A link without its log, which is ready by its own word, and answers nothing until it may.

    Yields the link, what tells that the log was asked where the stream is, and what lets it answer.
    """
    asked, may = asyncio.Event(), asyncio.Event()
    may.set()

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/readyz":
            return web.json_response({})
        if request.path.endswith("/default"):  # not the spool's own stream
            asked.set()
        await may.wait()
        return web.Response(status=500)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server, HttpSession(headers={}) as http:
        file = SimpleNamespace(
            name=GATEWAY_SIGNER.vkey.name,
            log=str(server.make_url("")).rstrip("/"),
            stream="default",
            spool=folder / "spool",
            deadline_seconds=1.0,
            require="cosigned",
        )
        config = SimpleNamespace(
            file=file, signer=GATEWAY_SIGNER, origin=None, policy=POLICY, access=Access()
        )
        link = LogLink(cast(Any, config), http)
        try:
            await link.start()
            asked.clear()
            may.clear()
            yield link, asked, may
        finally:
            may.set()
            await link.close()


async def test_a_denial_is_kept_while_a_log_that_is_back_hesitates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The spool is given over once the log has said where the stream is, and not before."""
    monkeypatch.setattr(loglink, "LOOK_TIMEOUT", SECONDS)
    async with hesitant(tmp_path) as (link, asked, may):
        looking = asyncio.create_task(link._look())  # noqa: SLF001
        async with asyncio.timeout(SECONDS):
            await asked.wait()
            await link.keep(DENIAL)
        assert link.pending == 1
        may.set()
        await looking
        assert link.away
        await link.keep(DENIAL)
        assert link.pending == 2


async def test_a_denial_waits_for_a_spool_that_is_being_handed_over(tmp_path: Path) -> None:
    async with hesitant(tmp_path) as (link, _, _):
        async with asyncio.timeout(None) as within:
            await link._give_spool_over(within)  # noqa: SLF001
        keeping = asyncio.create_task(link.keep(DENIAL))
        await link._open_early()  # noqa: SLF001
        assert not keeping.done()
        link._handing_over.release()  # noqa: SLF001
        await keeping
        assert link.pending == 1


async def test_a_full_queue_is_no_stream_that_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It empties when the log is back; no restart is needed, and looking does not wait for it."""
    monkeypatch.setattr(logstream, "MAX_QUEUED_BYTES", 0)

    async def is_ready(_: LogLink) -> bool:
        return True

    monkeypatch.setattr(LogLink, "_is_ready", is_ready)
    async with (
        LogSim().serve() as url,
        Gateway(
            url, GATEWAY_SIGNER, policy=POLICY, spool=tmp_path / "spool", deadline=0.1
        ) as gateway,
    ):
        link = link_of(gateway)
        await link._look()  # noqa: SLF001
        assert not link.away
