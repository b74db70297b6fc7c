"""Finding in the explorer: all that a naive look at every leaf finds, and nothing else."""

import json
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlencode

import pytest
from aiohttp import ClientSession

import index_tools
from decisions import request
from explore_tools import explored, exploring, reach
from logsim import GATEWAY, NOW, LogSim, decision
from muniment.explore import table as explore_table
from muniment.explore.counting import CODES, count
from muniment.explore.searching import parse_search, search
from muniment.explore.table import SUFFIX, TableReader
from muniment.records.api import Decision, parse_record
from muniment.records.codec import parse_leaves
from muniment.tlog.encoding import FormatError
from muniment.tlog.merkle import leaf_hashes, root_of

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e47{:02x}-00f067aa0ba902b7-01"
POLICY = {"id": "pol-{}", "revision": "1", "digest": "sha256:" + "ab" * 32}


def make(random: Random, number: int) -> bytes:
    allowed = random.random() < 0.7
    value: dict[str, Any] = {
        "v": 1,
        "kind": "decision",
        "id": f"d-{number}",
        "time": NOW * 1000 + random.randrange(100) * 60_000,
        "producer": GATEWAY,
        "request": request(
            f"a{random.randrange(4)}",
            random.choice(["call", "read"]),
            ("tool", f"t{random.randrange(5)}"),
        ),
        "response": {"decision": allowed},
    }
    if random.random() < 0.3:
        value["traceparent"] = TRACE.format(random.randrange(3) + 1)
    if random.random() < 0.5:
        value["execution"] = f"r-{random.randrange(9)}"
    if not allowed and random.random() < 0.8:
        value["denial"] = {"codes": random.sample(CODES, random.randrange(1, 3))}
    if random.random() < 0.4:
        policy = {**POLICY, "id": f"pol-{random.randrange(2)}"}
        policy |= {"revision": f"r{random.randrange(2)}"}
        policy |= {"digest": "sha256:" + f"{random.randrange(2):02x}" * 32}
        value["artifact"] = {
            "scope": {"actions": ["call"], "resources": [{"type": "tool"}]},
            "policy": policy,
            "validity": {"not_before": NOW, "not_after": NOW + 60},
            "attribution": {"authority": random.choice(["ada", "bob"])},
        }
    if random.random() < 0.4:
        # Digests are as good as unique, and these are not: what has the same is found, too.
        digest = f"{random.randrange(20):02x}" * 32
        value["addenda"] = {"/request/context/arguments": digest}
        value["request"]["context"] = {}
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def queries(random: Random) -> Iterator[dict[str, str]]:
    options = {
        "subject": lambda: f"agent:a{random.randrange(5)}",
        "action": lambda: random.choice(["call", "read", "x"]),
        "resource": lambda: f"tool:t{random.randrange(6)}",
        "producer": lambda: random.choice([GATEWAY, "other.example"]),
        "answer": lambda: random.choice(["allow", "deny"]),
        "code": lambda: random.choice(CODES),
        "revision": lambda: f"r{random.randrange(3)}",
        "digest": lambda: "sha256:" + f"{random.randrange(3):02x}" * 32,
        "authority": lambda: random.choice(["ada", "bob", "eve"]),
        "addendum": lambda: f"{random.randrange(22):02x}" * 32,
        "policy": lambda: f"pol-{random.randrange(3)}",
        "since": lambda: str(NOW + random.randrange(100) * 60),
        "until": lambda: str(NOW + random.randrange(100) * 60),
        "trace": lambda: TRACE.format(random.randrange(4)),
        "run": lambda: f"r-{random.randrange(10)}",
        "id": lambda: f"d-{random.randrange(700)}",
    }
    for _ in range(150):
        names = random.sample(sorted(options), random.choice([0, 1, 1, 2, 3]))
        yield {name: options[name]() for name in names}


@pytest.mark.parametrize("rare", [1, 64])  # 1: every code is
async def test_all_that_matches_is_found(
    rare: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explore_table, "RARE", rare)
    monkeypatch.setattr(explore_table, "WINDOW", 64)
    monkeypatch.setattr(explore_table, "MAX_WINDOWS", 3)
    random = Random(17)
    sim = LogSim()
    for start in range(0, 600, 100):
        sim.append([make(random, start + number) for number in range(100)])
    records = [
        (index, record)
        for index, record in enumerate(parse_leaves(sim.entries))
        if isinstance(record, Decision)
    ]
    async with explored(sim, tmp_path) as explorer:
        for given in queries(random):
            wanted = parse_search(given)
            expected = [index for index, record in records if wanted.finds(record)][::-1]
            found: list[int] = []
            before: int | None = None
            while True:
                results = await explorer.site.look(
                    partial(search, wanted=wanted, before=before, limit=7)
                )
                assert len(results.found) <= 7
                found += [one.index for one in results.found]
                before = results.before
                if before is None:
                    break
            assert found == expected, given
        # The same over HTTP, all of it as lines.
        async with ClientSession() as session:
            given = {"subject": "agent:a1", "answer": "deny"}
            async with session.get(f"{explorer.url}find.jsonl?{urlencode(given)}") as answer:
                lines = [json.loads(line) for line in (await answer.text()).splitlines()]
        wanted = parse_search(given)
        assert [one["index"] for one in lines] == [
            index for index, record in reversed(records) if wanted.finds(record)
        ]
        assert all(
            parse_record(json.dumps(one["record"], sort_keys=True, separators=(",", ":")).encode())
            for one in lines[:5]
        )


async def test_each_search_has_a_url_and_pages(tmp_path: Path) -> None:
    sim = LogSim()
    sim.append([decision(number, decision=number % 3 > 0) for number in range(150)])
    async with explored(sim, tmp_path) as explorer, ClientSession() as session:
        url = f"{explorer.url}find?answer=deny"
        async with session.get(url) as answer:
            text = await answer.text()
        assert text.count('data-name="Leaf"') == 50
        assert "/decision/147" in text
        assert "/find.jsonl?answer=deny" in text
        assert "before=" not in text  # 50 of 50: there are no older ones
        async with session.get(f"{explorer.url}find") as answer:
            text = await answer.text()
        assert "/find?before=100" in text
        for wrong, words in (
            ("subject=planner", "subject: expected TYPE:ID"),
            ("since=yesterday", "since: "),
            ("trace=1", "trace: expected 32"),
            ("answer=maybe", "expected allow or deny"),
        ):
            async with session.get(f"{explorer.url}find?{wrong}") as answer:
                assert words in await answer.text()
            async with session.get(f"{explorer.url}find.jsonl?{wrong}") as answer:
                assert answer.status == 400
        async with session.get(f"{explorer.url}find?leaf=7", allow_redirects=False) as answer:
            assert answer.headers["Location"] == "/decision/7"
        for odd in ("before=" + "9" * 5000, f"since={'9' * 30}", "until=9999999999999", "leaf=-1"):
            async with session.get(f"{explorer.url}find?{odd}") as answer:
                assert answer.status == 200, odd
        async with session.get(f"{explorer.url}find?code=%00&id=%F0%9F%98%80") as answer:
            assert "None found" in await answer.text()


async def test_the_file_is_made_anew_for_another_log(tmp_path: Path) -> None:
    """A replica that was deleted and made of another history, at least as long."""
    replica = tmp_path / "replica"
    for salt in (0, 1000):
        sim = LogSim()
        sim.append([decision(salt + number) for number in range(300 + salt // 100)])
        async with sim.serve() as url, exploring(url, replica) as explorer:
            await reach(explorer, sim.size)
            results = await explorer.site.look(
                lambda reader, table: search(reader, table, parse_search({}), None)
            )
            assert results.found[0].record.id == f"d-{salt + 299 + salt // 100}"
        forget(replica)
    with closing(TableReader(tmp_path / f"replica{SUFFIX}")) as table:
        assert table.size() == sim.size
        assert table.kinds() == {"decision": 310, "manifest": 1}


def forget(replica: Path) -> None:
    for file in replica.parent.glob("replica*"):
        if SUFFIX not in file.name:
            file.unlink()


async def test_it_counts_alike_however_the_log_has_grown(tmp_path: Path) -> None:
    sim = LogSim()
    random = Random(3)
    (tmp_path / "one").mkdir()
    async with explored(sim_of(sim, random, 1), tmp_path / "one") as explorer:
        for _ in range(8):
            sim_of(sim, random, random.choice([1, 30, 255, 256, 300]))
            await reach(explorer, sim.size)
    (tmp_path / "two").mkdir()
    async with explored(sim, tmp_path / "two"):
        pass
    seen = []
    for name in ("one", "two"):
        with closing(TableReader(tmp_path / name / f"replica{SUFFIX}")) as table:
            seen.append(
                (
                    *(table.kinds(), table.gateways(), table.streams(), table.askers(99)),
                    *(table.answers(), table.hours(0, 1 << 40), table.roots(0, 99)),
                )
            )
    assert seen[0] == seen[1]
    full = len(sim.entries) // 256
    assert seen[0][-1] == [
        root_of(leaf_hashes(sim.entries[at * 256 : (at + 1) * 256])) for at in range(full)
    ]


def sim_of(sim: LogSim, random: Random, records: int) -> LogSim:
    sim.append([make(random, len(sim.entries) + number) for number in range(records)])
    return sim


def test_what_no_honest_log_has_is_counted_as_other() -> None:
    entries = index_tools.make_entries(Random(5), 300)
    counted = count(entries, 0)
    records = parse_leaves(entries)
    assert sum(counted.kinds.values()) == len(entries)
    assert counted.kinds["decision"] == len(counted.rows)
    assert sum(isinstance(one, Decision) for one in records) == len(counted.rows)
    assert sum(counted.tally.values()) == len(counted.rows)


def test_gaps_of_streams_are_counted() -> None:
    sim = LogSim()
    for at in range(4):
        sim.append([decision(at * 10 + number) for number in range(10)])
    kept = [*sim.entries[:11], *sim.entries[22:], *sim.entries[11:22]]
    stream = count(kept, 0).streams[GATEWAY, "default"]
    assert (stream.first, stream.next, stream.missing, stream.again) == (0, 40, 10, 1)


def test_a_parameter_that_is_wrong_is_named() -> None:
    with pytest.raises(FormatError, match=r"^resource: expected TYPE:ID"):
        parse_search({"resource": "x"})
    assert parse_search({"subject": " ", "x": "y"}) == parse_search({})
