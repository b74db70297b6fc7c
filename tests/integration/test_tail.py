"""`muniment tail`: against a log that grows, is away, lies; and beside a replica's follower."""

import asyncio
import json
from asyncio.subprocess import Process
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

import index_tools
import processes
from commands import muniment, online
from export_tools import telling_entries
from logsim import POLICY_TEXT, LogSim, decision
from muniment.cli.exits import MISBEHAVIOUR, UNREACHABLE, UNVERIFIED
from muniment.tlog.encoding import frame


@pytest.fixture
def policy(tmp_path: Path) -> str:
    path = tmp_path / "trust.policy"
    path.write_text(POLICY_TEXT)
    return str(path)


@pytest.fixture
def sim() -> LogSim:
    sim = LogSim()
    sim.append([decision(number, decision=number % 3 > 0) for number in range(600)])
    return sim


def tailing(*arguments: str) -> AbstractAsyncContextManager[Process]:
    return processes.piped(processes.muniment("tail", "--interval", "0.1", *arguments))


async def shown(process: asyncio.subprocess.Process, count: int) -> list[int]:
    """The next indices that it shows as JSON."""
    assert process.stdout is not None
    return [json.loads(await process.stdout.readline())["index"] for _ in range(count)]


async def test_what_is_there_and_then_what_comes(sim: LogSim, policy: str) -> None:
    async with (
        sim.serve() as url,
        tailing("--log", url, "--policy", policy, "--last", "300", "--json") as process,
    ):
        newest = len(sim.entries)
        assert await shown(process, 299) == list(
            range(newest - 300, newest - 1)
        )  # a manifest is last
        sim.append([decision(number) for number in range(600, 603)])
        assert await shown(process, 3) == [newest, newest + 1, newest + 2]
        process.terminate()
        assert await process.wait() == 0


async def test_a_log_that_was_away_is_gone_on_with(sim: LogSim, policy: str) -> None:
    async with (
        sim.serve() as url,
        tailing("--log", url, "--policy", policy, "--last", "2", "--json") as process,
    ):
        assert await shown(process, 1) == [599]
        sim.overrides["checkpoint"] = 503
        assert b"trying again" in await process.stderr.readline()
        sim.append([decision(700)])
        del sim.overrides["checkpoint"]
        assert await shown(process, 1) == [601]


async def test_what_cannot_be_verified_is_not_shown(sim: LogSim, policy: str) -> None:
    common = ("tail", "--once", "--json", "--policy", policy)
    async with sim.serve() as url:
        whole = await online(*common, "--last", "400", "--log", url)
        assert whole.stdout.count("\n") == 399
        bundle = frame([decision(1000 + number) for number in range(256)])
        sim.overrides["tile/entries/001"] = bundle
        spoiled = await online(*common, "--last", "400", "--log", url, code=UNVERIFIED)
        assert spoiled.stdout == ""
    await online(*common, "--log", "http://127.0.0.1:9", code=UNREACHABLE)


async def test_two_histories_end_it(sim: LogSim, policy: str) -> None:
    async with (
        sim.serve() as url,
        tailing("--log", url, "--policy", policy, "--last", "2", "--json") as process,
    ):
        assert await shown(process, 1) == [599]
        other = LogSim()
        other.append([decision(number) for number in range(700)])
        sim.entries = other.entries
        assert await process.wait() == MISBEHAVIOUR
        assert b"PROVEN: fork" in await process.stderr.read()


async def test_a_replica_that_somebody_else_keeps(tmp_path: Path) -> None:
    path = tmp_path / "replica.db"
    source = index_tools.MemorySource([decision(number) for number in range(300)], size=20)
    await index_tools.follow(path, source)
    async with tailing("--replica", str(path), "--json") as process:
        assert await shown(process, 10) == list(range(10, 20))
        source.size = 300
        await index_tools.follow(path, source)
        assert await shown(process, 280) == list(range(20, 300))


@pytest.fixture(scope="module")
def telling(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("tail") / "replica.db"
    asyncio.run(index_tools.follow(path, index_tools.MemorySource(telling_entries())))
    return str(path)


@pytest.mark.parametrize(
    ("options", "indices"),
    [
        (["--denied", "--producer", "gw.example/edge"], [1]),
        (["--code", "policy_mismatch"], [1]),
        (["--subject", "user:ada ü\u202e"], [0]),
        (["--run", "run-1"], [0]),
        (["--id", "call"], [0]),
        (["--trace", "0AF7651916CD43DD8448EB211C80319C"], [0]),
        (["--trace", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"], [0]),
        (["--policy-id", "p", "--action", "call", "--allowed"], [2]),
        (["--policy-id", "q"], []),
        (["--kind", "erasure", "--since", "2027-01-01T00:00:00Z"], []),
    ],
    ids=str,
)
def test_what_is_looked_for_is_shown_and_found(
    telling: str, options: list[str], indices: list[int]
) -> None:
    done = muniment("tail", "--once", "--json", "--last", "1000", "--replica", telling, *options)
    assert [json.loads(line)["index"] for line in done.stdout.splitlines()] == indices
    if "--kind" not in options:
        found = muniment("find", "--json", "--replica", telling, *options)
        assert [json.loads(line)["index"] for line in found.stdout.splitlines()] == indices


def test_kinds_are_shown_in_words_and_escaped(telling: str) -> None:
    done = muniment("tail", "--once", "--last", "1000", "--replica", telling)
    lines = done.stdout.splitlines()
    assert lines[0].endswith(
        r"gw.example/edge: allow user ada \xfc\u202e call tool tool-0, run run-1"
    )
    denied = ": deny agent agent-1 call tool tool-1 (denied_by_policy, policy_mismatch)"
    assert lines[1].endswith(denied)
    assert lines[3].endswith(": erasure of 1 addenda, by operator")
    assert lines[4].endswith(": completed run run-1")
    for word in ("edge", "verification", "revocation"):
        assert any(f": {word} " in line for line in lines)
    assert any(": approved by" in line or ": declined by" in line for line in lines)
    assert "\x1b" not in done.stdout  # no terminal
    kinds = muniment("tail", "--once", "--last", "1000", "--replica", telling, "--kind", "erasure")
    assert ": erasure of 1 addenda" in kinds.stdout
    assert ": allow" not in kinds.stdout


def test_colours_are_for_terminals(telling: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    from muniment.cli import cli

    arguments = ["tail", "--once", "--last", "1000", "--replica", telling]
    shown = CliRunner().invoke(cli, arguments, color=True)
    assert "\x1b[31mdeny\x1b[0m" in shown.stdout
    assert "\x1b[32mallow\x1b[0m" in shown.stdout
    monkeypatch.setenv("NO_COLOR", "1")
    plain = CliRunner().invoke(cli, arguments, color=True)
    assert "\x1b" not in plain.stdout


def test_what_cannot_be_meant_is_refused(telling: str, policy: str) -> None:
    for arguments in (
        [],
        ["--log", "http://127.0.0.1:9"],
        ["--replica", telling, "--policy", policy],
        ["--replica", telling, "--trace", "abc"],
        ["--replica", telling, "--subject", "ada"],
        ["--replica", telling, "--code", "whatever"],
    ):
        muniment("tail", "--once", *arguments, code=2)
    muniment("tail", "--once", "--replica", f"{telling}.none", code=7)
