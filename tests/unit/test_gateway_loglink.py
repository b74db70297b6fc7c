"""A gateway whose stream at the log is lost: it says once that only a restart helps."""

import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest

from muniment.errors import StreamConflict
from muniment_gateway.deciding.loglink import LogLink


class Lost:
    """A gateway of the SDK after its stream has ended."""

    async def submit(self, records: object) -> Any:
        raise StreamConflict("the log holds something else at record 7", problem=None)


async def test_a_lost_stream_is_told_once_though_the_log_was_away(
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = SimpleNamespace(file=SimpleNamespace(name="gw.example/a"))
    link = LogLink(cast(Any, config), cast(Any, None), cast(Any, None))
    link._gateway = cast(Any, Lost())  # noqa: SLF001 - opening one takes a log
    link.away = "no answer within 2 s"
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            await link._look()  # noqa: SLF001 - `run` waits between two
    words = "the log holds something else at record 7; it stays so until the gateway is restarted"
    assert link.away == words
    [told] = caplog.records
    assert told.getMessage() == "the log stays away"
    assert words in str(vars(told))
