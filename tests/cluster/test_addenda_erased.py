"""Addenda of a cluster on PostgreSQL and a bucket: erased for good, whoever is slow or dies."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import obstore
import pytest
from obstore.store import S3Store

from addenda_tools import Bench, Crash, bench, named
from engines import Bucket, SeaweedFS
from log_tools import LIMITS, hasty
from muniment.records.addenda import addendum_path
from muniment.records.api import Erasure, parse_record
from muniment.records.manifest import MANIFEST, Batch
from muniment_log.cluster import addendarows
from muniment_log.cluster.addenda import ClusterAddenda
from muniment_log.cluster.addendaobjects import GONE, AddendaObjects
from muniment_log.cluster.database import Database, DatabaseConnection
from muniment_log.cluster.erasing import ClusterErasable
from muniment_log.cluster.migrate import migrate
from muniment_log.cluster.objects import ObjectStore
from muniment_log.core.addenda import Addendum, Erased, Sent
from muniment_log.core.erasable import Selection, Totals
from muniment_log.core.erasing import NotErasableError
from muniment_log.core.retention import Retention, Rule
from muniment_log.errors import EngineRefusedError, StreamGapError, UnavailableError
from packing import ALICE, BOB, DAY, made
from waiting import until


@pytest.fixture
async def at(database: str) -> AsyncIterator[Bench]:
    async with bench(database) as made_:
        yield made_


# Erased


async def test_erased_bytes_are_nowhere_and_never_come_back(at: Bench) -> None:
    one, two = made(), made()
    batch = at.batch(named(one, two))
    await at.log(one, two, batch=batch)
    done = await at.erase(one)
    assert (done.addenda, done.bytes, done.is_clean, done.held) == (1, 60, True, ())  # type: ignore[attr-defined]
    assert (at.places(one), await at.read(two)) == ([], two.data)
    erased = await at.read(one)
    assert isinstance(erased, Erased)
    await at.log(one, two, batch=batch)
    await at.log(one)
    assert at.places(one) == []
    assert await at.read(one) == erased
    assert at.stored.totals == Totals(1, 60, 1)
    with pytest.raises(NotErasableError, match="keeps no addendum of this digest"):
        await at.erase(one)
    await at.tiles.settle()
    leaves = [leaf async for leaf in at.leaves(0)]
    found = [parse_record(leaf) for leaf in leaves if b'"kind":"erasure"' in leaf]
    assert [one.digests for one in found if isinstance(one, Erasure)] == [(one.digest.hex(),)]
    assert not leaves[erased.record or 0].startswith(MANIFEST)


async def test_a_request_that_comes_after_the_erasure_finds_its_place_taken(at: Bench) -> None:
    """A frontend was slow, or died and the network was: the bucket refuses, whenever it comes."""
    one, other = made(), at.another()
    sent = Sent([one], {})
    await other.keep(sent)  # another request with the same addendum, which is slow
    await at.log(one)
    done = await at.erase(one)
    assert not done.is_clean  # type: ignore[attr-defined]
    assert at.places(one)
    receipt = await at.sequencer.submit(at.batch(named(one)))
    await other.named(sent, receipt.first)
    await other.close()
    assert at.places(one) == []
    assert await at.stored.forget()
    assert not await at.objects.put(one.digest, one.data)
    assert isinstance(await at.read(one), Erased)


async def test_an_erasure_is_not_done_while_a_dead_frontend_has_left_the_bytes(at: Bench) -> None:
    one = made()
    await at.log(one)
    again = at.batch(named(one))
    await at.another().keep(Sent([one], {}))  # what is kept is not stored again
    assert len(at.places(one)) == 1
    two = made()
    await at.another().keep(Sent([two], {}))  # dies here
    await at.log(two, batch=again)
    done = await at.erase(two)
    assert not done.is_clean  # type: ignore[attr-defined]
    assert at.eraser.pending == 1
    await at.restart()
    assert at.places(two) == []
    assert at.eraser.pending == 0


async def test_an_older_database_does_not_bring_the_bytes_back(at: Bench) -> None:
    """The bucket knows what was erased even if the rows do not."""
    one = made()
    await at.objects.erase([one.digest])
    await at.log(one)
    assert at.places(one) == []
    assert await at.read(one) == Erased(pytest.approx(0, abs=1 << 60), None)  # type: ignore[arg-type]
    await at.stored.look()
    assert at.stored.totals == Totals(0, 0, 1)


async def test_what_was_told_when_it_was_stored_saves_a_request(at: Bench) -> None:
    one, old, moved = made(), made(), made()
    await at.log(one, old, moved)

    async def forget(db: DatabaseConnection) -> None:
        await db.execute("UPDATE addendum SET e_tag = NULL WHERE digest = $1", old.digest)
        await db.execute("UPDATE addendum SET e_tag = '\"other\"' WHERE digest = $1", moved.digest)

    await at.database.transact(forget, "test")
    for addendum, gets in ((one, 0), (old, 1), (moved, 2)):  # the last looks why it could not
        at.store.gets = 0
        await at.erase(addendum)
        assert at.places(addendum) == []
        assert at.store.gets == gets


@pytest.mark.parametrize("step", ["begin", "submit", "rows", "erase", "forget"])
async def test_a_crash_of_the_eraser_is_completed_by_the_next(
    at: Bench, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E0, E1, E2, E3 and E4."""
    one, two = made(), made()
    await at.log(one, two)
    found = await at.eraser.select(Selection((one.digest,)))

    async def crash(*_: object) -> None:
        raise Crash

    if step == "submit":
        monkeypatch.setattr(at, "submit", crash)
    elif step == "rows":
        monkeypatch.setattr(addendarows, "erase", crash)
    elif step == "erase":
        at.objects.stopped = "erase"
    else:
        monkeypatch.setattr(ClusterErasable, step, crash)
    with pytest.raises(Crash):
        await at.eraser.erase(found, by="root", reason=None)
    monkeypatch.undo()
    if step in {"erase", "forget"}:
        assert isinstance(await at.read(one), Erased)
    else:
        assert await at.read(one) == one.data
    await at.restart()
    if step == "begin":
        assert await at.read(one) == one.data
    else:
        assert at.places(one) == []
        assert isinstance(await at.read(one), Erased)
    assert await at.stored.begun() == []
    assert await at.read(two) == two.data


async def test_a_bucket_that_refuses_to_erase_stops_nothing_and_is_asked_again(
    at: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = made()
    await at.log(one)

    async def refuse(*_: object) -> list[str]:
        raise EngineRefusedError("AccessDenied")

    monkeypatch.setattr(AddendaObjects, "erase", refuse)
    with pytest.raises(EngineRefusedError):
        await at.erase(one)
    running = asyncio.get_running_loop().create_task(at.eraser.run())
    await asyncio.sleep(0)
    assert isinstance(await at.read(one), Erased)
    assert not running.done()
    monkeypatch.undo()
    at.eraser.use(Retention([]))
    await until(lambda: at.places(one) == [])
    running.cancel()


async def test_a_subject_is_forgotten_with_what_its_runs_made(at: Bench) -> None:
    mine = [made(run="run-1"), made(), made(subject=None, run="run-1")]
    others = [made(subject=BOB, run="run-2"), made(subject=None, run="run-2")]
    await at.log(*mine, *others)
    await at.erase(subject=ALICE)
    assert [bool(at.places(one)) for one in (*mine, *others)] == [False] * 3 + [True] * 2


async def test_many_take_several_records(at: Bench) -> None:
    many = [made() for _ in range(520)]
    await at.log(*many)
    done = await at.erase(subject=ALICE)
    assert len(done.records) == 2  # type: ignore[attr-defined]
    assert not [one for one in many if at.places(one)]


async def test_what_is_due_is_erased_and_the_minimum_holds(database: str) -> None:
    rules = [Rule("domain=hr", retain=30 * DAY), Rule("domain=law", legal_minimum=400 * DAY)]
    async with bench(database, rules) as at:
        hr, law = made(labels=("domain=hr", 'a="\\\0')), made(labels=("domain=hr", "domain=law"))
        outcome, other = made(subject=None, run="r"), made(run="r", labels=("domain=hr",))
        plain = made(labels=("domain=it",))
        await at.log(hr, law, outcome, other, plain)
        time = (await at.eraser.select(Selection((hr.digest,))))[0].time
        at.now = time + 30 * DAY - 1000
        assert await at.eraser.erase_due() == 0
        at.now = time + 31 * DAY
        assert await at.eraser.erase_due() == 3
        assert [bool(at.places(one)) for one in (hr, outcome, other, law, plain)] == [False] * 3 + [
            True
        ] * 2
        with pytest.raises(NotErasableError, match="legal minimum of 400d"):
            await at.erase(law)


async def test_a_bucket_with_versions_says_what_it_still_holds(
    database: str, bucket: Bucket, s3_server: SeaweedFS
) -> None:
    s3_server.keep_versions(bucket)
    opened = await Database.open(database)
    store = ObjectStore.open(bucket.url, environment=bucket.environment)
    try:
        await migrate(opened)
        objects, one = AddendaObjects(store), made()
        frontend, sent = ClusterAddenda(opened, objects), Sent([one], {})
        await frontend.keep(sent)
        await frontend.named(sent, 0)
        await frontend.close()

        async def leads(_: DatabaseConnection) -> None:
            """Nobody else does."""

        held = await ClusterErasable(opened, objects, leads).remove("e", [one.digest], 1, 7)
        path, _, version = held[0].partition(" ")
        assert path == addendum_path(one.digest.hex())
        assert held[1].startswith("arriving/")
        assert await store.get(path) == GONE
        given = bucket.environment
        versioned = S3Store(
            bucket.name,
            endpoint=given["AWS_ENDPOINT_URL"],
            access_key_id=given["AWS_ACCESS_KEY_ID"],
            secret_access_key=given["AWS_SECRET_ACCESS_KEY"],
            client_options={"allow_http": True},
        )
        old = await obstore.get_async(versioned, path, options={"version": version})
        assert bytes(await old.bytes_async()) == one.data
        assert await ClusterErasable(opened, objects, leads).remove("e", [one.digest], 1, 7) == []
    finally:
        await store.close()
        await opened.close()


# All of it at the same time


async def test_whatever_happens_in_between_nothing_outlives_its_erasure(at: Bench) -> None:
    dice = random.Random(15)
    known: list[Addendum] = []
    acknowledged: set[bytes] = set()
    erased: set[bytes] = set()
    for _ in range(60):
        some = [made() for _ in range(dice.randint(1, 3))]
        some += dice.sample(known, min(len(known), dice.randint(0, 2)))
        known += [one for one in some if one not in known]
        batch = at.batch(named(*some))
        frontend, sent = at.another(), Sent(some, {})
        at.objects.stopped = dice.choice(["", "", "arrive", "arrived", "put", "clear"])
        stop = dice.choice(["", "", "", "order"])

        async def send(
            frontend: ClusterAddenda = frontend,
            sent: Sent = sent,
            batch: Batch = batch,
            stop: str = stop,
        ) -> bool:
            try:
                await frontend.keep(sent)
                if stop:
                    return False
                receipt = await at.sequencer.submit(batch)
                await frontend.named(sent, receipt.first)
            except Crash:
                return False
            await frontend.close()
            return True

        sending = asyncio.get_running_loop().create_task(send())
        if known and dice.random() < 0.5:
            wanted = dice.choice(known)
            with contextlib.suppress(NotErasableError, Crash):
                await at.erase(wanted)
                erased.add(wanted.digest)
        if await sending:
            acknowledged |= {one.digest for one in some}
        else:
            at.next, at.previous = at.next, batch.leaf_hashes[-1]
            with hasty(LIMITS, 0.2), contextlib.suppress(StreamGapError, UnavailableError):
                await at.sequencer.submit(batch)  # so that the stream goes on
        if dice.random() < 0.3:
            await at.restart()
        for late in at.objects.late:
            with contextlib.suppress(UnavailableError):
                await late()
        at.objects.late.clear()
    await at.restart()
    await at.restart()
    assert await at.arriving() == 0
    assert len(acknowledged) > 20
    assert len(erased) > 5
    for one in known:
        found = await at.read(one)
        if one.digest in erased:
            assert isinstance(found, Erased)
            assert at.places(one) == []
        elif one.digest in acknowledged:
            assert found == one.data
        assert at.places(one) == ([addendum_path(one.digest.hex())] if found == one.data else [])
