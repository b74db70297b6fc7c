"""Bit rot: one flipped bit anywhere in a log's database is noticed, named, and repaired or not."""

import asyncio
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import signing
from faults.rot import flip, judge_any_bit
from log_tools import ORIGIN, GatewayStream, embedded, nameless
from muniment.tlog.cosignature import verifier_for
from muniment_log.core.heads import HeadSigner
from muniment_log.errors import StorageError
from muniment_log.storage.check import check
from muniment_log.storage.repair import repair
from muniment_log.storage.schema import create_database

SIGNER = signing.log_signer(ORIGIN)
KEYS = [verifier_for(SIGNER.vkey)]

FLIPS = [
    ("bundle", "data", "idx = 0"),
    ("bundle", "data", "idx = 1"),
    ("tail", "data", "first = (SELECT min(first) FROM tail)"),
    ("tail", "data", "first = (SELECT max(first) FROM tail)"),
    ("tile", "data", "level = 0 AND idx = 0"),
    ("tile", "data", "level = 0 AND idx = 1"),
    ("tile", "data", "level = 1"),
    ("tree", "size", "1"),
    ("tree", "root", "1"),
    ("stream", "next", "label = 'main'"),
    ("stream", "manifest", "label = 'main'"),
    ("stream", "label", "label = 'other'"),
    ("batch", "first", "first = 0"),
    ("batch", "count", "first = 0"),
    ("batch", "digest", "first = 0"),
    ("batch", "idx", "first = 0"),
    ("head", "note", "kind = 'signed'"),
    ("head", "note", "kind = 'published'"),
    ("identity", "origin", "1"),
    ("identity", "vkey", "1"),
]
AT_START = {"tail", "tree", "tile level = 1", "head", "identity"}
"""What a start, and so a quick check, must notice: all that the log goes on from."""


async def make(path: Path) -> None:
    """A log of 2 full bundles and a partial one, with signed and published heads."""
    await create_database(path, ORIGIN, [str(SIGNER.vkey)], "init")
    main, other = GatewayStream(), GatewayStream("other")
    async with embedded(path) as log:
        log.listener.sign = HeadSigner(ORIGIN, [SIGNER], lambda: 1, None).sign
        for stream, count in [(main, 300), (other, 1), (main, 220), (other, 40)]:
            await log.sequencer.submit(stream.take(count))
        await log.sequencer.submit_records("curl.example/dev", nameless(b'{"n":1}', b'{"n":2}'))
        note = log.listener.heads[-1][1]
        assert note is not None
        await log.tiles.publish(note)
        await log.sequencer.submit(main.take(3))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rot") / "log.db"
    asyncio.run(make(path))
    assert not path.with_name("log.db-wal").exists()
    return path


@pytest.fixture
def path(sound: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "log.db"
    copy.write_bytes(sound.read_bytes())
    return copy


def dump(path: Path) -> list[object]:
    """All rows; the numbers of streams are internal."""
    with closing(sqlite3.connect(path)) as db:
        names = ("identity", "tree", "bundle", "tail", "tile", "refused", "head")
        rows: list[object] = [
            sorted(db.execute(f"SELECT * FROM {name}"), key=repr) for name in names
        ]
        rows.append(db.execute("SELECT gateway, label, next, manifest FROM stream ORDER BY 1, 2"))
        rows[-1] = list(rows[-1])  # type: ignore[call-overload]
        rows.append(
            list(
                db.execute(
                    "SELECT gateway, label, first, count, digest, idx FROM batch"
                    " JOIN stream ON stream.id = batch.stream ORDER BY 1, 2, 3"
                )
            )
        )
        return rows


def test_a_sound_database_is_found_sound(path: Path) -> None:
    for full in (False, True):
        report = check(path, ORIGIN, KEYS, full=full)
        assert (report.damage, report.size) == ([], 572)


def test_a_repair_of_a_sound_database_changes_nothing(path: Path) -> None:
    before = dump(path)
    done = asyncio.run(repair(path, ORIGIN, KEYS))
    assert done.rebuilt == done.after.damage == []
    assert dump(path) == before


@pytest.mark.parametrize(("table", "column", "where"), FLIPS)
def test_a_flipped_bit_is_named(path: Path, table: str, column: str, where: str) -> None:
    sound = path.read_bytes()
    for seed in range(4):
        path.write_bytes(sound)
        original = dump(path)
        flip(path, table, column, where, random.Random(f"{table} {column} {where} {seed}"))
        damaged = dump(path)
        report = check(path, ORIGIN, KEYS, full=True)
        assert table in {damage.table for damage in report.damage}, (seed, report.damage)
        if table in AT_START or f"{table} {where}" in AT_START:
            assert check(path, ORIGIN, KEYS, full=False).damage, seed

        if table in {"bundle", "tail"}:
            assert not report.leaves_sound
            with pytest.raises(StorageError, match="leaves are damaged"):
                asyncio.run(repair(path, ORIGIN, KEYS))
            assert dump(path) == damaged
            continue
        done = asyncio.run(repair(path, ORIGIN, KEYS))
        assert done.before.damage == report.damage
        if table in {"head", "identity"}:
            # No leaf holds a signature: it must come from a backup, and is still named.
            assert done.after.damage == report.damage
            assert dump(path) == damaged
        else:
            assert done.after.damage == []
            assert {damage.table for damage in done.rebuilt} >= {table}
            assert dump(path) == original


@pytest.mark.parametrize("table", ["bundle", "tail", "tile", "tree", "stream", "batch", "identity"])
def test_a_lost_row_is_named(path: Path, table: str) -> None:
    with closing(sqlite3.connect(path)) as db:
        row = {"stream": "id", "batch": "(stream, first)", "tile": "(level, idx)"}.get(table, "1")
        db.execute(f"DELETE FROM {table} WHERE {row} IN (SELECT {row.strip('()')} FROM {table} "
                   "LIMIT 1)")  # fmt: skip
        db.commit()
    report = check(path, ORIGIN, KEYS, full=True)
    assert table in {damage.table for damage in report.damage}
    if table not in {"stream", "batch"}:
        assert check(path, ORIGIN, KEYS, full=False).damage


def test_any_flipped_bit_of_the_file_is_found_or_without_effect(sound: Path) -> None:
    original = dump(sound)

    def judge(path: Path) -> bool:
        damage = check(path, ORIGIN, KEYS, full=True).damage
        assert damage or dump(path) == original
        return bool(damage)

    judge_any_bit(sound, judge, 1 / 4)


async def test_a_check_says_how_far_it_is(tmp_path: Path) -> None:
    await make(tmp_path / "log.db")
    told: list[tuple[int, int]] = []
    report = check(
        tmp_path / "log.db", ORIGIN, KEYS, full=True, progress=lambda *far: told.append(far)
    )
    assert told == [(256, report.size), (512, report.size)]
