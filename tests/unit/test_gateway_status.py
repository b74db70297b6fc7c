"""`muniment-gateway status` in words: each part once, and why it is not well."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from muniment_gateway.cli import running

URL = "http://log.example"


def told(monkeypatch: pytest.MonkeyPatch, away: str | None, trouble: str | None) -> list[str]:
    found: dict[str, Any] = {
        "name": "gw.example/edge",
        "mode": "enforce",
        "quorum": "1 of 1",
        "log": {"url": URL, "away": away},
        "spool": 0,
        "authorities": {"cedar": trouble},
    }

    def ask(_config: Path, _method: str, _target: str) -> dict[str, Any]:
        return found

    monkeypatch.setattr(running, "_ask", ask)
    done = CliRunner().invoke(running.status, ["--config", "gateway.toml"])
    assert done.exit_code == 0, done.output
    return done.output.splitlines()


def test_what_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, None, None) == [
        "gateway  gw.example/edge: enforce, quorum 1 of 1",
        f"log      {URL}: answers",
        "spool    0 records wait for the log",
        "engine   cedar: well, as far as it was asked",
    ]


def test_no_part_is_named_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = told(monkeypatch, f"{URL}/readyz: refused", "cedar: the policies do not parse")
    assert f"log      {URL}: /readyz: refused" in lines
    assert "engine   cedar: the policies do not parse" in lines
    lines = told(monkeypatch, "no answer", "no answer in 1 s")
    assert f"log      {URL}: no answer" in lines


def test_a_word_that_only_begins_like_the_name_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "engine   cedar: cedars differ" in told(monkeypatch, None, "cedars differ")
