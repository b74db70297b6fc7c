"""What a log keeps of what its records withhold: what it stores, and lets go."""

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muniment_log.core.addenda import Erased, MissingAddendumError, Sent
from muniment_log.core.naming import subject_key
from muniment_log.core.orders import Orders
from muniment_log.core.ports import Receipt
from muniment_log.errors import (
    NotOrderedError,
    OverloadedError,
    StorageError,
    StreamGapError,
    UnavailableError,
    WrongIdentityError,
)
from muniment_log.storage import addendarows
from muniment_log.storage import packs as storage_packs
from muniment_log.storage.addenda import AddendaStore
from muniment_log.storage.addendacontents import Row
from muniment_log.storage.arriving import Arriving
from packing import content, digest_of, match, packed, record, stored, working
from waiting import until

ORIGIN = "log.example/x"
NOW_MS = 1_790_000_000_000


# The store

packs = False
"""Whether what may stay together does."""


@pytest.fixture(params=["one by one", "together"])
def both(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "packs", request.param == "together")
    monkeypatch.setattr(storage_packs, "MOST", 2)


def sent_of(*data: bytes, expects: tuple[bytes, ...] = ()) -> Sent:
    sent = match([record(*data)], [*data])
    addenda = [] if sent is None else sent.addenda
    if packs and addenda and not expects:
        return Sent.packed(packed(addenda))
    return Sent(addenda, {digest_of(one): 7 for one in expects})


@asynccontextmanager
async def opened(
    path: Path, size: Callable[[], int] = lambda: 100, **options: Any
) -> AsyncIterator[AddendaStore]:
    store = AddendaStore(
        path, ORIGIN, size=size, waiting_bytes=options.get("most", 1 << 20), now_ms=lambda: NOW_MS
    )
    async with working(store):
        yield store


def rows(path: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(statement).fetchall()


@pytest.mark.usefixtures("both")
async def test_what_is_kept_is_read_again_and_the_file_is_made_for_it(tmp_path: Path) -> None:
    path = tmp_path / "addenda.db"
    one, two = content(1), content(2, {"\0": "é"})
    async with opened(path) as store:
        assert await store.read(digest_of(one)) is None
        assert not path.exists()
        await store.keep(sent_of(one, two))
        await store.named(sent_of(one, two), 100)
    async with opened(path) as store:
        assert await store.read(digest_of(one)) == one
        assert await store.read(digest_of(two)) == two
    assert rows(path, "SELECT * FROM arriving") == []
    alice = subject_key("user", "alice")
    assert stored(path) == [
        (Row(n, digest_of(one), alice, None, NOW_MS, 100, None, len(one), None, None), one)
        for n, one in enumerate((one, two), 1)
    ]


@pytest.mark.usefixtures("both")
async def test_what_was_refused_goes_unless_somebody_else_brought_it(tmp_path: Path) -> None:
    path = tmp_path / "addenda.db"
    mine, ours, theirs = content(1), content(2), content(3)
    async with opened(path) as store:
        await store.keep(sent_of(theirs))
        await store.named(sent_of(theirs), 100)
        await asyncio.gather(store.keep(sent_of(mine, ours, theirs)), store.keep(sent_of(ours)))
        store.refused(sent_of(mine, ours, theirs))
        await store.named(sent_of(ours), 103)
        await store.keep(sent_of(content(4)))  # what has changed is written with it
        assert await store.read(digest_of(mine)) is None
        assert await store.read(digest_of(ours)) == ours
        assert await store.read(digest_of(theirs)) == theirs
        store.refused(sent_of(content(4)))
    assert rows(path, "SELECT * FROM arriving") == []
    assert [data for _, data in stored(path)] == [theirs, ours]


@pytest.mark.usefixtures("both")
async def test_what_is_expected_must_be_there_and_nothing_is_kept_otherwise(
    tmp_path: Path,
) -> None:
    one, two, three = content(1), content(2), content(3)
    async with opened(tmp_path / "addenda.db") as store:
        with pytest.raises(MissingAddendumError, match=r"record 7: .* did not come") as caught:
            await store.keep(sent_of(one, expects=(two,)))
        assert (caught.value.entry, caught.value.digest) == (7, digest_of(two))
        assert await store.read(digest_of(one)) is None
        await store.keep(sent_of(two))
        await store.keep(sent_of(one, three, expects=(two,)))
        assert await store.read(digest_of(one)) == one


async def test_what_was_erased_is_never_stored_again(tmp_path: Path) -> None:
    path = tmp_path / "addenda.db"
    one, two = content(1), content(2)
    async with opened(path) as store:
        await store.keep(sent_of(one))
        await store.named(sent_of(one), 100)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE addendum SET data = NULL, erased = 5, erasure = 123")
    async with opened(path) as store:
        await store.keep(sent_of(one, two))
        assert await store.read(digest_of(one)) == Erased(5, 123)
        await store.keep(sent_of(content(3), expects=(one,)))  # it was there
        store.refused(sent_of(one, two))
    assert rows(path, "SELECT data, erased, erasure FROM addendum WHERE id = 1") == [(None, 5, 123)]


async def test_more_than_may_wait_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path / "addenda.db", most=150) as store:
        await store.keep(sent_of(content(1)))
        with pytest.raises(OverloadedError):
            await store.keep(sent_of(content(2), content(3)))
        await store.named(sent_of(content(1)), 100)
        await store.keep(sent_of(content(2), content(3)))


async def test_the_file_of_another_log_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "addenda.db"
    async with opened(path) as store:
        await store.keep(sent_of(content(1)))
    other = AddendaStore(
        path, "log.example/other", size=lambda: 0, waiting_bytes=1, now_ms=lambda: 0
    )
    with pytest.raises(
        WrongIdentityError, match=r"is the log log.example/x, not log.example/other"
    ):
        await other.open()


async def test_a_failed_commit_stops_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = AddendaStore(
        tmp_path / "addenda.db", ORIGIN, size=lambda: 0, waiting_bytes=1 << 20, now_ms=lambda: 0
    )
    running = asyncio.get_running_loop().create_task(store.run())
    await store.keep(sent_of(content(1)))

    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(addendarows, "commit", fail)
    with pytest.raises(UnavailableError):
        await store.keep(sent_of(content(2)))
    with pytest.raises(StorageError, match="storing addenda"):
        await running
    with pytest.raises(UnavailableError):
        await store.keep(sent_of(content(3)))
    await store.close()


# After a crash


async def leaves_of(found: dict[int, bytes], start: int) -> AsyncIterator[bytes]:
    for index in sorted(found):
        if index >= start:
            yield found[index]


@contextmanager
def crash() -> Iterator[None]:
    """Stores that are closed meanwhile do not write what waits, as if they had not been closed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Arriving, "has_changes", False)
        yield


async def crashed(path: Path, *steps: Callable[[AddendaStore], Any]) -> None:
    """Runs steps and stops without what `close` writes."""
    with ExitStack() as ends:
        async with opened(path) as store:
            for step in steps:
                done = step(store)
                if done is not None:
                    await done
            ends.enter_context(crash())


@pytest.mark.usefixtures("both")
async def test_a_start_finds_the_records_of_what_was_arriving(tmp_path: Path) -> None:
    path = tmp_path / "addenda.db"
    named, orphan = content(1), content(2)
    await crashed(path, lambda store: store.keep(sent_of(named, orphan)))
    async with opened(path) as store:
        looked: list[int] = []

        def leaves(start: int) -> AsyncIterator[bytes]:
            looked.append(start)
            return leaves_of({3: record(orphan), 100: record(named)}, start)

        assert await store.sweep(leaves) == 1
        assert looked == [100]
        assert await store.read(digest_of(named)) == named
        assert await store.read(digest_of(orphan)) is None
        assert await store.sweep(leaves) == 0
        assert looked == [100]


async def test_what_was_logged_long_before_its_addendum_is_found(tmp_path: Path) -> None:
    path = tmp_path / "addenda.db"
    data = content(1)
    await crashed(
        path,
        lambda store: store.keep(sent_of(data, content(2))),
        lambda store: store.keep(sent_of(data)),
        lambda store: store.named(sent_of(data), 40),
    )
    async with opened(path) as store:
        assert await store.sweep(lambda start: leaves_of({40: record(data)}, start)) == 1
        assert await store.read(digest_of(data)) == data


# Before the order


class Sequencing:
    """Orders, or refuses."""

    def __init__(self, outcome: Receipt | Exception) -> None:
        self.outcome = outcome
        self.gate = asyncio.Event()

    async def submit(self, _: Any) -> Receipt:
        await self.gate.wait()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.mark.parametrize(
    ("outcome", "is_kept", "is_noted"),
    [
        (Receipt(100, 1, 101, 102), True, False),
        (Receipt(90, 1, 91, 92), True, False),
        (StreamGapError(0, 5), False, False),
        (UnavailableError("?"), True, True),
        (NotOrderedError("not now"), False, False),
    ],
)
async def test_addenda_are_stored_before_the_order_and_follow_its_outcome(
    tmp_path: Path, outcome: Receipt | Exception, is_kept: bool, is_noted: bool
) -> None:
    path = tmp_path / "addenda.db"
    data = content(1)
    order = Sequencing(outcome)
    async with opened(path) as store:
        task = asyncio.ensure_future(
            Orders(cast(Any, order), store).batch(cast(Any, None), sent_of(data))
        )
        while await store.read(digest_of(data)) is None:
            assert not task.done()
            await asyncio.sleep(0)
        assert rows(path, "SELECT first, last, size FROM arriving") == [(1, 1, 100)]
        order.gate.set()
        if isinstance(outcome, Exception):
            with pytest.raises(type(outcome)):
                await task
        else:
            assert await task == outcome
    assert bool(stored(path)) == is_kept
    assert bool(rows(path, "SELECT 1 FROM arriving")) == is_noted


async def test_who_goes_away_does_not_leave_the_outcome_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "addenda.db"
    refused = []
    order = Sequencing(StreamGapError(0, 5))
    async with opened(path) as store:
        refuse = store.refused
        monkeypatch.setattr(store, "refused", lambda sent: refused.append(refuse(sent)))
        task = asyncio.ensure_future(
            Orders(cast(Any, order), store).batch(cast(Any, None), sent_of(content(1)))
        )
        await store.keep(sent_of(content(2)))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        order.gate.set()
        await until(lambda: bool(refused))
        store.refused(sent_of(content(2)))
    assert stored(path) == []


# Any order of events


@pytest.mark.usefixtures("both")
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
async def test_what_is_acknowledged_is_there_whatever_else_happens(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Requests that share addenda come, are named or refused, and the log may crash."""
    path = tmp_path_factory.mktemp("any") / "addenda.db"
    log: dict[int, bytes] = {}
    acknowledged: set[int] = set()
    size = 0
    with ExitStack() as ends:
        async with opened(path, lambda: size) as store:
            at_work: list[list[int]] = []
            for _ in range(data.draw(st.integers(1, 12))):
                if not at_work or data.draw(st.booleans()):
                    numbers = data.draw(st.lists(st.integers(0, 4), min_size=1, unique=True))
                    await store.keep(sent_of(*map(content, numbers)))
                    at_work.append(numbers)
                    continue
                numbers = at_work.pop(data.draw(st.integers(0, len(at_work) - 1)))
                sent = sent_of(*map(content, numbers))
                if not data.draw(st.booleans()):
                    store.refused(sent)
                    continue
                at = data.draw(st.integers(0, size))  # logged before, or now
                log.setdefault(at, record(*map(content, numbers)))
                if log[at] != record(*map(content, numbers)):
                    at = size = max(log) + 1
                    log[at] = record(*map(content, numbers))
                size = max(size, at + 1)
                await store.named(sent, at)
                acknowledged |= {*numbers}
            if data.draw(st.booleans(), "crash"):
                ends.enter_context(crash())
    async with opened(path) as store:
        await store.sweep(lambda start: leaves_of(log, start))
        for number in range(5):
            found = await store.read(digest_of(content(number)))
            assert found == (content(number) if number in acknowledged else None)
    assert rows(path, "SELECT * FROM arriving") == []
