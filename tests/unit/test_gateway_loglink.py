"""A gateway whose stream at the log is lost: it says once that only a restart helps."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from logsim import GATEWAY_SIGNER, POLICY, LogSim
from muniment.errors import MunimentError, StreamConflict
from muniment.gateway import logstream
from muniment.gateway.gateway import Gateway
from muniment_gateway.deciding.loglink import LogLink


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
