"""`muniment follow` as a process: against a log that behaves, is away, dies or lies."""

import asyncio
import json
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

import index_tools as tools
import processes
from logsim import POLICY_TEXT, LogSim, decision
from muniment.cli.exits import BAD_INPUT, CLEAN, INTERRUPTED, MISBEHAVIOUR, UNREACHABLE, UNVERIFIED
from muniment.tlog.encoding import frame
from waiting import until

SECONDS = 60


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "trust.policy").write_text(POLICY_TEXT)
    return tmp_path


@pytest.fixture
def sim() -> LogSim:
    sim = LogSim()
    sim.append([decision(number) for number in range(600)])
    return sim


@pytest.fixture
async def url(sim: LogSim) -> AsyncIterator[str]:
    async with sim.serve() as url:
        yield url


def follow(*arguments: str) -> list[str]:
    files = ("--policy", "trust.policy", "--replica", "replica.db")
    return processes.muniment("follow", *arguments, *files)


def started(place: Path, *arguments: str) -> AbstractAsyncContextManager[Process]:
    return processes.piped(follow(*arguments), place)


async def once(place: Path, *arguments: str, code: int = CLEAN) -> tuple[str, str]:
    done = await asyncio.to_thread(processes.run, follow("--once", *arguments), cwd=place)
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


def held(place: Path) -> list[bytes]:
    """What the replica shows."""
    with tools.reading(place / "replica.db") as reader:
        head = reader.head()
        return [] if head is None else list(reader.leaves(range(head.size)).values())


async def test_once(place: Path, sim: LogSim, url: str) -> None:
    out, told = await once(place, url)
    assert out == "log.example/sim: verified 601 entries, 601 new.\n"
    assert "replica.db: a new replica; the log's checkpoint is trusted on first use" in told
    sim.append([decision(number) for number in range(600, 650)])
    out, told = await once(place, url, "--json")
    assert "first use" not in told
    answer = json.loads(out)
    assert (answer["event"], answer["size"], answer["new"]) == ("followed", 652, 51)
    assert held(place) == sim.entries


async def test_running_it_follows_what_is_published(place: Path, sim: LogSim, url: str) -> None:
    async with started(place, url, "--interval", "0.1", "--json") as process:
        assert process.stdout is not None
        sizes = []
        for _ in range(3):
            line = await asyncio.wait_for(process.stdout.readline(), SECONDS)
            sizes.append(json.loads(line)["size"])
            sim.append([decision(number) for number in range(10)])
        process.terminate()
        assert await asyncio.wait_for(process.wait(), SECONDS) == CLEAN
    assert sizes == [601, 612, 623]


async def test_a_log_that_is_away_is_waited_for(place: Path, sim: LogSim, url: str) -> None:
    sim.overrides["checkpoint"] = 503
    arguments = "--interval", "0.1", "--json"
    async with started(place, url, *arguments) as process:
        line = json.loads(await asyncio.wait_for(process.stdout.readline(), SECONDS))
        assert (line["event"], line["kind"]) == ("trouble", "unreachable")
        sim.overrides.clear()
        while line["event"] == "trouble":
            line = json.loads(await asyncio.wait_for(process.stdout.readline(), SECONDS))
        assert line["size"] == 601


async def test_killed_at_any_moment_it_goes_on(place: Path, sim: LogSim, url: str) -> None:
    """kill -9 while it works; what is visible is always verified, and in the end complete."""
    sim.append([decision(number) for number in range(9_000)])
    sim.append([decision(number) for number in range(9_000)])
    served = 0
    for most in (20, 45, 75):
        async with started(place, url, "--once") as process:
            await until(
                lambda most=served + most, process=process: (
                    len(sim.reads) >= most or process.returncode is not None
                )
            )
            if process.returncode is None:
                process.kill()
            await process.wait()
        served = len(sim.reads)
        if (place / "replica.db").exists():
            assert held(place) in ([], sim.entries)
    await once(place, url)
    assert held(place) == sim.entries


async def test_a_deleted_replica_is_built_again(place: Path, sim: LogSim, url: str) -> None:
    await once(place, url)
    for name in ("replica.db", "replica.db-wal", "replica.db-shm"):
        (place / name).unlink(missing_ok=True)
    await once(place, url)
    assert held(place) == sim.entries


async def test_exit_codes(place: Path, sim: LogSim, url: str) -> None:
    path = "tile/entries/001"
    sim.overrides[path] = frame([*sim.entries[256:511], b"{}"])
    assert "the leaves give the root" in (await once(place, url, code=UNVERIFIED))[1]
    sim.overrides[path] = b"\x00\x09no"
    await once(place, url, code=UNVERIFIED)
    sim.overrides = {"checkpoint": 503}
    await once(place, url, code=UNREACHABLE)
    sim.overrides = {}
    await once(place, url)
    sim.frozen = sim.checkpoint(500)
    await once(place, url, code=UNVERIFIED)
    sim.frozen = sim.checkpoint(root=b"\x01" * 32)
    out, _ = await once(place, url, code=MISBEHAVIOUR)
    assert "same-size" in out
    sim.frozen = None
    answer = json.loads((await once(place, url, "--json", code=MISBEHAVIOUR))[0])
    assert (answer["event"], len(answer["notes"])) == ("misbehaviour", 2)
    await once(place, "http://127.0.0.1:9", code=MISBEHAVIOUR)
    (place / "replica.db").write_bytes(b"something else" * 400)
    await once(place, "http://127.0.0.1:9", code=BAD_INPUT)


async def test_interrupted_once(place: Path, sim: LogSim, url: str) -> None:
    sim.overrides["checkpoint"] = 503
    async with started(place, url, "--once") as process:
        await until(lambda: bool(sim.reads))
        process.terminate()
        assert await asyncio.wait_for(process.wait(), SECONDS) == INTERRUPTED


async def test_an_empty_file_is_no_new_replica(place: Path, url: str) -> None:
    (place / "replica.db").touch()
    _, told = await once(place, url, code=BAD_INPUT)
    assert "replica.db: empty (0 bytes), not a database" in told
    assert (place / "replica.db").stat().st_size == 0
