"""Addenda of a cluster on PostgreSQL and a bucket: stored, and finished after a crash."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from addenda_tools import Bench, Crash, bench, named
from engines import Bucket
from log_tools import LIMITS, hasty
from muniment.records.addenda import addendum_path
from muniment_log.cluster import addendarows
from muniment_log.cluster.addenda import ClusterAddenda
from muniment_log.cluster.addendaobjects import AddendaObjects
from muniment_log.cluster.adoptaddenda import copy_addenda
from muniment_log.cluster.database import Database, DatabaseConnection
from muniment_log.cluster.migrate import migrate
from muniment_log.cluster.objects import ObjectStore
from muniment_log.cluster.startup import find_public
from muniment_log.core.addenda import Addendum, BadAddendumError, MissingAddendumError, Sent
from muniment_log.core.erasable import Selection, Totals
from muniment_log.errors import (
    OverloadedError,
    StorageError,
    StreamGapError,
    UnavailableError,
    WrongIdentityError,
)
from muniment_log.storage.addenda import AddendaStore
from packing import made
from signing import ORIGIN


@pytest.fixture
async def at(database: str) -> AsyncIterator[Bench]:
    async with bench(database) as made_:
        yield made_


# Stored


async def test_what_a_record_names_has_its_place_before_the_receipt(at: Bench) -> None:
    one, two = made(), made(size=100_000)
    await at.log(one, two)
    for addendum in (one, two):
        assert await at.read(addendum) == addendum.data
        assert at.places(addendum) == [addendum_path(addendum.digest.hex())]
    assert await at.arriving() == 0
    assert await at.read(made()) is None
    await at.stored.look()
    assert at.stored.totals == Totals(2, 100_060, 0)


async def test_what_is_kept_already_is_not_stored_again(at: Bench) -> None:
    one = made()
    batch = at.batch(named(one))
    first = await at.log(one, batch=batch)
    puts = at.store.puts
    assert await at.log(one, batch=batch) == first
    assert (await at.log(expected=[one])).first > first.first
    await at.tiles.settle()
    assert [path for path in at.store.objects if "/arriving/" in path] == []
    assert at.store.puts - puts < 4  # tiles only


async def test_what_is_not_even_tried_to_be_ordered_leaves_nothing_behind(
    at: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty log without an integrator: nobody would sweep what each retry has left."""

    async def refuse() -> None:
        raise UnavailableError("no integrator has compared that yet")

    one = made()
    batch = at.batch(named(one))
    with monkeypatch.context() as patched:
        patched.setattr(at.sequencer, "_cleared", refuse)
        for _ in range(3):
            with pytest.raises(UnavailableError, match="no integrator has compared"):
                await at.log(one, batch=batch)
    await at.frontend.close()
    assert (at.places(one), await at.arriving()) == ([], 0)
    await at.log(one, batch=batch)
    assert at.places(one) == [addendum_path(one.digest.hex())]


async def test_what_is_expected_has_to_be_there(at: Bench) -> None:
    one, two = made(), made()
    with pytest.raises(MissingAddendumError, match=two.digest.hex()):
        await at.log(one, expected=[two])
    assert (at.places(one), await at.arriving()) == ([], 0)


async def test_what_is_refused_goes_again(at: Bench) -> None:
    one = made()
    at.batch(named())
    with hasty(LIMITS, 1.0), pytest.raises((StreamGapError, UnavailableError)):
        await at.log(one)
    await at.frontend.close()
    assert (await at.read(one), at.places(one), await at.arriving()) == (None, [], 0)


async def test_too_much_on_its_way_is_refused(at: Bench) -> None:
    at.frontend = at.another(100)
    await at.log(made(size=90))
    batch, small = at.batch(named()), made(size=90)
    with pytest.raises(OverloadedError):
        await at.log(made(size=101), batch=batch)
    await at.log(small, batch=batch)
    assert await at.read(small) == small.data


async def test_two_requests_may_bring_the_same(at: Bench) -> None:
    one = made()
    sent = [Sent([one], {}), Sent([one], {})]
    others = [at.another() for _ in sent]
    await asyncio.gather(*(other.keep(one) for other, one in zip(others, sent, strict=True)))
    assert await at.read(one) == one.data  # from where it came
    others[0].refused(sent[0])
    await others[0].close()
    assert await at.read(one) == one.data
    await at.sequencer.submit(at.batch(named(one)))
    await others[1].named(sent[1], 0)
    await others[1].close()
    assert at.places(one) == [addendum_path(one.digest.hex())]


async def test_a_request_to_the_bucket_that_fails_is_made_again_under_another_key(
    at: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, keys = made(), []
    arrive = AddendaObjects.arrive

    async def fail(self: AddendaObjects, key: str, addenda: Sequence[Addendum]) -> None:
        keys.append(key)
        if len(keys) != 2:
            raise UnavailableError("timed out")
        await arrive(self, key, addenda)

    monkeypatch.setattr(AddendaObjects, "arrive", fail)
    await at.log(one)
    assert len(set(keys)) == 2
    with pytest.raises(UnavailableError):
        await at.frontend.keep(Sent([made()], {}))
    assert len(set(keys)) == 5
    monkeypatch.undo()
    await at.restart()
    assert await at.arriving() == 0
    # The places of those that failed are taken, in case they still come.
    with pytest.raises(UnavailableError):
        await at.objects.arrive(keys[0], [one])


async def test_other_bytes_in_the_bucket_are_not_given_out(at: Bench) -> None:
    one = made()
    await at.log(one)
    (place,) = (path for path, data in at.store.objects.items() if one.data in data)
    at.store.objects[place] = b"something else that is long enough"
    with pytest.raises(StorageError, match="other bytes"):
        await at.read(one)
    del at.store.objects[place]
    with pytest.raises(StorageError, match="has lost"):
        await at.read(one)


async def test_a_bucket_that_shows_addenda_to_everybody_is_found_out(
    at: Bench, bucket: Bucket
) -> None:
    """The one in memory lets everybody read; the engine does not."""
    private = ObjectStore.open(bucket.url, environment=bucket.environment)
    try:
        assert await find_public(bucket.url, private, bucket.environment) is None
    finally:
        await private.close()
    assert await find_public("s3://bucket", at.bucket, at.environment) == "addenda/private"
    refusing = ClusterAddenda(at.database, at.objects, refusal="everybody can read them")
    with pytest.raises(BadAddendumError, match="everybody"):
        await refusing.keep(Sent([made()], {}))


# A crash of a frontend


@pytest.mark.parametrize("step", ["arrive", "arrived", "order", "put", "add", "clear"])
async def test_a_crash_at_any_step_is_finished_by_whoever_leads(
    at: Bench, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A1 to A3, A4, A5 and A6, and a request of the dead process that comes late."""
    one, batch = made(), None
    at.objects.stopped = step
    batch = at.batch(named(one))

    async def crash(*_: object) -> None:
        raise Crash

    if step == "add":
        monkeypatch.setattr(addendarows, "add", crash)
    submit = at.sequencer.submit
    sent = Sent([one], {})
    frontend = at.frontend
    with contextlib.suppress(Crash):
        await frontend.keep(sent)
        if step != "order":
            receipt = await submit(batch)
            await frontend.named(sent, receipt.first)
    with contextlib.suppress(Crash):
        await asyncio.gather(*frontend._clearing)
    monkeypatch.undo()
    is_logged = step in {"put", "add", "clear"}
    await at.restart()
    for late in at.objects.late:
        with contextlib.suppress(UnavailableError):
            await late()
    assert await at.arriving() == 0
    path = addendum_path(one.digest.hex())
    assert at.places(one) == ([path] if is_logged else [])
    assert await at.read(one) == (one.data if is_logged else None)
    # The gateway, which has no receipt, sends it again.
    await at.log(one, batch=batch)
    assert at.places(one) == [path]
    assert await at.read(one) == one.data


async def test_a_frontend_that_was_only_slow_gives_no_receipt_before_it_is_stored(
    at: Bench,
) -> None:
    one = made()
    sent, frontend = Sent([one], {}), at.another()
    await frontend.keep(sent)
    assert await at.sweep() == 1  # taken for dead
    assert await at.read(one) is None
    receipt = await at.sequencer.submit(at.batch(named(one)))
    await frontend.named(sent, receipt.first)
    await frontend.close()
    assert await at.read(one) == one.data
    assert await at.sweep() == 0
    assert at.places(one) == [addendum_path(one.digest.hex())]


async def test_nothing_is_deleted_before_the_tree_has_what_was_ordered(at: Bench) -> None:
    one = made()
    await at.frontend.keep(Sent([one], {}))
    await at.sequencer.submit(at.batch(named(one)))
    size, at.size = at.size, lambda: 0
    assert await at.sweeper.sweep() == 0
    assert await at.arriving() == 1
    assert await at.read(one) == one.data
    at.size = size
    assert await at.sweep() == 0
    assert at.places(one) == [addendum_path(one.digest.hex())]


async def test_what_came_and_is_damaged_stays_and_stops_nobody(at: Bench) -> None:
    one, two = made(), made()
    await at.frontend.keep(Sent([one], {}))
    (place,) = (path for path in at.store.objects if "/arriving/" in path)
    at.store.objects[place] = b"\xc1"
    await at.another().keep(Sent([two], {}))
    assert await at.sweep() == 1
    assert await at.arriving() == 1


# Out of a file


async def test_what_a_crash_has_left_in_a_file_is_copied_only_if_a_record_names_it(
    at: Bench, tmp_path: Path
) -> None:
    path = tmp_path / "addenda.db"
    store = AddendaStore(path, ORIGIN, size=lambda: 0, waiting_bytes=1 << 20, now_ms=lambda: 7)
    running = asyncio.get_running_loop().create_task(store.run())
    kept, found, orphan = made(labels=("domain=hr",), run="r"), made(), made()
    sent = Sent([kept], {})
    await store.keep(sent)
    await store.named(sent, 0)
    for one in (found, orphan):
        sent = Sent([one], {})
        await store.keep(sent)
        store.abandoned(sent)
    running.cancel()
    await store.close()

    async def leaves(start: int) -> AsyncIterator[bytes]:
        assert start == 0
        yield named(found)

    async def copy(origin: str = ORIGIN) -> int:
        return await copy_addenda(
            path, origin, database=at.database, objects=at.objects, leaves=leaves
        )

    with pytest.raises(WrongIdentityError):
        await copy("log.example/other")
    assert [await copy() for _ in range(2)] == [2, 2]
    assert await at.read(kept) == kept.data
    assert await at.read(found) == found.data
    assert (await at.read(orphan), at.places(orphan)) == (None, [])
    await at.stored.look()
    assert at.stored.totals == Totals(2, 120, 0)
    [stored] = await at.stored.find(Selection((kept.digest,)), 2)
    assert (stored.time, stored.labels, stored.size) == (7, ("domain=hr",), 60)


# Slow, and swept


async def test_a_request_that_was_taken_for_left_is_not_ordered(at: Bench) -> None:
    """A frontend that stood still: its record would be logged without its addendum."""
    one, two = made(), made()
    batch, sent = at.batch(named(one)), Sent([one], {})
    await at.frontend.keep(sent)
    assert await at.sweep() == 1
    with pytest.raises(UnavailableError, match="send it again"):
        await at.sequencer.submit(batch)
    at.frontend.abandoned(sent)
    await at.tiles.settle()
    assert [leaf async for leaf in at.leaves(0)] == []
    await at.log(one, batch=batch)
    await at.log(two)
    assert (await at.read(one), await at.read(two)) == (one.data, two.data)


async def test_what_is_being_ordered_is_not_taken_for_left(at: Bench) -> None:
    sent = Sent([made()], {})
    await at.frontend.keep(sent)
    keys = [*at.at_work]

    async def order(db: DatabaseConnection) -> int:
        await addendarows.check_arriving(db, keys)
        left, _ = await addendarows.left(at.database, -1, 10)
        return len(left)

    assert await at.database.transact(order, "test") == 0
    assert len((await addendarows.left(at.database, -1, 10))[0]) == 1
    at.frontend.refused(sent)
    await at.frontend.close()


# Databases of before


async def test_a_database_of_before_is_migrated(database: str) -> None:
    opened = await Database.open(database)
    try:
        await migrate(opened)
        await opened.transact(
            lambda db: db.execute(
                "DROP TABLE addenda; DROP TABLE addendum; DROP TABLE erasing; DROP TABLE arriving;"
                "DELETE FROM muniment_schema WHERE version >= 4"
            ),
            "test",
        )
        assert await migrate(opened) == (3, 5)
        assert await addendarows.totals(opened) == Totals(0, 0, 0)
    finally:
        await opened.close()
