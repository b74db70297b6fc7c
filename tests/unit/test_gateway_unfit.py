"""Why an engine cannot evaluate a request: on record without what the record withholds of it."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from muniment.http.client import HttpSession
from muniment_gateway.authorities import Authority, AuthorityEntry
from muniment_gateway.core.quorum import AuthorityAnswer
from muniment_gateway.deciding.counts import Counts
from muniment_gateway.deciding.panel import Panel
from muniment_gateway.engines.port import PassedOn
from muniment_service.metrics import Metrics

SECRET = "hunter2"
PROGRAM = "import json, sys; json.load(sys.stdin)['context']['arguments']['secret']"
DECIMAL = (
    'permit(principal, action, resource) when {decimal(context.arguments.s) == decimal("1.0")};'
)


def cedar(folder: Path) -> AuthorityEntry:
    pytest.importorskip("cedarpy", reason="the extra `cedar` is not installed")
    file = folder / "authz.cedar"
    file.write_text(DECIMAL)
    return AuthorityEntry(name="engine", kind="cedar", policies=(file,))


def command(_: Path) -> AuthorityEntry:
    program = f"{PROGRAM}[0]['{SECRET}']"
    return AuthorityEntry(name="engine", kind="command", command=(sys.executable, "-c", program),
                          deadline_seconds=60.0)  # fmt: skip


@pytest.mark.parametrize(
    ("entry", "arguments", "plain"),
    [
        (cedar, {"s": SECRET}, "engine: error while evaluating policy `policy0`"),
        (cedar, {SECRET: None}, "Cedar has no null"),
        (cedar, {SECRET: {"__extn": 1}}, "a member __extn"),
        (command, {"secret": [{}]}, "engine: exit code 1"),
    ],
)
async def test_an_error_is_recorded_without_what_it_may_quote(
    entry: Callable[[Path], AuthorityEntry],
    arguments: dict[str, Any],
    plain: str,
    tmp_path: Path,
) -> None:
    request = {
        "subject": {"type": "identity", "id": "alice"},
        "action": {"name": "tools/call"},
        "resource": {"type": "tool", "id": "pay"},
        "context": {"arguments": arguments},
    }
    panel = Panel((Authority(entry(tmp_path)),), HttpSession(headers={}), Counts(Metrics("m")))
    [answer] = await panel.ask(request, PassedOn({}))
    told = answer.recorded(None, 1000, withholds=False)
    assert SECRET in told["error"]
    assert answer.recorded(None, 1000, withholds=True) == {"authority": "engine", "error": plain}


def test_an_error_that_quotes_nothing_is_recorded_as_it_is() -> None:
    late = AuthorityAnswer("engine", error="no answer within 1 s")
    assert late.recorded(None, 1000, withholds=True)["error"] == "no answer within 1 s"
