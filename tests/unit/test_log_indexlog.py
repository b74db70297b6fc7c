"""The course of the index log: what it waits for, when it goes on, what ends it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from index_tools import NOW, ORIGIN, make_entries
from log_tools import Listening, open_store, root
from muniment.local.sqlitefile import FatalDatabaseError
from muniment.map.mapfile import MapFile
from muniment.tlog.checkpoint import Checkpoint, SignedCheckpoint, sign_checkpoint
from muniment.tlog.heads import Head
from muniment.tlog.indexleaf import parse_index_leaf
from muniment.tlog.treereader import read_entry
from muniment_log.core.integrate import restore
from muniment_log.errors import (
    IndexLogError,
    IndexLogUnavailableError,
    NotPublishedError,
    UnavailableError,
)
from muniment_log.index import indexlog
from muniment_log.index.indexlog import IndexLog
from muniment_log.publish.published import published_size
from muniment_log.storage.embedded import EmbeddedTiles
from muniment_log.storage.leaforder import LeafOrder
from muniment_service.metrics import Metrics
from signing import log_signer
from waiting import at_work, until

ENTRIES = make_entries(Random(5), 40)


def signed(origin: str, head: Head) -> SignedCheckpoint:
    return sign_checkpoint(Checkpoint(origin, *head), [log_signer(origin)], NOW)


class Heads:
    """Publishes when it is told to."""

    def __init__(self) -> None:
        self.published: SignedCheckpoint | None = None
        self.integrated = Head(0, root([]))
        self.is_stalled = False
        self.witnesses: list[dict[str, Any]] = []
        self._news = asyncio.Event()

    def publish(self, checkpoint: SignedCheckpoint) -> None:
        self.published = checkpoint
        self._news.set()
        self._news = asyncio.Event()

    async def wait(self, size: int, seconds: float | None) -> SignedCheckpoint:
        while self.published is None or self.published.checkpoint.size < size:
            try:
                async with asyncio.timeout(seconds):
                    await self._news.wait()
            except TimeoutError:
                raise NotPublishedError(size, published_size(self.published)) from None
        return self.published

    async def reached(self, size: int) -> SignedCheckpoint:
        return await self.wait(size, None)

    async def settled(self) -> None: ...

    async def run(self) -> None:
        await asyncio.Event().wait()


class Kept:
    """An index log over real files, whose publishers are told what to do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log, self.own = Heads(), Heads()
        self.errors: list[Exception] = []  # raised when it is opened, one each time
        self.opened = 0
        self.in_force = ""  # the name of the configuration that it goes by
        self.on_opening: Callable[[], Awaitable[None]] | None = None
        self.order: LeafOrder | None = None
        self.made = IndexLog(
            config=self.config("first"),
            log=self.log,
            opening=self._opening,
            pace_seconds=0.05,
            metrics=Metrics("test"),
        )

    def config(self, name: str) -> Any:
        """A configuration of the log, which tests know again by a name."""
        return SimpleNamespace(
            name=name,
            file=SimpleNamespace(origin=ORIGIN),
            database=self.folder / "log.db",
            map=self.folder / "map.db",
        )

    @asynccontextmanager
    async def _opening(self, config: Any, reached: Callable[[int], None]) -> AsyncIterator[Any]:
        self.opened += 1
        self.in_force = config.name
        if self.on_opening is not None:
            await self.on_opening()
        if self.errors:
            raise self.errors.pop(0)
        store = await open_store(self.folder / "indexlog.db")
        map_ = await MapFile.open(self.folder / "map.db", ORIGIN)
        try:
            loaded = await store.load()
            edge = restore(loaded.head, loaded.fragments, loaded.partials)
            tiles = EmbeddedTiles(store, edge, None)
            self.order = LeafOrder(store, edge, Listening(tiles))

            async def advance(head: Head, _: int) -> bytes:
                await map_.apply(map_.size, ENTRIES[map_.size : head.size])
                reached(map_.size)
                return map_.root

            async def cleared() -> None: ...

            async def reload(changed: Any) -> None:
                self.in_force = changed.name

            yield SimpleNamespace(
                publisher=self.own,
                tiles=tiles,
                order=self.order,
                map=SimpleNamespace(advance=advance),
                cleared=cleared,
                reload=reload,
            )
        finally:
            await map_.close()
            await store.close()

    def log_head(self, size: int) -> None:
        self.log.publish(signed(ORIGIN, Head(size, root(ENTRIES[:size]))))

    def own_head(self) -> None:
        self.own.publish(signed(f"{ORIGIN}/index", self.order.head))

    async def leaves(self, count: int) -> None:
        await until(lambda: self.order is not None and self.order.head.size == count)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexlog, "FIRST_PAUSE", 0.01)


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Kept]:
    made = Kept(tmp_path)
    async with at_work(made.made.run()):
        yield made


async def test_it_opens_again_by_the_configuration_that_was_taken_up(tmp_path: Path) -> None:
    """Also when that came while it stood still, or was being opened."""
    kept = Kept(tmp_path)
    kept.errors = [UnavailableError("no witness is there")]
    second, third = kept.config("second"), kept.config("third")

    async def first_opening() -> None:
        await kept.made.reload(second)
        kept.on_opening = again

    async def again() -> None:
        assert kept.in_force == "second"
        kept.on_opening = None
        await kept.made.reload(third)

    kept.on_opening = first_opening
    async with at_work(kept.made.run()):
        await until(lambda: kept.opened == 2 and kept.in_force == "third")


async def test_each_published_head_becomes_a_leaf_and_proves_once_that_is_published(
    kept: Kept,
) -> None:
    for number, size in enumerate((3, 17, 40), 1):
        kept.log_head(size)
        await kept.leaves(number)
        assert kept.made.state["covered"] < size
        kept.own_head()
        await until(lambda: kept.made.state["covered"] == size)  # noqa: B023
        current = kept.made.proving()
        assert current.leaf.head == (size, root(ENTRIES[:size]))
        assert current.number == number - 1
        assert (current.map.size, current.map.root) == (size, current.leaf.map_root)


async def test_the_newest_of_several_heads_is_taken(kept: Kept) -> None:
    kept.log_head(1)
    await kept.leaves(1)
    for size in range(2, 30):
        kept.log_head(size)
    kept.own_head()
    await kept.leaves(2)
    opened = kept.made.opened
    assert parse_index_leaf(await read_entry(opened.tiles, 1, 2)).head.size == 29


async def test_without_a_quorum_the_map_goes_on_after_a_while_and_nothing_is_proved(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexlog, "HOLD_SECONDS", 0.05)
    kept.log_head(3)
    await kept.leaves(1)
    kept.own_head()
    await until(lambda: kept.made.state["covered"] == 3)
    kept.log_head(5)
    await kept.leaves(2)
    assert kept.made.proving().leaf.head.size == 3  # it stands still meanwhile
    kept.log_head(9)
    await kept.leaves(3)
    with pytest.raises(IndexLogUnavailableError, match="not published yet"):
        kept.made.proving()
    kept.own_head()
    await until(lambda: kept.made.state["covered"] == 9)
    assert kept.made.proving().leaf.head.size == 9


async def test_newer_cosignatures_of_the_same_heads_are_given(kept: Kept) -> None:
    kept.log_head(3)
    await kept.leaves(1)
    kept.own_head()
    await until(lambda: kept.made.state["covered"] == 3)
    before = kept.made.proving()
    again = sign_checkpoint(before.head.checkpoint, [log_signer(ORIGIN)], NOW + 60)
    kept.log.publish(again)
    assert kept.made.proving().head is again
    # One that is about more leaves is not the head that the leaf is about.
    kept.log.publish(signed(ORIGIN, Head(4, root(ENTRIES[:4]))))
    assert kept.made.proving().head.checkpoint == before.head.checkpoint


async def test_what_was_published_before_a_restart_is_covered_when_the_log_is_further_already(
    tmp_path: Path,
) -> None:
    before, after = Kept(tmp_path), Kept(tmp_path)
    async with at_work(before.made.run()):
        before.log_head(3)
        await before.leaves(1)
        before.own_head()
        await until(lambda: before.made.state["covered"] == 3)
    after.own.published = before.own.published
    after.log_head(9)
    async with at_work(after.made.run()):
        await after.leaves(2)
        assert (after.made.state["covered"], after.made.state["lag"]) == (3, 6)
        after.own_head()
        await until(lambda: after.made.state["covered"] == 9)
    # The newest leaf has no quorum yet: nothing tells what the one before is about.
    third = Kept(tmp_path)
    third.own.published = before.own.published
    third.log_head(12)
    async with at_work(third.made.run()):
        await third.leaves(3)
        assert third.made.state["covered"] == 0


async def test_what_may_pass_is_tried_again(tmp_path: Path) -> None:
    failing = Kept(tmp_path)
    failing.errors = [FatalDatabaseError("the disk is full"), OSError("no such device")]
    async with at_work(failing.made.run()):
        await until(lambda: failing.opened == 3)
        failing.log_head(3)
        await failing.leaves(1)
        assert failing.made.state["error"] is None


async def test_what_can_only_be_wrong_for_good_is_not_tried_again(tmp_path: Path) -> None:
    failing = Kept(tmp_path)
    failing.errors = [IndexLogError("leaf 3 of the index log states another root")]
    async with at_work(failing.made.run()):
        await until(lambda: "leaf 3" in str(failing.made.state["error"]))
        with pytest.raises(IndexLogUnavailableError, match="leaf 3"):
            failing.made.proving()
        await asyncio.sleep(3 * indexlog.FIRST_PAUSE)
        assert failing.opened == 1
