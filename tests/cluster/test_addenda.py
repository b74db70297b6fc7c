"""Addenda of a cluster on PostgreSQL and a bucket: stored, finished after a crash, erased."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from hashlib import sha256
from itertools import count
from pathlib import Path

import pytest

import objectserver
import signing
from cluster_tools import Settled, clustered
from engines import Bucket
from log_tools import GATEWAY, LIMITS
from muniment.records.addenda import addendum_path
from muniment.records.api import Erasure, parse_record
from muniment.records.canonical import encode_canonical
from muniment.records.manifest import MANIFEST, NO_PREVIOUS, Batch, build_batch
from muniment.tlog.note import Ed25519Signer
from muniment_log.cluster import addendarows
from muniment_log.cluster.addenda import ClusterAddenda
from muniment_log.cluster.addendaobjects import GONE, AddendaObjects
from muniment_log.cluster.adoptaddenda import copy_addenda
from muniment_log.cluster.database import Connection, Database
from muniment_log.cluster.erasing import ClusterErasable
from muniment_log.cluster.migrate import migrate
from muniment_log.cluster.objects import ObjectStore
from muniment_log.cluster.sweeping import Sweeper
from muniment_log.core.addenda import Addendum, Erased, Keeper, MissingAddendumError, Sent
from muniment_log.core.erasable import Mark, Selection, Totals
from muniment_log.core.erasing import Eraser, NotErasableError
from muniment_log.core.naming import subject_key
from muniment_log.core.ports import Receipt
from muniment_log.core.retention import Retention, Rule
from muniment_log.core.sequencer import Sequencer
from muniment_log.core.tokens import token_key
from muniment_log.errors import (
    EngineRefusedError,
    OverloadedError,
    StorageError,
    StreamGapError,
    UnavailableError,
    WrongIdentityError,
)
from muniment_log.storage.addenda import AddendaStore
from muniment_log.storage.embedded import leaves_from
from signing import ORIGIN
from waiting import until

DAY = 86_400_000
ALICE, BOB = subject_key("user", "alice"), subject_key("user", "bob")

_numbers = count()


def made(
    *,
    subject: bytes | None = ALICE,
    run: str | None = None,
    labels: tuple[str, ...] = (),
    size: int = 60,
) -> Addendum:
    data = random.Random(next(_numbers)).randbytes(size)
    return Addendum(sha256(data).digest(), data, subject, run, labels)


def named(*addenda: Addendum) -> bytes:
    """A record that names addenda."""
    places = {f"/request/m{n}": one.digest.hex() for n, one in enumerate(addenda)}
    return encode_canonical({"addenda": places, "id": f"r{next(_numbers)}", "kind": "decision"})


class Crash(BaseException):
    """The process ends here."""


class Objects(AddendaObjects):
    """The bucket, whose requests a test may stop, or hold back until later."""

    def __init__(self, objects: ObjectStore) -> None:
        super().__init__(objects)
        self.late: list[Callable[[], Awaitable[object]]] = []
        self.stopped: str = ""

    async def arrive(self, key: str, addenda: Sequence[Addendum]) -> None:
        if self.stopped == "arrive":
            self.late.append(lambda: super(Objects, self).arrive(key, addenda))
            raise Crash
        await super().arrive(key, addenda)
        if self.stopped == "arrived":
            raise Crash

    async def put(self, digest: bytes, data: bytes) -> bool:
        if self.stopped == "put":
            self.late.append(lambda: super(Objects, self).put(digest, data))
            raise Crash
        return await super().put(digest, data)

    async def clear(self, key: str) -> None:
        if self.stopped == "clear":
            raise Crash
        await super().clear(key)

    async def erase(self, digests: Sequence[bytes]) -> list[str]:
        if self.stopped == "erase":
            raise Crash
        return await super().erase(digests)


class Bench:
    """A cluster without HTTP, over an object store that shows what it holds."""

    def __init__(
        self,
        database: Database,
        store: objectserver.Store,
        bucket: ObjectStore,
        sequencer: Sequencer,
        tiles: Settled,
        rules: Sequence[Rule],
    ) -> None:
        self.database, self.store, self.bucket = database, store, bucket
        self.sequencer, self.tiles = sequencer, tiles
        self.objects = Objects(bucket)
        self.now = 0
        self.label = f"s{next(_numbers)}"
        self.next, self.previous = 0, NO_PREVIOUS
        self.frontend = self.another()
        self.stored = ClusterErasable(database, self.objects, self._leads)
        ids = count()
        self.eraser = Eraser(
            origin=ORIGIN,
            addenda=self.stored,
            submit=sequencer.submit_records,
            logged=self.logged,
            retention=Retention(rules),
            now_ms=lambda: self.now,
            new_id=lambda: f"e-{self.label}-{next(ids)}",
        )
        self.sweeper = Sweeper(
            database=database,
            objects=self.objects,
            leaves=self.leaves,
            size=lambda: tiles.tiles.edge.head.size,
            look=self.stored.look,
            left_seconds=-1,
        )

    async def _leads(self) -> None:
        """Nobody else does."""

    async def logged(self) -> Mark:
        return Mark((await self.sequencer.stream(token_key(ORIGIN))).next, 0)

    def leaves(self, start: int) -> AsyncIterator[bytes]:
        return leaves_from(self.tiles.tiles, start)

    def another(self, waiting_bytes: int = 1 << 20) -> ClusterAddenda:
        """Another frontend."""
        return ClusterAddenda(self.database, self.objects, waiting_bytes)

    def batch(self, *records: bytes) -> Batch:
        signer = Ed25519Signer(GATEWAY, signing.ed25519(GATEWAY))
        batch = build_batch(ORIGIN, signer, self.label, self.next, self.previous, records)
        self.next += len(records)
        self.previous = batch.leaf_hashes[-1]
        return batch

    async def log(
        self, *addenda: Addendum, expected: Sequence[Addendum] = (), batch: Batch | None = None
    ) -> Receipt:
        """Sends a request; the receipt. `expected` does not come along."""
        body = batch or self.batch(named(*addenda, *expected))
        sent = Sent(addenda, {one.digest: 0 for one in expected})
        receipt = await Keeper(self.frontend).ordered(sent, lambda: self.sequencer.submit(body))
        await self.frontend.close()
        return receipt

    async def read(self, one: Addendum) -> bytes | Erased | None:
        return await self.frontend.read(one.digest)

    async def erase(self, *addenda: Addendum, **selection: object) -> object:
        digests = tuple(one.digest for one in addenda)
        found = await self.eraser.select(Selection(digests, **selection))  # type: ignore[arg-type]
        return await self.eraser.erase(found, by="root", reason="asked for")

    async def sweep(self) -> int:
        await self.tiles.settle()
        return await self.sweeper.sweep()

    def places(self, one: Addendum) -> list[str]:
        """Where the bucket holds bytes of an addendum, without the bucket's name."""
        found = [path for path, data in self.store.objects.items() if one.data in data]
        return sorted(path.split("/", 2)[2] for path in found)

    async def arriving(self) -> int:
        async def work(db: Connection) -> int:
            return int(await db.fetchval("SELECT count(*) FROM arriving"))

        return await self.database.read(work, "test")

    async def restart(self) -> None:
        """What a new process of everything does."""
        self.objects.stopped = ""
        self.frontend = self.another()
        assert await self.sweep() >= 0
        await self.eraser._complete()


@contextlib.asynccontextmanager
async def bench(url: str, rules: Sequence[Rule] = ()) -> AsyncIterator[Bench]:
    store = objectserver.Store()
    with objectserver.serving(store) as environment:
        bucket = Bucket("s3://bucket", environment)
        objects = ObjectStore.open(bucket.url, environment=environment)
        async with clustered(url, bucket, LIMITS) as log:
            try:
                one = Bench(log.database, store, objects, log.sequencers[0], log.tiles, rules)
                yield one
            finally:
                await objects.close()


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


async def test_what_is_expected_has_to_be_there(at: Bench) -> None:
    one, two = made(), made()
    with pytest.raises(MissingAddendumError, match=two.digest.hex()):
        await at.log(one, expected=[two])
    assert (at.places(one), await at.arriving()) == ([], 0)


async def test_what_is_refused_goes_again(at: Bench) -> None:
    one = made()
    at.batch(named())
    with pytest.raises(StreamGapError):
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
    size, at.sweeper._size = at.sweeper._size, lambda: 0
    assert await at.sweeper.sweep() == 0
    assert await at.arriving() == 1
    assert await at.read(one) == one.data
    at.sweeper._size = size
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

    submit = at.eraser._submit
    if step == "submit":
        at.eraser._submit = crash  # type: ignore[assignment]
    elif step == "rows":
        monkeypatch.setattr(addendarows, "erase", crash)
    elif step == "erase":
        at.objects.stopped = "erase"
    else:
        monkeypatch.setattr(ClusterErasable, step, crash)
    with pytest.raises(Crash):
        await at.eraser.erase(found, by="root", reason=None)
    monkeypatch.undo()
    at.eraser._submit = submit
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
    at: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = made()
    await at.log(one)
    versioned = ObjectStore.get_versioned

    async def answer(self: ObjectStore, key: str) -> object:
        found = await versioned(self, key)
        return found and (found[0], found[1]._replace(version="v1"))

    async def swap(self: ObjectStore, key: str, data: bytes, *_: object) -> None:
        at.store.objects[f"/bucket/{key}"] = data

    monkeypatch.setattr(ObjectStore, "get_versioned", answer)
    monkeypatch.setattr(ObjectStore, "swap", swap)
    done = await at.erase(one)
    held = done.held  # type: ignore[attr-defined]
    assert held[0] == f"{addendum_path(one.digest.hex())} v1"
    assert held[1].startswith("arriving/")
    assert at.store.objects[f"/bucket/{addendum_path(one.digest.hex())}"] == GONE


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
            await asyncio.gather(*frontend._clearing, return_exceptions=True)
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
            with contextlib.suppress(StreamGapError):
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


# Databases of before


async def test_a_database_of_before_is_migrated(database: str) -> None:
    opened = await Database.open(database)
    try:
        await migrate(opened)
        await opened.transact(
            lambda db: db.execute(
                "DROP TABLE addenda; DROP TABLE addendum; DROP TABLE erasing; DROP TABLE arriving;"
                "DELETE FROM muniment_schema WHERE version = 4"
            ),
            "test",
        )
        assert await migrate(opened) == (3, 4)
        assert await addendarows.totals(opened) == Totals(0, 0, 0)
    finally:
        await opened.close()
