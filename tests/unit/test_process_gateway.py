"""A gateway that each process opens by itself: its folder, its opening, and opening it anew."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bench import yes
from logsim import GATEWAY_SIGNER, POLICY, LogSim
from muniment.errors import Denied, FormatError, InputError
from muniment.gateway import spoolfolder
from muniment.gateway.gateway import Gateway
from muniment.gateway.governed import governed
from muniment.gateway.process import ProcessGateway
from muniment.gateway.spoolfolder import SpoolFolder
from waiting import SECONDS

pytestmark = pytest.mark.usefixtures("fast_retries")


def made(url: str, path: Path, **options: Any) -> ProcessGateway:
    options = {"policy": POLICY, "decide": yes, "spools": path / "spools", **options}
    return ProcessGateway(url, GATEWAY_SIGNER, **options)


def called(gateway: ProcessGateway, once: str | None = None) -> str:
    with gateway.call("tool", agent="planner", timeout=20, once=once) as run:
        return run.result(run.execution)


async def test_it_opens_when_it_is_needed_and_closes_for_a_while(tmp_path: Path) -> None:
    sim = LogSim()
    async with sim.serve() as url, made(url, tmp_path) as gateway:
        assert not (tmp_path / "spools").exists()
        for _ in range(2):
            calls = [asyncio.to_thread(called, gateway) for _ in range(4)]
            await asyncio.gather(*calls)
            async with gateway.call("tool", agent="planner", timeout=20) as run:
                run.result(1)
            await asyncio.to_thread(gateway.close)
        assert len([*(tmp_path / "spools").glob("*.spool")]) == 1


async def test_it_governs_functions_of_either_kind(tmp_path: Path) -> None:
    sim = LogSim()
    async with sim.serve() as url, made(url, tmp_path) as gateway:
        rules: Any = {"decide": yes, "subject": {"type": "agent", "id": "planner"}}

        @governed(gateway, **rules)
        def plain(value: int) -> int:
            return value

        @governed(gateway, timeout=20, **rules)
        async def awaited(value: int) -> int:
            return value

        assert await asyncio.to_thread(plain, 1) == 1
        assert await awaited(2) == 2
        assert await asyncio.to_thread(lambda: asyncio.run(awaited(3))) == 3


async def test_several_at_once_have_streams_of_their_own(tmp_path: Path) -> None:
    sim = LogSim()
    async with sim.serve() as url, made(url, tmp_path) as one, made(url, tmp_path) as other:
        first = await asyncio.to_thread(called, one, "k")
        assert await asyncio.to_thread(called, other, "k") == first
        await asyncio.gather(*[asyncio.to_thread(called, each) for each in (one, other)])
    labels = {stream for _, stream in sim.streams}
    assert len(labels) == 4  # with those of the spools
    assert len({label.removesuffix(".spool") for label in labels}) == 2


async def test_another_writer_on_its_stream_costs_one_call(tmp_path: Path) -> None:
    sim = LogSim()
    async with sim.serve() as url, made(url, tmp_path) as gateway:
        await asyncio.to_thread(called, gateway)
        own = gateway.find()
        assert isinstance(own, Gateway)
        [label] = [label for _, label in sim.streams if not label.endswith(".spool")]
        name = (GATEWAY_SIGNER.vkey.name, label)
        sim.streams[name] = (sim.streams[name][0] + 5, b"x" * 32)
        with pytest.raises(Denied, match="does another process write"):
            await asyncio.to_thread(called, gateway)
        await asyncio.to_thread(called, gateway)
        assert gateway.find() is not own


async def test_a_policy_that_is_slow_to_come_is_no_reason_to_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # After the usual half a second, a call on a busy machine would ask the log again.
    monkeypatch.setattr("muniment.gateway.breaker.FIRST_PAUSE", SECONDS)
    gateway = made("http://127.0.0.1:1", tmp_path)
    with pytest.raises(Denied) as caught:
        await asyncio.to_thread(called, gateway)
    assert caught.value.codes == ("governance_mesh_discontinuity",)
    with pytest.raises(Denied, match="has been away"):
        async with gateway.call("tool", agent="planner"):
            raise AssertionError
    gateway.close()


def test_names_and_folders_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FormatError, match="label"):
        made("http://127.0.0.1:1", tmp_path, stream="a b")
    with pytest.raises(ValueError, match="window"):
        made("http://127.0.0.1:1", tmp_path, window=0)
    folder = SpoolFolder(tmp_path / "a" / "b", "edge")
    [first, second, *_] = folder.free()
    assert first[0].startswith("edge-")
    assert first[0].rpartition("-")[0] == second[0].rpartition("-")[0]
    assert next(SpoolFolder(tmp_path / "a" / "b", "edge").free()) == first
    (tmp_path / "a" / "b" / "mark").write_text("nonsense")
    with pytest.raises(InputError, match="damaged"):
        next(folder.free())
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError):
        next(SpoolFolder(tmp_path / "file", "edge").free())
    monkeypatch.setattr(spoolfolder, "MAX_SPOOLS", 3)
    assert len([*SpoolFolder(tmp_path / "c", "edge").free()]) == 3
