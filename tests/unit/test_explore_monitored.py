"""What a monitor told, on the overview: its word as that, and its checkpoint compared."""

import json
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from explore_tools import CLOCK, explored
from logsim import POLICY, LogSim, lines
from muniment.explore.monitored import STALE_SECONDS
from muniment.monitor.heads import LOG, HeadReader
from muniment.monitor.lastround import round_path, write_round
from muniment.monitor.report import Alarm, AlarmWeight, MonitorRound


def sim_of(count: int, start: int = 0) -> LogSim:
    sim = LogSim()
    for at in range(start, start + count, 100):
        sim.append(lines(min(100, start + count - at), at))
    return sim


def write(state: Path, sim: LogSim, size: int | None = None, **changes: Any) -> None:
    """Leaves what a monitor does that has seen a tree of a log."""
    data = sim.checkpoint(sim.size if size is None else size)
    state.write_bytes(data)
    [origin] = POLICY.origins
    head = HeadReader(POLICY, origin).read(LOG, data)
    told: dict[str, Any] = {
        "origin": origin,
        "time": CLOCK - 30,
        "parties": (LOG, "http://w.example"),
        "heads": {LOG: head},
        "compared": (),
        "agreeing": (),
        "alarms": (),
    }
    write_round(state, MonitorRound(**(told | changes)))


async def overview(sim: LogSim, folder: Path, state: Path | None) -> str:
    async with explored(sim, folder) as explorer, ClientSession() as session:
        explorer.site.beyond = explorer.site.beyond._replace(monitor=state)
        async with session.get(explorer.url) as answer:
            assert answer.status == 200
            return unescape(await answer.text())


async def test_a_round_is_shown_as_the_monitor_s_word(tmp_path: Path) -> None:
    sim, state = sim_of(700), tmp_path / "monitor.state"
    alarm = Alarm("behind", "http://w.example", "shows <5> leaves", AlarmWeight.UNVERIFIED)
    write(state, sim, 600, alarms=(alarm,))
    page = await overview(sim, tmp_path, state)
    assert "What the monitor says" in page
    assert "Its checkpoint of 600 leaves is of one history with this replica." in page
    assert "Monitor: http://w.example: shows <5> leaves" in page
    assert "1 alarm." in page
    assert "not compared, or not so" in page
    assert "nothing that verifies" in page


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "of 0 leaves is of one history"),
        (1, "of 1 leaves is of one history"),
        (256, "of 256 leaves is of one history"),
        (300, "of 300 leaves is of one history"),
    ],
)
async def test_its_checkpoint_is_compared_at_every_size(
    size: int, words: str, tmp_path: Path
) -> None:
    sim, state = sim_of(290), tmp_path / "monitor.state"
    write(state, sim, min(size, sim.size))
    page = await overview(sim, tmp_path, state)
    assert words.replace("300", f"{sim.size}") in page
    assert "Proven" not in page


async def test_another_history_is_said_to_be_proven(tmp_path: Path) -> None:
    sim, state = sim_of(400), tmp_path / "monitor.state"
    write(state, sim_of(300, 1000))
    page = await overview(sim, tmp_path, state)
    assert "Proven: its checkpoint of" in page
    assert "is signed by the log, and of another history" in page


async def test_what_cannot_be_read_or_is_old_is_an_alarm(tmp_path: Path) -> None:
    sim, state = sim_of(20), tmp_path / "monitor.state"
    page = await overview(sim, tmp_path, None)
    assert "What the monitor says" not in page
    page = await overview(sim, tmp_path, state)
    assert "What the monitor told last cannot be read" in page
    assert "The monitor's checkpoint cannot be used" in page
    write(state, sim_of(900), time=CLOCK - STALE_SECONDS - 1)
    page = await overview(sim, tmp_path, state)
    assert "The monitor has ended no round since" in page
    assert "more than this replica has now" in page
    write(state, sim, origin="other.example/log")
    assert "watches another log: other.example/log" in await overview(sim, tmp_path, state)
    for data in (b"", b"{}", b'{"origin": 1}', b"\xff", json.dumps([1]).encode()):
        round_path(state).write_bytes(data)
        page = await overview(sim, tmp_path, state)
        assert "What the monitor told last cannot be read: no round of a monitor" in page
