"""A witness without a past, or with a part of it: what it must be told before it signs.

Witnesses in one process, as in test_witness_gossip.py.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from byzantine import ByzantineLog, View
from muniment.local.sqlitefile import AbsentDatabaseError, DatabaseError
from muniment.tlog.cosignature import verifier_for
from muniment_service.backup import backup
from muniment_witness.config import LogOptions
from muniment_witness.judge.decide import KnownLog
from muniment_witness.store.database import MIGRATIONS, create, mark_copy, rebind
from muniment_witness.store.heads import HeadStore, declare_new
from witness_network import Network, Node
from witness_tools import log_signer, opened_store, witness_signer

SIGNER = witness_signer()
KEYS = [SIGNER.vkey]


async def begin_anew(node: Node) -> None:
    """Its database is lost, and its operator knows it."""
    remove(node)
    await create(node.database, [node.signer.vkey], "new-database")


def remove(node: Node) -> None:
    for path in node.database.parent.glob(f"{node.database.name}*"):
        path.unlink()


def restore(node: Node, copy: Path) -> None:
    remove(node)
    copy.rename(node.database)


async def refusal(node: Node, old: int, view: View, new: int | None = None) -> tuple[int, str]:
    answer = await node.add(old, view, new)
    for slug in ("begun-anew", "restored-copy", "behind-own-cosignature", "misbehaviour-proven"):
        if slug.encode() in answer.body:
            return answer.status, slug
    return answer.status, answer.body.decode().strip() if answer.status == 409 else ""


def another_log(size: int) -> tuple[View, tuple[KnownLog, LogOptions]]:
    """A log without a url, and what `Node.more` takes of it."""
    signer = log_signer("log.example/another")
    view = View(origin="log.example/another", signers=[signer]).append(size)
    return view, (KnownLog(view.origin, (verifier_for(signer.vkey),)), LogOptions())


# The file


async def test_a_database_is_made_with_the_keys_and_only_opened_later(tmp_path: Path) -> None:
    path = tmp_path / "w.db"
    for file in (None, b""):
        if file is not None:
            path.write_bytes(file)
        with pytest.raises(AbsentDatabaseError, match="new-database"):
            await HeadStore.open(path, KEYS)
        with pytest.raises(AbsentDatabaseError, match="new-database"):
            await rebind(path, KEYS, lambda: None)
    await create(path, KEYS, "init")
    with pytest.raises(DatabaseError, match="exists already"):
        await create(path, KEYS, "new-database")
    store = await HeadStore.open(path, KEYS)
    assert store.past.loss is None
    assert not store.past.lacks("any.example")
    await store.close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT command FROM made").fetchall() == [("init",)]
        db.execute("DELETE FROM identity")
        db.commit()
    with pytest.raises(AbsentDatabaseError, match="of no witness"):
        await HeadStore.open(path, KEYS)


async def test_keys_are_not_recorded_in_the_database_of_another_witness(tmp_path: Path) -> None:
    path = tmp_path / "w.db"
    await create(path, [witness_signer(name="witness.example/other").vkey], "init")
    with pytest.raises(DatabaseError, match="other keys"):
        await rebind(path, KEYS, lambda: None)


@pytest.mark.parametrize("marked", [False, True])
async def test_a_database_of_before_goes_on(tmp_path: Path, marked: bool) -> None:
    """Schema 3: one that is no copy lacks nothing; a copy lacks what it lacked."""
    path = tmp_path / "w.db"
    await create(path, KEYS, "init")
    with closing(sqlite3.connect(path)) as db:
        db.executescript(
            "DROP TABLE made; DROP TABLE settled; DROP TABLE copied;"
            f"{MIGRATIONS[2]}; PRAGMA user_version = 3;"
        )
    if marked:
        backup(path, tmp_path / "copy.db", mark=mark_copy)
        path = tmp_path / "copy.db"
    store = await HeadStore.open(path, KEYS)
    assert store.past.lacks("log.example/any") == marked
    await store.close()


async def test_a_word_of_the_operator_is_recorded_where_it_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "w.db"
    await create(path, KEYS, "init")
    with pytest.raises(DatabaseError, match="known already"):
        await declare_new(path, KEYS, "log.example/a")
    path.unlink()
    await create(path, KEYS, "new-database")
    await declare_new(path, KEYS, "log.example/a")
    store = await HeadStore.open(path, KEYS)
    assert (store.past.lacks("log.example/a"), store.past.lacks("log.example/b")) == (False, True)
    await store.close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT origin, by FROM settled").fetchall() == [
            ("log.example/a", "operator")
        ]


# Begun anew


async def test_without_a_past_nothing_is_signed_when_nobody_answers(
    net: Network, log: ByzantineLog
) -> None:
    main = log.main
    w1 = net.add("w1", None)  # its log has a url, and does not answer
    await begin_anew(w1)
    await net.start()
    for _ in range(2):
        assert await refusal(w1, 0, main) == (503, "begun-anew")
        await net.rounds(2)
        assert [alarm.kind for alarm in w1.watch.alarms] == ["restored"]
        await w1.restart()
    # It answers: what it shows is taken up, and remembered.
    w1.view = main
    await net.rounds(1)
    assert w1.size == 600
    await w1.stop()
    w1.view = None
    await w1.start()
    assert not w1.watch.alarms
    main.append(1)
    assert await refusal(w1, 600, main) == (200, "")


async def test_with_nobody_to_ask_the_operator_decides(net: Network, log: ByzantineLog) -> None:
    w1 = net.add("w1", None, url=None, cosign=False)
    await begin_anew(w1)
    await net.start()
    await net.rounds(3)
    answer = await w1.add(0, log.main)
    assert answer.status == 503
    assert b"no url of the log and no peer to ask" in answer.body
    await w1.stop()
    await declare_new(w1.database, [w1.signer.vkey], net.origin)
    await w1.start()
    assert await refusal(w1, 0, log.main) == (200, "")
    await w1.stop()
    with pytest.raises(DatabaseError, match="has cosigned size 600"):
        await declare_new(w1.database, [w1.signer.vkey], net.origin)


@pytest.mark.parametrize("size", [300, 600, 900])
async def test_a_log_without_the_witnesses_line_binds_it_all_the_same(
    net: Network, log: ByzantineLog, size: int
) -> None:
    """The log shows A without a cosignature of this witness; it asks for B after that."""
    other = log.main.fork(200, size)
    w1 = net.add("w1", log.main, cosign=False)
    await begin_anew(w1)
    await net.start()
    assert (await w1.add(0, other)).status != 200
    await net.rounds(1)
    assert (w1.size, w1.evidence) == ((0, ["same-size"]) if size == 600 else (600, []))
    for old in (0, min(size, 600)):
        assert (await w1.add(old, other)).status != 200
    assert w1.store.head(net.origin).root == log.main.root(w1.size)


async def test_a_peer_tells_what_the_witness_had_signed(net: Network, log: ByzantineLog) -> None:
    main = log.main
    w1 = net.add("w1", None, url=None, cosign=False)
    net.add("w2", main)
    await net.start()
    assert (await w1.add(0, main, 300)).status == 200
    await net.rounds(2)  # w2 sees it
    await w1.stop()
    await begin_anew(w1)
    await w1.start()
    assert await refusal(w1, 0, main.fork(100, 300)) != (200, "")
    await net.rounds(2)
    assert w1.size == 600  # w2's own head is the newest that it showed
    assert await refusal(w1, 300, main.fork(100, 600)) != (200, "")


async def test_heads_that_cannot_be_compared_are_no_answer(net: Network, log: ByzantineLog) -> None:
    """A peer shows a larger head, and nobody the tiles for it: what is newest is not known."""
    hidden = log.main.fork(600, 700)
    w1 = net.add("w1", log.main, cosign=False)
    w2 = net.add("w2", None, url=None, cosign=False)
    await net.start()
    assert (await w2.add(0, hidden)).status == 200
    await w1.stop()
    await begin_anew(w1)
    await w1.start()
    await net.rounds(2)
    assert await refusal(w1, 0, log.main) == (503, "begun-anew")
    w1.view = hidden.append(1)
    await net.rounds(2)
    assert w1.size == 701


async def test_a_log_that_comes_later_is_asked_for_itself(net: Network, log: ByzantineLog) -> None:
    later, entry = another_log(10)
    w1 = net.add("w1", log.main)
    await begin_anew(w1)
    await net.start()
    await net.rounds(1)
    assert w1.size == 600
    await w1.stop()
    net.cut.add(frozenset(("w1", "born")))
    born = net.add("born", None, url=None, cosign=False)
    born.more = w1.more = [entry]
    await net.start()
    assert await refusal(w1, 0, later) == (503, "begun-anew")
    # One that was made with its keys knows that it never signed for it.
    assert await refusal(born, 0, later) == (200, "")


# Restored


async def test_a_log_that_was_not_configured_is_not_settled_with_the_others(
    net: Network, tmp_path: Path, log: ByzantineLog
) -> None:
    """What a backup lacks is found out log by log, and a backup of it forgets that again."""
    other, entry = another_log(30)
    w1 = net.add("w1", log.main)
    w1.more = [entry]
    await net.start()
    assert (await w1.add(0, other, 10)).status == 200
    backup(w1.database, tmp_path / "copy.db", mark=mark_copy)
    assert (await w1.add(10, other, 20)).status == 200
    await w1.stop()
    restore(w1, tmp_path / "copy.db")
    w1.more = []
    await w1.start()
    await net.rounds(1)
    log.main.append(1)
    assert await refusal(w1, 600, log.main) == (200, "")
    backup(w1.database, tmp_path / "again.db", mark=mark_copy)
    await w1.stop()
    w1.more = [entry]
    await w1.start()
    assert await refusal(w1, 10, other.fork(5, 20)) == (503, "restored-copy")
    await w1.stop()
    restore(w1, tmp_path / "again.db")
    await w1.start()
    assert await refusal(w1, 601, log.main.append(1)) == (503, "restored-copy")


async def test_a_restored_witness_takes_up_what_it_reads(
    net: Network, tmp_path: Path, log: ByzantineLog
) -> None:
    """The log's head carries no line of this witness: a fork beyond the backup is refused still."""
    main = log.main
    w1 = await net.started("w1", None, cosign=False)
    assert (await w1.add(0, main, 300)).status == 200
    backup(w1.database, tmp_path / "copy.db", mark=mark_copy)
    assert (await w1.add(300, main, 500)).status == 200
    await w1.stop()
    restore(w1, tmp_path / "copy.db")
    w1.view = main
    await w1.start()
    for size in (500, 700):
        assert (await w1.add(300, main.fork(350, size))).status != 200
    await net.rounds(1)
    assert w1.size == 600
    assert (await w1.add(300, main.fork(350, 500))).status != 200


# As it was made


async def test_a_first_signature_extends_what_was_read(tmp_path: Path, log: ByzantineLog) -> None:
    main = log.main
    async with Network(tmp_path, main) as net:
        w1 = net.add("w1", main, cosign=False)
        await net.start()
        assert w1.size == 0
        assert (await w1.add(0, main.fork(100, 600))).status == 403  # evidence, before it signed
        assert w1.evidence == ["same-size"]
    async with Network(tmp_path / "other", main) as net:
        (tmp_path / "other").mkdir()
        w1 = net.add("w1", main, cosign=False)
        await net.start()
        assert await refusal(w1, 0, main.fork(100, 700)) == (409, "600")
        assert (await w1.add(600, main.fork(100, 700))).status == 422
        assert await refusal(w1, 600, main) == (200, "")


async def test_what_was_read_at_a_size_is_not_contradicted(net: Network, log: ByzantineLog) -> None:
    main = log.main
    w1 = await net.started("w1", None, cosign=False)
    assert (await w1.add(0, main, 300)).status == 200
    w1.view = main
    await net.rounds(1)
    assert (await w1.add(300, main.fork(400, 600))).status == 403
    assert w1.size == 300


async def test_a_log_that_answers_nothing_yet_keeps_nobody_waiting(tmp_path: Path) -> None:
    """A first set-up: the witness is there before its log, whose url it knows."""
    main = ByzantineLog().main.append(1)
    async with Network(tmp_path, main) as net:
        w1 = await net.started("w1", None)
        assert await refusal(w1, 0, main) == (200, "")


async def test_a_store_is_opened_by_its_keys(tmp_path: Path) -> None:
    store = await opened_store(tmp_path / "w.db", KEYS)
    await store.close()
    with pytest.raises(DatabaseError, match="other keys"):
        await HeadStore.open(tmp_path / "w.db", [witness_signer(name="witness.example/x").vkey])
