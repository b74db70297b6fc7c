"""A replica takes addenda along when it is told to, and obeys erasures."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from commands import online
from logsim import GATEWAY, POLICY, LogSim
from muniment.errors import BadAnswer, Refused
from muniment.index.addenda import AddendaRound
from muniment.index.reader import IndexReader
from muniment.index.replica import Watched, follow_once
from muniment.local.sqlitefile import open_reader
from muniment.records.commitments import addendum
from withheld_log import content, digest, erase, log, secret, withholding

pytestmark = pytest.mark.usefixtures("impatient")


def log_of(count: int) -> LogSim:
    sim = LogSim()
    log(sim, *range(count))
    return sim


async def follow(sim: LogSim, path: Path, *, addenda: bool = True) -> AddendaRound:
    async with sim.serve() as url:
        watched = Watched(url, POLICY, addenda=addenda)
        return (await follow_once(watched, path, progress=lambda _done, _total: None)).taken


def held(path: Path) -> set[int]:
    with IndexReader(path) as reader:
        found = reader.addenda(digest(number) for number in range(1000))
    numbers = {digest(number): number for number in range(1000)}
    assert all(data == content(numbers[one]) for one, data in found.items())
    return {numbers[one] for one in found}


def traces(path: Path, number: int) -> list[str]:
    """The files of a replica in which something of a secret is left."""
    needle = secret(number)[:24]
    return [one.name for one in path.parent.iterdir() if needle in one.read_bytes()]


async def test_nothing_is_taken_along_unless_it_is_told(tmp_path: Path) -> None:
    sim, path = log_of(3), tmp_path / "replica.db"
    assert await follow(sim, path, addenda=False) == AddendaRound()
    assert held(path) == set()
    assert not [one for one in sim.reads if one.startswith("addenda/")]
    assert await follow(sim, path) == AddendaRound(new=3)  # what the leaves of before name, too
    assert held(path) == {0, 1, 2}


async def test_a_replica_goes_on_where_it_was_and_takes_what_is_there(tmp_path: Path) -> None:
    sim, path = log_of(600), tmp_path / "replica.db"
    del sim.addenda[digest(7)]
    assert await follow(sim, path) == AddendaRound(new=599, absent=1)
    sim.append([withholding(number) for number in range(600, 610)])
    sim.addenda |= {digest(number): content(number) for number in range(600, 610)}
    sim.reads.clear()
    assert await follow(sim, path) == AddendaRound(new=10)
    assert len([one for one in sim.reads if one.startswith("addenda/")]) == 10
    assert held(path) == {*range(610)} - {7}
    assert await follow(sim, path) == AddendaRound()


async def test_what_comes_with_a_later_retry_is_taken_along(tmp_path: Path) -> None:
    sim, path = log_of(4), tmp_path / "replica.db"
    late = [sim.addenda.pop(digest(number)) for number in (1, 2, 3)]
    assert await follow(sim, path) == AddendaRound(new=1, absent=3)
    sim.addenda[digest(1)] = late[0]
    assert await follow(sim, path) == AddendaRound()  # not yet
    _make_due(path)
    assert await follow(sim, path) == AddendaRound(new=1)
    assert held(path) == {0, 1}
    erase(sim, 2)
    assert await follow(sim, path) == AddendaRound()
    sim.addenda |= {digest(number): content(number) for number in (2, 3)}
    _make_due(path)
    assert await follow(sim, path, addenda=False) == AddendaRound()
    assert await follow(sim, path) == AddendaRound(new=1)
    assert held(path) == {0, 1, 3}
    assert _absent(path) == []


async def test_what_is_absent_is_asked_for_less_and_less(tmp_path: Path) -> None:
    sim, path = log_of(1), tmp_path / "replica.db"
    sim.addenda.clear()
    pauses = []
    for _ in range(13):
        await follow(sim, path)
        [(_, pause)] = _absent(path)
        pauses.append(pause)
        _make_due(path)
    assert pauses[:3] == [60, 120, 240]
    assert pauses[-2:] == [86_400, 86_400]


def _absent(path: Path) -> list[tuple[str, int]]:
    with closing(open_reader(path)) as db:
        return db.execute("SELECT digest, pause FROM absent").fetchall()


def _make_due(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE absent SET again = 0")
        db.commit()


@pytest.mark.parametrize("still_takes", [True, False])
async def test_an_erasure_removes_the_bytes_from_the_file(
    tmp_path: Path, *, still_takes: bool
) -> None:
    sim, path = log_of(20), tmp_path / "replica.db"
    await follow(sim, path)
    assert traces(path, 3)
    erase(sim, 3, 4)
    assert await follow(sim, path, addenda=still_takes) == AddendaRound(erased=2)
    assert held(path) == {*range(20)} - {3, 4}
    assert (traces(path, 3), traces(path, 4)) == ([], [])
    assert traces(path, 5)


async def test_only_who_may_erase_does(tmp_path: Path) -> None:
    sim, path = log_of(4), tmp_path / "replica.db"
    await follow(sim, path)
    erase(sim, 0, producer="other.example/gw")
    erase(sim, 1, producer=GATEWAY)
    assert await follow(sim, path) == AddendaRound(erased=1)
    assert held(path) == {0, 2, 3}


async def test_what_was_erased_while_somebody_read_is_wiped_later(tmp_path: Path) -> None:
    sim, path = log_of(20), tmp_path / "replica.db"
    await follow(sim, path)
    reader = open_reader(path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM addendum").fetchone()
    erase(sim, 3)
    await follow(sim, path)
    assert held(path) == {*range(20)} - {3}
    reader.execute("COMMIT")
    reader.close()
    await follow(sim, path)
    assert traces(path, 3) == []


async def test_what_is_not_given_out_or_is_something_else_is_said(tmp_path: Path) -> None:
    sim, path = log_of(3), tmp_path / "replica.db"
    refused = digest(1)
    where = f"addenda/{refused[:2]}/{refused[2:4]}/{refused}"
    sim.overrides[where] = 403
    with pytest.raises(Refused, match="403"):
        await follow(sim, path)
    sim.overrides[where] = b"forged"
    with pytest.raises(BadAnswer, match="other bytes"):
        await follow(sim, path)
    sim.overrides.clear()
    await follow(sim, path)
    assert held(path) == {0, 1, 2}


async def test_a_replica_of_before_has_none_and_is_brought_up_to_date(tmp_path: Path) -> None:
    sim, path = log_of(3), tmp_path / "replica.db"
    await follow(sim, path, addenda=False)
    _take_away(path)
    assert held(path) == set()
    assert await follow(sim, path) == AddendaRound(new=3)


def _take_away(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.executescript("DROP TABLE addendum; DROP TABLE addenda; PRAGMA user_version = 3")
    db.close()


async def test_commands_show_what_the_replica_has(tmp_path: Path) -> None:
    sim, path = log_of(2), tmp_path / "replica.db"
    replica = ("--replica", str(path))
    await follow(sim, path)
    erase(sim, 1)
    await follow(sim, path)
    find = ("find", *replica, "--subject", "agent:agent-1")
    lines = (await online(*find, "--disclose", "--json")).stdout.splitlines()
    shown = [json.loads(line)["disclosed"] for line in lines]
    assert shown == [{"/request/context": secret(0).decode()}, {}]
    assert "disclosed" not in (await online(*find, "--json")).stdout
    await online(*find, "--disclose", code=2)
    trace = ("lineage", "trace", "run-0", *replica)
    assert "  withheld   /request/context" in (await online(*trace)).stdout
    assert "  disclosed  /request/context" in (await online(*trace, "--disclose")).stdout
    with sqlite3.connect(path) as db:
        other = addendum("0" * 32, "something else")
        db.execute("UPDATE addendum SET data = ?", (other,))
    db.close()
    for command in ((*find, "--json"), trace):
        done = await online(*command, "--disclose", code=7)
        assert f"other bytes than those of addendum {digest(0)}" in done.stderr
