"""The map process's work on real files: what it answers, what it builds again, what it refuses."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from index_tools import ORIGIN, make_entries
from log_tools import Listening, by_hand, open_store, root
from memtree import MemTree, list_value
from muniment.map.mapfile import MapFile
from muniment.records.touched import touched
from muniment.tlog.heads import Head
from muniment.tlog.indexleaf import IndexLeaf
from muniment_log.core.integrate import restore
from muniment_log.errors import IndexLogError
from muniment_log.index import mapper as mapping
from muniment_log.index.mapper import IndexLeaves, Mapper, UnreadableError
from muniment_log.index.mapprocess import MapAnswer, Question
from muniment_log.storage.embedded import EmbeddedTiles
from muniment_log.storage.leaforder import LeafOrder
from muniment_log.storage.snapshot import LogSnapshot
from muniment_log.storage.sqlite import SQLiteStore

ENTRIES = make_entries(Random(19), 700)


def map_root(leaves: Sequence[bytes]) -> bytes:
    """The root of the map, computed in memory."""
    lists: dict[bytes, list[int]] = {}
    for index, leaf in enumerate(leaves):
        for key in touched(leaf, ORIGIN):
            lists.setdefault(key, []).append(index)
    return MemTree((key, list_value(indices)) for key, indices in lists.items()).root


@dataclass
class Files:
    """A log, its index log, and the map between them."""

    folder: Path
    log: LeafOrder
    index_log: LeafOrder
    told: list[int]
    _open: list[Mapper]

    @property
    def map(self) -> Path:
        return self.folder / "map.db"

    def leaf(self, size: int, *, root_there: bytes | None = None) -> bytes:
        found = map_root(ENTRIES[:size]) if root_there is None else root_there
        return IndexLeaf(ORIGIN, Head(size, root(ENTRIES[:size])), found).encode()

    async def publish(self, *sizes: int) -> None:
        await self.index_log.append([self.leaf(size) for size in sizes])

    def started(self) -> Mapper:
        """Another process begins."""
        log, index_log = [LogSnapshot(self.folder / name) for name in ("log.db", "indexlog.db")]
        made = Mapper(self.map, log, IndexLeaves(index_log), self.told.append)
        self._open.append(made)
        return made

    async def ask(self, mapper: Mapper, size: int, head: bytes | None = None) -> MapAnswer:
        there = root(ENTRIES[:size]) if head is None else head
        return await mapper.answer(Question(ORIGIN, size, there, self.index_log.head.size))

    async def end(self) -> None:
        while self._open:
            await self._open.pop().close()


async def ordered(store: SQLiteStore) -> LeafOrder:
    loaded = await store.load()
    edge = restore(loaded.head, loaded.fragments, loaded.partials)
    return LeafOrder(store, edge, Listening(EmbeddedTiles(store, edge, None)))


@pytest.fixture
async def files(tmp_path: Path) -> AsyncIterator[Files]:
    stores = [await open_store(tmp_path / name) for name in ("log.db", "indexlog.db")]
    made = Files(tmp_path, *[await ordered(store) for store in stores], [], [])
    await made.log.append(ENTRIES)
    try:
        yield made
    finally:
        await made.end()
        for store in stores:
            await store.close()


async def test_it_answers_the_root_at_each_head(files: Files) -> None:
    mapper = files.started()
    for size in (1, 2, 256, 257, 700):
        assert await files.ask(mapper, size) == MapAnswer(size, map_root(ENTRIES[:size]))
    assert await files.ask(mapper, 700) == MapAnswer(700, map_root(ENTRIES))


async def test_it_goes_on_where_another_was_killed(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapping, "BATCH", 100)
    await files.ask(files.started(), 300)
    await files.end()
    files.told.clear()
    assert (await files.ask(files.started(), 700)).root == map_root(ENTRIES)
    assert files.told == [400, 500, 600, 700]


async def test_it_stops_by_what_was_published(files: Files) -> None:
    await files.publish(10, 20, 300, 500)
    assert (await files.ask(files.started(), 700)).root == map_root(ENTRIES)
    assert files.told == [500, 700]


@pytest.mark.parametrize("harm", ["lost", "garbage", "another log's", "longer"])
async def test_a_map_that_is_not_the_log_s_is_built_again(files: Files, harm: str) -> None:
    await files.publish(300)
    if harm in ("garbage", "lost"):
        await files.ask(files.started(), 300)
        await files.end()
        if harm == "lost":
            files.map.unlink()
        else:
            files.map.write_bytes(b"no database at all" * 1000)
    else:
        origin = "other.example/log" if harm == "another log's" else ORIGIN
        other = await MapFile.open(files.map, origin)
        await other.apply(0, ENTRIES[::-1])
        await other.close()
    assert await files.ask(files.started(), 301) == MapAnswer(301, map_root(ENTRIES[:301]))


async def test_what_was_published_wrongly_is_named(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapping, "BATCH", 100)
    await files.publish(100)
    await files.index_log.append([files.leaf(200, root_there=b"\x01" * 32), files.leaf(300)])
    for size in (300, 700):
        with pytest.raises(IndexLogError, match="leaf 1 of the index log states the map root AQEB"):
            await files.ask(files.started(), size)
        await files.end()


async def test_a_wrong_root_of_the_newest_leaf_is_found_at_the_start(files: Files) -> None:
    await files.ask(files.started(), 200)
    await files.end()
    await files.index_log.append([files.leaf(200, root_there=b"\x01" * 32)])
    with pytest.raises(IndexLogError, match="leaf 0 of the index log states the map root AQEBAQ"):
        await files.ask(files.started(), 700)


async def test_leaves_that_are_not_the_head_s_are_not_published(files: Files) -> None:
    with pytest.raises(IndexLogError, match=r"do not give the root of the log's head of size 600"):
        await files.ask(files.started(), 600, head=b"\x02" * 32)
    await files.end()
    # Nothing is wrong with the map itself.
    assert (await files.ask(files.started(), 600)).root == map_root(ENTRIES[:600])


@pytest.mark.parametrize("database", ["log.db", "indexlog.db"])
async def test_what_cannot_be_read_leaves_the_map_alone(files: Files, database: str) -> None:
    await files.publish(*range(1, 301))
    await files.ask(files.started(), 300)
    await files.end()
    before = files.map.stat().st_ino
    by_hand(files.folder / database, "DELETE FROM bundle WHERE idx = 1")
    by_hand(files.folder / database, "DELETE FROM tail")
    with pytest.raises(UnreadableError, match="is missing"):
        await files.ask(files.started(), 700)
    assert files.map.stat().st_ino == before
