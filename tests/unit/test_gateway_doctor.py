"""What `doctor` says of the gateway's key by how the log answers a trial of it."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from logsim import GATEWAY, GATEWAY_SIGNER, ORIGIN, LogSim
from muniment.http.logclient import LogClient
from muniment_gateway.app import doctor


async def said(sim: LogSim) -> str:
    file = SimpleNamespace(name=GATEWAY, stream="default")
    config = SimpleNamespace(file=file, origin=ORIGIN, signer=GATEWAY_SIGNER)
    async with sim.serve() as url, LogClient(url) as client:
        return (await doctor._key(cast(Any, config), client)).wrong  # noqa: SLF001 - one of many


@pytest.mark.parametrize("slug", ["bad-signature", "unknown-gateway"])
async def test_a_key_that_the_log_does_not_take_is_to_be_added(slug: str) -> None:
    sim = LogSim()
    sim.script.append((403, slug))
    assert f'add [[gateway]] vkey = "{GATEWAY_SIGNER.vkey}"' in await said(sim)


@pytest.mark.parametrize(("status", "slug"), [(429, "too-many"), (503, "overloaded")])
async def test_a_log_that_takes_nothing_now_says_nothing_of_the_key(status: int, slug: str) -> None:
    sim = LogSim()
    sim.script.append((status, slug))
    wrong = await said(sim)
    assert slug in wrong
    assert "[[gateway]]" not in wrong


async def test_a_key_that_the_log_takes_leaves_nothing_behind() -> None:
    sim = LogSim()
    assert not await said(sim)
    assert sim.posts == 1
    assert not sim.entries


def running(monkeypatch: pytest.MonkeyPatch, folder: Path, **told: Any) -> doctor.DoctorCheck:
    """What is said of a running gateway whose status tells this of its configuration."""
    known = {"since": "2026-01-01T00:00:00+00:00", "refused": None, **told}

    def ask(_path: Path, _method: str, _target: str) -> dict[str, Any]:
        return {"log": {"away": None}, "mode": "enforce", "configuration": known}

    monkeypatch.setattr(doctor.unixsocket, "ask", ask)
    file = SimpleNamespace(admin=folder / "admin.sock", policy=folder / "trust.policy")
    config = SimpleNamespace(path=folder / "gateway.toml", file=file)
    check = doctor._running(cast(Any, config))  # noqa: SLF001
    assert check is not None
    return check


def test_a_policy_that_is_newer_than_what_runs_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    since = 1_767_225_600  # 2026-01-01
    for name in ("gateway.toml", "trust.policy"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (since, since + 0.9))
    assert running(monkeypatch, tmp_path) == ("gateway", "", "runs, enforce")
    os.utime(tmp_path / "trust.policy", (since, since + 1))
    check = running(monkeypatch, tmp_path)
    assert not check.wrong
    assert "does not know yet what is new in trust.policy: a policy takes a restart" in check.seen
    (tmp_path / "trust.policy").unlink()
    assert running(monkeypatch, tmp_path) == ("gateway", "", "runs, enforce")


def test_a_refused_reload_is_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    refused = {"at": "2026-01-02T00:00:00+00:00", "reason": "policy: has changed"}
    check = running(monkeypatch, tmp_path, refused=refused)
    assert check.wrong == "runs as before its last reload: policy: has changed"
