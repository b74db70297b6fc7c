"""Leaves that are no batches: appended as they stand, by whatever steps, to a tree of their own."""

from pathlib import Path

import pytest

from log_tools import Listening, all_entries, open_store, root
from muniment_log.core.integrate import restore
from muniment_log.errors import StorageError
from muniment_log.storage.embedded import EmbeddedTiles
from muniment_log.storage.leaforder import LeafOrder
from muniment_log.storage.sqlite import SQLiteStore


async def opened(store: SQLiteStore) -> tuple[LeafOrder, Listening]:
    loaded = await store.load()
    edge = restore(loaded.head, loaded.fragments, loaded.partials)
    listener = Listening(EmbeddedTiles(store, edge, None))
    return LeafOrder(store, edge, listener), listener


@pytest.mark.parametrize("steps", [[1, 1, 1], [255, 1, 1], [256], [300, 300], [3, 600, 2]])
async def test_leaves_are_the_tree(tmp_path: Path, steps: list[int]) -> None:
    leaves = [b"leaf %d" % number for number in range(sum(steps))]
    store = await open_store(tmp_path / "log.db")
    try:
        order, listener = await opened(store)
        end = 0
        for step in steps:
            await order.append(leaves[end : end + step])
            end += step
            assert order.head == (end, root(leaves[:end])) == listener.heads[-1][0]
        assert await all_entries(listener.tiles, end) == leaves
    finally:
        await store.close()
    store = await SQLiteStore.open(tmp_path / "log.db")
    try:
        order, listener = await opened(store)
        assert order.head.size == end
        await order.append([b"after the restart"])
        assert order.head.root == root([*leaves, b"after the restart"])
    finally:
        await store.close()


async def test_the_commit_signs_when_a_signature_is_wanted(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "log.db")
    try:
        order, listener = await opened(store)
        listener.sign = lambda head: b"signed %d" % head.size
        await order.append([b"one"])
        assert listener.heads[-1][1] == b"signed 1" == (await store.load()).signed
    finally:
        await store.close()


async def test_two_cannot_append_to_one_tree(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "log.db")
    try:
        (first, _), (second, _) = await opened(store), await opened(store)
        await first.append([b"one"])
        with pytest.raises(StorageError, match="something else wrote"):
            await second.append([b"another"])
    finally:
        await store.close()
