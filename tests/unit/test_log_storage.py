"""The SQLite store: identity, damage, what it costs, and the tile source above it."""

import sqlite3
from pathlib import Path

import pytest

import decisions
import log_tools
import signing
from log_tools import GATEWAY, GatewayStream, by_hand
from muniment.local.sqlitefile import DatabaseError
from muniment.records.manifest import NO_PREVIOUS, build_batch
from muniment.tlog.tiles import Tile, parse_tile_path
from muniment_log.errors import DamagedTileError, StorageError, WrongIdentityError
from muniment_log.storage import embedded as embedded_module
from muniment_log.storage.embedded import EmbeddedTiles
from muniment_log.storage.schema import create_database
from muniment_log.storage.sqlite import SQLiteStore


async def test_a_database_belongs_to_one_origin_and_its_keys(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    mine, other = [str(signing.log_signer().vkey)], [str(signing.log_signer("x.example").vkey)]
    both = [*mine, str(signing.log_mldsa44().vkey)]
    await create_database(path, "log.example/one", mine, "init")
    store = await SQLiteStore.open(path)
    with pytest.raises(WrongIdentityError, match=r"is the log log.example/one, not log.example/x"):
        await store.claim("log.example/x", mine)
    for keys in (other, both):
        with pytest.raises(WrongIdentityError, match=r"belongs to the keys log\.example/one"):
            await store.claim("log.example/one", keys)
    await store.claim("log.example/one", mine)
    await store.close()


async def test_two_cannot_open_one_database(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    store = await log_tools.open_store(path)
    with pytest.raises(DatabaseError, match="in use by another process"):
        await SQLiteStore.open(path)
    await store.close()
    await (await SQLiteStore.open(path)).close()


async def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE t (x)")
    db.commit()
    db.close()
    with pytest.raises(DatabaseError):
        await SQLiteStore.open(path)


async def test_rows_that_are_missing_are_named(tmp_path: Path) -> None:
    async with log_tools.embedded(tmp_path / "log.db") as log:
        await log.sequencer.submit(GatewayStream().take(600))
        by_hand(log.store.path, "DELETE FROM bundle WHERE idx = 1")
        by_hand(log.store.path, "DELETE FROM tile WHERE idx = 1")
        bundle, tile = (parse_tile_path(path) for path in ("tile/entries/001", "tile/0/001"))
        # The hash tile is still in memory.
        with pytest.raises(DamagedTileError, match="tile/entries/001 is missing"):
            await log.tiles.read([bundle])
        assert tile in await log.tiles.read([tile])
        with pytest.raises(DamagedTileError, match="tile/0/001 is missing"):
            await EmbeddedTiles(log.store, log.tiles.edge, None).read([tile])
        by_hand(log.store.path, "DELETE FROM tree")
    store = await log_tools.open_store(tmp_path / "log.db")
    with pytest.raises(StorageError, match="tree state"):
        await store.load()
    await store.close()


async def test_the_cache_of_tiles_is_bounded_and_true(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_module, "CACHED_TILES", 2)
    stream = GatewayStream()
    async with log_tools.embedded(tmp_path / "log.db") as log:
        for _ in range(4):
            await log.sequencer.submit(stream.take(511))
        first = {
            tile: data
            for tile in (Tile(0, i) for i in range(8))
            for data in [(await log.tiles.read([tile]))[tile]]
        }
        again = await log.tiles.read(list(first))
        assert again == first
        assert len(set(first.values())) == 8
        assert len(log.tiles._cache) == 2  # noqa: SLF001


async def test_stored_bytes_beyond_the_records_are_few(tmp_path: Path) -> None:
    """At most 70 bytes beyond each record: framing, hashes, manifests, pages."""
    path = tmp_path / "log.db"
    records = decisions.decisions(20_000, producer=GATEWAY)
    signer = GatewayStream().signer
    async with log_tools.embedded(path) as log:
        previous = NO_PREVIOUS
        for at in range(0, len(records), 1000):
            batch = build_batch(
                log_tools.ORIGIN, signer, "main", at, previous, records[at : at + 1000]
            )
            previous = batch.leaf_hashes[-1]
            await log.sequencer.submit(batch)
    beyond = (path.stat().st_size - sum(map(len, records))) / len(records)
    assert beyond <= 70


async def test_a_commit_of_one_record_does_not_rewrite_the_partial_bundle(tmp_path: Path) -> None:
    stream = GatewayStream()
    async with log_tools.embedded(tmp_path / "log.db") as log:
        await log.sequencer.submit(stream.take(200))
        await log.sequencer.submit(stream.take(1))
        rows = by_hand(log.store.path, "SELECT first, length(data) FROM tail ORDER BY first")
        assert [first for first, _ in rows] == [0, 201]
        assert rows[1][1] < 600
        await log.sequencer.submit(stream.take(60))
        rows = by_hand(log.store.path, "SELECT first FROM tail")
        assert rows == [(256,)]
