"""Readers whose head comes from one copy of a log and whose tiles come from one that is behind."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web
from click.testing import CliRunner, Result

import logsim
from auditing import PLAIN, audit
from logsim import NOW, POLICY, POLICY_TEXT, LogSim, decision
from muniment.audit.auditor import AuditOptions, audit_log
from muniment.audit.report import Verdict
from muniment.cli import cli
from muniment.errors import Refused, Unreachable, VerificationError
from muniment.http.logclient import LogClient
from muniment.index.replica import Watched, follow_once
from muniment.tlog.encoding import FormatError
from muniment.tlog.tiles import ENTRIES, Tile, parse_tile_path

# Commands give up in the middle of connecting here, beside the server that accepts them: on a busy
# machine aiohttp's test server has lost sight of such a connection, and of it alone.
pytestmark = [
    pytest.mark.usefixtures("impatient"),
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <(function _SelectorTransport.__del__|socket.socket fd)"
        ":pytest.PytestUnraisableExceptionWarning"
    ),
]


@dataclass
class Copies(LogSim):
    """Shows the newest head; its tiles are those of a copy that is behind, for so many answers."""

    behind: int = 300
    answers: int = 1_000_000
    says_so: bool = True
    shows: str = "tiles"

    async def read_path(self, request: web.Request) -> web.Response:
        path = request.rel_url.raw_path.lstrip("/")
        if self.answers and path == "checkpoint" and self.shows == "head":
            self.answers -= 1
            return web.Response(body=self.checkpoint(self.behind))
        try:
            is_late = self.shows == "tiles" and parse_tile_path(path).end > self.behind
        except FormatError:
            is_late = False
        if self.answers and is_late:
            self.answers -= 1
            if not self.says_so:
                return web.Response(status=404, text="<html>Not Found</html>")
            return logsim.problem(404, "not-published-yet", published=self.behind)
        return await super().read_path(request)


def copies(**how: object) -> Copies:
    sim = Copies(**how)  # type: ignore[arg-type]
    for batch in range(7):
        sim.append([decision(batch * 99 + k) for k in range(99)])
    return sim


async def run(*arguments: str) -> Result:
    """A command beside the log, which runs on this loop."""
    return await asyncio.to_thread(CliRunner().invoke, cli, arguments)


@pytest.mark.parametrize("says_so", [True, False])
@pytest.mark.parametrize("behind", [1, 256, 300, 512, 699])
async def test_a_moment_behind_is_waited_for(says_so: bool, behind: int, tmp_path: Path) -> None:
    outcome = await audit(copies(answers=5, says_so=says_so, behind=behind), options=PLAIN)
    assert outcome.report.verdict is Verdict.CLEAN, outcome.report.findings
    sim = copies(answers=3, says_so=says_so, behind=behind)
    async with sim.serve() as url:
        watched = Watched(url, POLICY)
        done = await follow_once(watched, tmp_path / "replica", progress=lambda *_: None)
    assert done.checkpoint.size == 700


@pytest.mark.parametrize("says_so", [True, False])
async def test_one_that_stays_behind_cannot_be_reached(says_so: bool, tmp_path: Path) -> None:
    sim = copies(says_so=says_so)
    with pytest.raises(Unreachable, match="behind"):
        await audit(sim, options=PLAIN)
    async with sim.serve() as url:
        with pytest.raises(Unreachable, match="behind"):
            await follow_once(Watched(url, POLICY), tmp_path / "r", progress=lambda *_: None)
        policy = tmp_path / "policy"
        policy.write_text(POLICY_TEXT)
        for command in (
            ("audit", "--log", url, "--policy", str(policy)),
            ("prove", "--log", url, "--index", "650", "--out", str(tmp_path / "p")),
            ("lineage", "trace", "run-1", "--log", url, "--policy", str(policy)),
        ):
            done = await run(*command)
            assert done.exit_code == 3, (command, done.output)
            assert "behind" in done.output
            assert "does not serve" not in done.output


async def test_a_part_that_is_missing_between_others_is_told_from_a_copy_behind() -> None:
    sim = copies(answers=0)
    sim.overrides[Tile(ENTRIES, 1).path] = 404
    outcome = await audit(sim, options=PLAIN)
    [finding] = outcome.report.findings
    assert (finding.kind, outcome.report.verdict) == ("missing", Verdict.UNVERIFIED)
    async with sim.serve() as url, LogClient(url) as client:
        await client.checkpoint()
        with pytest.raises(Refused):
            await client.tile(Tile(ENTRIES, 1))


async def test_a_head_that_is_behind_is_asked_for_again(tmp_path: Path) -> None:
    sim = copies(answers=0, shows="head")
    state = (await audit(sim, options=PLAIN)).state
    sim.append([decision(1)])
    sim.behind, sim.answers = 300, 3
    async with sim.serve() as url, LogClient(url) as client:
        outcome = await audit_log(client, AuditOptions(POLICY), state, now=NOW)
        assert outcome.report.verdict is Verdict.CLEAN
        sim.answers = 4
        outcome = await audit_log(client, AuditOptions(POLICY), outcome.state, now=NOW)
        assert [finding.kind for finding in outcome.report.findings] == ["stale"]
        watched, replica = Watched(url, POLICY), tmp_path / "replica"
        for sim.answers in (0, 3):
            done = await follow_once(watched, replica, progress=lambda *_: None)
            assert done.checkpoint.size == 702
        sim.answers = 3
        done = await run("prove", "--log", url, "--index", "650", "--out", str(tmp_path / "p"))
        assert done.exit_code == 0, done.output


async def test_a_head_of_nobody_is_no_reason_to_wait() -> None:
    sim = copies()
    async with sim.serve() as url, LogClient(url) as client:
        with pytest.raises(Refused):
            await client.tile(Tile(0, 2, 188))


async def test_damage_that_the_log_admits_is_not_verified(tmp_path: Path) -> None:
    sim = copies(answers=0)
    for path in (Tile(ENTRIES, 1).path, Tile(0, 1).path):
        sim.damaged = {path}
        outcome = await audit(sim, options=PLAIN)
        assert [finding.kind for finding in outcome.report.findings] == ["damaged"]
        assert outcome.report.verdict is Verdict.UNVERIFIED
    async with sim.serve() as url:
        done = await run("prove", "--log", url, "--index", "300", "--out", str(tmp_path / "p"))
        assert (done.exit_code, "damaged" in done.output) == (4, True), done.output
        sim.damaged = {Tile(ENTRIES, 1).path}
        with pytest.raises(VerificationError, match="damaged"):
            await follow_once(Watched(url, POLICY), tmp_path / "r", progress=lambda *_: None)
