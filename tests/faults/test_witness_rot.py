"""Bit rot: a flipped bit in a witness's database makes it sign nothing, or nothing else."""

import asyncio
import random
import shutil
import sqlite3
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import processes
from faults.rot import flip, judge_any_bit
from judging import HeadState, decide
from log_deployment import ask
from muniment.local.sqlitefile import DatabaseError
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.evidence import same_size
from muniment.tlog.heads import Head
from muniment.tlog.note import VKey, parse_vkey
from muniment_service.exits import EXIT_DATABASE
from muniment_witness.cli.exits import EXIT_DAMAGED
from muniment_witness.judge.decide import Acceptance, KnownLog
from muniment_witness.store.check import DatabaseReport, check
from muniment_witness.store.database import MIGRATIONS
from muniment_witness.store.heads import HeadStore
from muniment_witness.store.observations import DatedNote, Suspicion
from witness_tools import GrowingLog, opened_store, set_up, witness_signer

LOG = GrowingLog("log.example/a")
OTHER = GrowingLog("log.example/b")
LOGS = {log.origin: KnownLog(log.origin, log.verifiers) for log in (LOG, OTHER)}
SIGNERS = [witness_signer("ed25519"), witness_signer("mldsa44")]
KEYS = [signer.vkey for signer in SIGNERS]
NOW = 1_700_000_000

NEWEST = "origin = 'log.example/a' AND size = 70"
OLDER = "origin = 'log.example/a' AND size = 20"
STEP = ("origin", "size", "digest", "root", "old_size", "proof", "note")
FLIPS = [
    *(
        ("head", column, "origin = 'log.example/a'")
        for column in ("origin", "size", "root", "time")
    ),
    ("head", "note", "origin = 'log.example/a'"),
    *(("history", column, where) for where in (NEWEST, OLDER) for column in STEP),
    *(("evidence", column, "1") for column in ("contradiction", "hash", "origin", "kind", "file")),
    *(("suspicion", column, "1") for column in ("origin", "digest", "note")),
    *((table, column, "1") for table in ("watched", "shown") for column in ("origin", "note")),
    ("identity", "vkey", "vkey = (SELECT min(vkey) FROM identity)"),
]
"""What has no second copy is not here: times and sources in the ledger, a refused proof."""

FULL = {"note", "old_size", "proof"}
"""Columns of which a start need not notice everything: signatures by others, the way here."""


async def make(path: Path) -> None:
    """Heads of two logs with their steps, and something in each table."""
    store = await opened_store(path, KEYS)
    for log, sizes in ((LOG, (3, 20, 70)), (OTHER, (5,))):
        for size in sizes:
            state = HeadState(LOGS[log.origin], store.head(log.origin))
            accepted = decide(state, log.request(state.head.size, size), NOW + size)
            assert isinstance(accepted, Acceptance)
            await store.commit(
                [accepted],
                lambda each: tuple(s.sign(each.request.note.text, each.now) for s in SIGNERS),
            )
    observations = store.observations
    fork = OTHER.fork(4)
    await observations.file(same_size(OTHER.checkpoint(9), fork.checkpoint(9)), "a peer", NOW)
    shown = LOG.checkpoint(71)
    request = LOG.request(70, 71, checkpoint=shown).encode()
    digest = sha256(shown.note.text.encode()).digest()
    observations.suspect(LOG.origin, digest, Suspicion(shown.encode(), request, "a peer", NOW))
    observations.watch(LOG.origin, DatedNote(LOG.checkpoint(72).encode(), NOW))
    observations.show("w2.example", LOG.origin, DatedNote(LOG.checkpoint(73).encode(), NOW))
    await observations.save()
    await store.close()


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rot") / "witness.db"
    asyncio.run(make(path))
    assert not path.with_name("witness.db-wal").exists()
    return path


@pytest.fixture
def path(sound: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "witness.db"
    copy.write_bytes(sound.read_bytes())
    return copy


def examine(path: Path, *, full: bool = True, keys: list[VKey] = KEYS) -> DatabaseReport:
    return check(path, MIGRATIONS, keys, LOGS, full=full)


async def starts(path: Path) -> dict[str, Head] | None:
    """The heads that a starting witness goes on from; None when it refuses."""
    try:
        store = await HeadStore.open(path, KEYS)
    except DatabaseError:
        return None
    try:
        assert store.signed == max((each.time for each in store.latest.values()), default=0)
        return {origin: latest.head for origin, latest in store.latest.items()}
    finally:
        await store.close()


def text_of(note: bytes) -> str:
    return parse_signed_checkpoint(note).note.text


def dump(path: Path) -> list[object]:
    """All rows, but for what has no second copy; notes by what they say."""
    found: list[object] = []
    with closing(sqlite3.connect(path)) as db:
        for sql in (
            "SELECT vkey FROM identity",
            "SELECT origin, size, root, time, note FROM head",
            "SELECT origin, size, digest, root, old_size, proof, note FROM history",
            "SELECT origin, digest, note FROM suspicion",
            "SELECT origin, note FROM watched",
            "SELECT origin, note FROM shown",
        ):
            rows: list[tuple[Any, ...]] = db.execute(sql).fetchall()
            found += sorted((*row[:-1], text_of(row[-1])) if "note" in sql else row for row in rows)
        columns = "contradiction, hash, origin, kind, file"
        found += db.execute(f"SELECT {columns} FROM evidence").fetchall()
    return found


def test_a_sound_database_is_found_sound(path: Path) -> None:
    assert (examine(path).damage, examine(path).heads, examine(path).steps) == ([], 2, 4)
    assert examine(path, full=False).damage == []


@pytest.mark.parametrize(("table", "column", "where"), FLIPS)
async def test_a_flipped_bit_is_named_and_nothing_is_decided_from_it(
    sound: Path, path: Path, table: str, column: str, where: str
) -> None:
    heads = await starts(path)
    for seed in range(4):
        shutil.copyfile(sound, path)
        flip(path, table, column, where, random.Random(f"{table} {column} {where} {seed}"))
        damage = {each.table for each in examine(path).damage}
        # A head and the newest step of its history witness for each other.
        assert damage & {table, "head"}, (seed, examine(path).damage)
        refused = bool(examine(path, full=False).damage)
        assert await starts(path) == (None if refused else heads)
        if where != OLDER and column not in FULL:
            assert refused, seed


@pytest.mark.parametrize(
    ("table", "where"), [("head", "size = 70"), ("head", "size = 5"), ("history", "size = 70")]
)
async def test_a_lost_row_is_no_reason_to_begin_anew(path: Path, table: str, where: str) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"DELETE FROM {table} WHERE {where}")
        db.commit()
    assert examine(path, full=False).damage
    assert await starts(path) is None


def test_any_flipped_bit_of_the_file_is_found_or_without_effect(sound: Path, path: Path) -> None:
    original = dump(path)
    heads = asyncio.run(starts(path))

    def judge(path: Path) -> bool:
        damage = examine(path).damage
        found = asyncio.run(starts(path))
        assert found in (None, heads)
        assert damage or found is None or dump(path) == original
        return bool(damage)

    judge_any_bit(sound, judge, 1 / 8)  # small tables leave much of their pages free


async def test_a_damaged_step_is_not_told_to_anybody(path: Path) -> None:
    flip(path, "history", "proof", OLDER, random.Random(1))
    flip(path, "history", "note", "origin = 'log.example/a' AND size = 3", random.Random(1))
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE history SET proof = substr(proof, 2) WHERE size = 20")
        db.commit()
    store = await HeadStore.open(path, KEYS)
    try:
        assert await store.step_from(LOG.origin, 3) is None
        step = await store.step_from(LOG.origin, 20)
        assert step.checkpoint.checkpoint.size == 70
        assert len(await store.notes_at(LOG.origin, 70)) == 1
    finally:
        await store.close()


def test_a_damaged_witness_does_not_start_and_the_command_says_why(tmp_path: Path) -> None:
    config, vkeys = set_up(tmp_path / "w", LOG.vkeys)
    database = config.with_name("witness.db")

    def command(*arguments: object) -> processes.Done:
        argv = processes.muniment_witness(*arguments, "--config", config)
        return processes.run(argv)

    with processes.start(processes.muniment_witness("serve", "--config", config)) as running:
        for old, new in ((0, 5), (5, 9)):
            answer = ask(f"{running.url}/add-checkpoint", LOG.request(old, new).encode())
            assert answer.status == 200
        # Beside a running witness, too.
        for quick in ((), ("--quick",)):
            done = command("check", *quick)
            assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert "2 steps" in command("check").stderr
        assert running.terminate() == 0

    # An attacker with the disk, or rot: the head of 5 again, without what came after.
    good = database.read_bytes()
    with closing(sqlite3.connect(database)) as db:
        (note,) = db.execute("SELECT note FROM history WHERE size = 5").fetchone()
        root = LOG.root(5)
        db.execute("UPDATE head SET size = 5, root = ?, note = ?", (root, note))
        db.commit()
    for quick in ((), ("--quick",)):
        done = command("check", *quick)
        assert done.returncode == EXIT_DAMAGED
        assert "damaged head: log.example/a: own cosignature" in done.stdout
    refused = command("serve")
    assert refused.returncode == EXIT_DATABASE
    assert "damaged head: log.example/a" in refused.stderr

    database.write_bytes(b"not a database at all, whatever its name says".ljust(8192))
    assert command("check").returncode == EXIT_DAMAGED
    database.write_bytes(good)
    assert command("check").returncode == 0
    assert [parse_vkey(str(key)) for key in vkeys]
