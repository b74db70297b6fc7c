"""Ids that come again: what an audit says of them after it has read their leaves once more."""

from hashlib import sha256
from itertools import count

import pytest

from auditing import PLAIN, audit, two_faced
from governed import plain_decision
from logsim import GATEWAY, NOW, LogSim
from muniment.audit import reader, reuse
from muniment.audit.relations import Warned
from muniment.audit.report import Verdict
from muniment.tlog.merkle import HASH_SIZE, leaf_hash


async def warned(sim: LogSim) -> list[Warned]:
    report = (await audit(sim, options=PLAIN)).report
    assert report.verdict is Verdict.CLEAN
    return report.warnings


async def test_a_record_that_was_logged_twice_accuses_nobody() -> None:
    sim = LogSim()
    ms = NOW * 1000
    sim.append([plain_decision(f"d-{number}", ms) for number in range(600)])
    sim.append([plain_decision(f"d-{number}", ms + 1 + number) for number in range(600)])
    at = sim.size
    sim.append(
        [
            plain_decision("d-7", ms, "another"),
            plain_decision("d-8", ms + 5),
            plain_decision("d-7", ms + 9),
        ]
    )
    [warning] = await warned(sim)
    assert [(warning.kind, warning.index)] == [("id-reuse", at)]
    assert "the id of entry 7," in warning.sentence


def alike() -> str:
    """A producer that an audit tells from GATEWAY by its leaves only."""
    names = (f"gw.example/{number}" for number in count())
    begin = sha256(GATEWAY.encode()).digest()[:2]
    return next(name for name in names if sha256(name.encode()).digest()[:2] == begin)


async def test_producers_of_one_tag_have_ids_of_their_own() -> None:
    other, ms = alike(), NOW * 1000
    sim = LogSim()
    sim.append([plain_decision("d-1", ms)])
    sim.append_token(
        [plain_decision("d-1", ms, producer=other), plain_decision("d-1", ms + 1, producer=other)],
        other,
    )
    assert await warned(sim) == []
    first, again = sim.size - 3, sim.size
    sim.append_token([plain_decision("d-1", ms, "another", producer=other)], other)
    sim.append([plain_decision("d-1", ms, "a third")])
    found = [(one.index, one.sentence) for one in await warned(sim)]
    assert [index for index, _ in found] == [again, again + 2]
    assert f"the id of entry {first}," in found[0][1]
    assert "the id of entry 0," in found[1][1]


async def test_two_records_whose_hashes_begin_alike_do_not_hide_each_other() -> None:
    """It took 43 seconds to find them: the first 48 bits of their leaf hashes are the same."""
    subjects = "ab94f16afce1", "469019909d17"
    records = [plain_decision("d-1", 1790000000000, subject) for subject in subjects]
    assert len({leaf_hash(one)[:6] for one in records}) == 1
    sim = LogSim()
    sim.append(records)
    assert [(one.kind, one.index) for one in await warned(sim)] == [("id-reuse", 1)]


async def test_leaves_that_are_others_when_they_are_read_again_excuse_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sim, other = LogSim(), LogSim()
    sim.append([plain_decision("d-1", NOW * 1000), plain_decision("d-1", NOW * 1000, "another")])
    other.append([plain_decision("d-1", NOW * 1000)] * 2)
    monkeypatch.setattr(sim, "tile", two_faced(sim, other, reading=2))
    assert [(one.kind, one.index) for one in await warned(sim)] == [("id-reuse", 1)]


def _one_key(name: bytes) -> int:
    """A key of things that tells none apart, and leaves by their hashes."""
    return hash(name) if len(name) == HASH_SIZE else 1


async def test_ids_of_one_key_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "name_key", lambda _: _one_key)
    sim = LogSim()
    sim.append([plain_decision(f"d-{number}", NOW * 1000 + number) for number in range(9)])
    assert await warned(sim) == []


async def test_ids_beyond_what_may_be_read_again_are_said_to_be_unread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reuse, "MIN_BUNDLES", 0)
    monkeypatch.setattr(reuse, "AT_ONCE", 1)
    sim = LogSim()
    sim.append([plain_decision("d-1", NOW * 1000 + number) for number in range(9)])
    [warning] = await warned(sim)
    assert [(warning.kind, warning.index)] == [("unread-id-reuse", 3)]
    assert "6 ids come again" in warning.sentence
