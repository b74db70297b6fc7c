"""What a log keeps of what its records withhold: which addenda it takes, stores, and lets go."""

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import decisions
from muniment.records.canonical import encode_canonical
from muniment.records.codec import checking
from muniment.records.commitments import addendum
from muniment.records.forms import Forms
from muniment.tlog.encoding import in_one_go
from muniment_log.core.addenda import (
    Addendum,
    BadAddendumError,
    Erased,
    Keeper,
    MissingAddendumError,
    Sent,
)
from muniment_log.core.matching import LEAST_PACKED, MOST_PACKED, AddendaSection, arriving, matching
from muniment_log.core.naming import digests_of, subject_key
from muniment_log.core.ports import Receipt
from muniment_log.errors import (
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
from packing import packed, stored
from waiting import until

ORIGIN = "log.example/x"
NOW_MS = 1_790_000_000_000


def content(number: int, value: object = "text") -> bytes:
    return addendum(f"{number:032x}", value)


def digest_of(data: bytes) -> bytes:
    return sha256(data).digest()


def record(*withheld: bytes, **members: Any) -> bytes:
    request = decisions.request("alice", "read", ("document", "1"), kind="user")
    addenda = {f"/request/m{n}": digest_of(data).hex() for n, data in enumerate(withheld)}
    return encode_canonical(
        {
            "v": 1,
            "kind": "decision",
            "id": "1",
            "time": 1_790_000_000_000,
            "producer": "gw.example/x",
            "request": request,
            "response": {"decision": True},
            **({"addenda": addenda} if addenda else {}),
            **members,
        }
    )


def match(records: list[bytes], addenda: list[bytes]) -> Sent | None:
    return in_one_go(matching(records, addenda, b"".join(records)))


# Which record names it


def test_each_addendum_is_taken_with_what_finds_it_again() -> None:
    one, two = content(1), content(2)
    plain = record(execution="run-1")
    labelled = record(
        two, execution="run-2", artifact={"governance": {"area": "eu", "domain": "hr"}}
    )
    sent = match([plain, record(one), labelled], [two, one])
    key = subject_key("user", "alice")
    assert sent.addenda == [
        Addendum(digest_of(two), two, key, "run-2", ("area=eu", "domain=hr")),
        Addendum(digest_of(one), one, key, None, ()),
    ]
    assert sent.expected == {}


def behind(addenda: list[bytes]) -> AddendaSection:
    """Addenda as they come behind a batch."""
    return in_one_go(
        arriving(b"".join(len(one).to_bytes(4, "big") + one for one in addenda)),
    )


def usual(number: int, *withheld: bytes, **members: Any) -> bytes:
    """A decision of the form that most have."""
    subject = {"type": "user", "id": f"subject {number % 3}"}
    request = {"action": {"name": "read"}, "resource": {"type": "document", "id": "1"}}
    return record(*withheld, id=f"id-{number}", request=request | {"subject": subject}, **members)


def test_what_a_batch_of_usual_decisions_withholds_stays_together() -> None:
    addenda = [content(n, "x" * n) for n in range(LEAST_PACKED)]
    runs: list[dict[str, Any]] = [{"execution": f"run-{n}"} if n % 2 else {} for n in range(99)]
    records = [usual(n, one, **runs[n]) for n, one in enumerate(addenda)]
    told = in_one_go(checking(records, "gw.example/x", forms=Forms(withholding=True)))
    came, one_by_one = behind(addenda), match(records, addenda)
    sent = in_one_go(matching(records, came, b"".join(records), told))
    assert sent.pack is not None
    assert one_by_one.pack is None
    assert sent.addenda == one_by_one.addenda
    assert (sent.digests, sent.size) == (one_by_one.digests, one_by_one.size)
    assert (sent.number, sent.expected) == (one_by_one.number, one_by_one.expected) == (16, {})


@pytest.mark.parametrize(
    "what", ["order", "fewer", "two of one", "plain", "long", "kept and missing"]
)
def test_what_is_not_one_of_each_is_taken_one_by_one(what: str) -> None:
    text = "x" * (MOST_PACKED if what == "long" else 10)
    addenda = [content(n, text) for n in range(LEAST_PACKED + 1)]
    records = [usual(n, one) for n, one in enumerate(addenda)]
    if what == "order":
        addenda.reverse()
    elif what == "fewer":
        del addenda[3]
    elif what == "two of one":
        records[3:5] = [usual(3, addenda[3], addenda[4])]
    elif what == "plain":
        records.append(usual(99))
    elif what == "kept and missing":
        records[3] = usual(3, addenda.pop(3), kept="log")
    told = in_one_go(checking(records, "gw.example/x", forms=Forms(withholding=True)))
    sent = in_one_go(matching(records, behind(addenda), b"".join(records), told))
    one_by_one = match(records, addenda)
    assert sent.pack is None
    assert (sent.addenda, sent.expected) == (one_by_one.addenda, one_by_one.expected)


@pytest.mark.parametrize("at", [0, 40, 79])
def test_one_record_whose_log_keeps_something_is_found_among_usual_ones(at: int) -> None:
    forms, addendum = Forms(withholding=True), content(1)
    records = [usual(n) for n in range(80)]
    in_one_go(checking(records, "gw.example/x", forms=forms))
    told = in_one_go(checking(records, "gw.example/x", forms=forms))
    assert told.without == len(records)
    assert in_one_go(matching(records, [], b"".join(records), told)) is None
    records[at] = usual(at, addendum, kept="log")
    told = in_one_go(checking(records, "gw.example/x", forms=forms))
    sent = in_one_go(matching(records, [], b"".join(records), told))
    assert sent.expected == {digest_of(addendum): at}


def test_an_addendum_that_comes_twice_behind_a_batch_is_refused() -> None:
    addenda = [content(1)] * LEAST_PACKED
    records = [usual(n, one) for n, one in enumerate(addenda)]
    told = in_one_go(checking(records, "gw.example/x", forms=Forms(withholding=True)))
    with pytest.raises(BadAddendumError, match="addendum 1: came before"):
        in_one_go(matching(records, behind(addenda), b"".join(records), told))


def test_an_outcome_names_the_commitments_of_its_run() -> None:
    data = content(1)
    outcome = encode_canonical(
        {
            "v": 1,
            "kind": "outcome",
            "id": "1",
            "time": 1,
            "producer": "gw.example/x",
            "execution": "run-1",
            "status": "completed",
            "outputs": {"result": f"sha256:{digest_of(data).hex()}"},
        }
    )
    assert digests_of(outcome) == [digest_of(data)]
    sent = match([outcome], [data])
    assert sent.addenda[0].subject is None
    assert sent.addenda[0].execution == "run-1"


def test_what_no_record_names_is_refused_with_its_number() -> None:
    one, two = content(1), content(2)
    with pytest.raises(BadAddendumError, match="addendum 1: no record of this request names"):
        match([record(one)], [one, two])
    with pytest.raises(BadAddendumError, match="addendum 1: came before"):
        match([record(one)], [one, one])
    with pytest.raises(BadAddendumError, match="addendum 0") as caught:
        match([record()], [one])
    assert caught.value.number == 0


def test_records_without_addenda_are_not_read() -> None:
    assert match([b"not even JSON"], []) is None
    assert match([record(content(1))], []) is None


def test_a_record_that_says_that_the_log_keeps_them_expects_them() -> None:
    one, two = content(1), content(2)
    records = [record(one), record(two, kept="log")]
    sent = match(records, [one])
    assert sent.expected == {digest_of(two): 1}
    assert match(records, [two]) == Sent(
        [Addendum(digest_of(two), two, subject_key("user", "alice"), None, ())],
        {},
    )


def test_a_long_addendum_is_hashed_in_steps() -> None:
    data = content(1, "x" * (5 << 20))
    steps = matching([record(data)], [data], record(data))
    assert sum(1 for _ in steps) >= 5
    assert sum(1 for _ in arriving(len(data).to_bytes(4, "big") + data)) >= 5
    assert behind([data]).digests == [digest_of(data)]
    sent = match([record(data)], [data])
    assert sent.addenda[0].digest == digest_of(data)


def test_a_subject_has_one_key_and_no_other_subject_has_it() -> None:
    assert subject_key("a", "bc") != subject_key("ab", "c")


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
    await store.open()
    running = asyncio.get_running_loop().create_task(store.run())
    try:
        yield store
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError, StorageError):
            await running
        await store.close()


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


class Orders:
    """Orders, or refuses."""

    def __init__(self, outcome: Receipt | Exception) -> None:
        self.outcome = outcome
        self.gate = asyncio.Event()

    async def __call__(self) -> Receipt:
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
    ],
)
async def test_addenda_are_stored_before_the_order_and_follow_its_outcome(
    tmp_path: Path, outcome: Receipt | Exception, is_kept: bool, is_noted: bool
) -> None:
    path = tmp_path / "addenda.db"
    data = content(1)
    order = Orders(outcome)
    async with opened(path) as store:
        task = asyncio.ensure_future(Keeper(store).ordered(sent_of(data), order))
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
    order = Orders(StreamGapError(0, 5))
    async with opened(path) as store:
        refuse = store.refused
        monkeypatch.setattr(store, "refused", lambda sent: refused.append(refuse(sent)))
        task = asyncio.ensure_future(Keeper(store).ordered(sent_of(content(1)), order))
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
