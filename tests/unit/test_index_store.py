"""The index file: chunks nobody sees, the step ahead, what a crash leaves."""

from pathlib import Path
from random import Random

import pytest

import index_tools as tools
import logsim
from muniment.audit.trust import Misbehaviour
from muniment.index.follower import make_chunk
from muniment.index.keys import PART, Role, posting, thing_hash
from muniment.index.reader import IndexReader
from muniment.index.store import MAX_SUSPICIONS, Chunk, IndexStore
from muniment.local.sqlitefile import DatabaseError
from muniment.tlog.checkpoint import Checkpoint, sign_checkpoint
from muniment.tlog.encoding import frame
from muniment.tlog.merkle import CompactRange
from muniment.tlog.policy import CosignedCheckpoint
from muniment.tlog.tiles import bundles_of

EMPTY = CompactRange.EMPTY


def cosigned(leaves: CompactRange, now: int = tools.NOW) -> CosignedCheckpoint:
    head = Checkpoint(tools.ORIGIN, leaves.size, leaves.root())
    signers = [logsim.LOG_SIGNER, *logsim.WITNESSES]
    return logsim.POLICY.verify(sign_checkpoint(head, signers, now))


def chunk_of(entries: list[bytes], before: CompactRange, end: int) -> Chunk:
    bundles = [
        (tile, frame(entries[tile.start : tile.end])) for tile in bundles_of(before.size, end, end)
    ]
    return make_chunk(tools.ORIGIN, before, bundles, keeps_bundles=True)


async def add_verified(store: IndexStore, entries: list[bytes]) -> Chunk:
    chunk = chunk_of(entries, EMPTY, len(entries))
    await store.add(chunk)
    await store.advance(cosigned(chunk.after), tools.NOW)
    return chunk


def fake_range(size: int) -> CompactRange:
    """A range of a tree that nobody has built."""
    return CompactRange.from_peaks(size, [bytes([n]) * 32 for n in range(size.bit_count())])


async def test_pending_leaves_are_invisible_until_a_checkpoint_vouches(tmp_path: Path) -> None:
    entries = tools.make_entries(Random(1), 300)
    path = tmp_path / "replica"
    async with tools.opened(path) as store:
        chunk = chunk_of(entries, EMPTY, 300)
        await store.add(chunk)
        with tools.reading(path) as reader:
            assert reader.head() is None
            assert (await store.state()).pending.size == 300
            await store.advance(cosigned(chunk.after), tools.NOW)
            assert reader.head() == (tools.ORIGIN, 300, tools.NOW)
            assert reader.leaves([0, 299]) == {0: entries[0], 299: entries[299]}


async def test_only_the_root_of_the_stored_leaves_advances(tmp_path: Path) -> None:
    entries = tools.make_entries(Random(2), 10)
    async with tools.opened(tmp_path / "replica") as store:
        await store.add(chunk_of(entries, EMPTY, 10))
        other = chunk_of([*entries[:9], b"{}"], EMPTY, 10).after
        for wrong in (other, chunk_of(entries, EMPTY, 9).after):
            with pytest.raises(ValueError, match="not that of the pending leaves"):
                await store.advance(cosigned(wrong), tools.NOW)
        assert (await store.state()).size == 0


async def test_a_chunk_must_begin_where_the_file_ends(tmp_path: Path) -> None:
    entries = tools.make_entries(Random(3), 20)
    async with tools.opened(tmp_path / "replica") as store:
        first = chunk_of(entries, EMPTY, 10)
        await store.add(first)
        with pytest.raises(DatabaseError, match="not at leaf 0"):
            await store.add(first)
        other = chunk_of(entries[1:], EMPTY, 10).after
        with pytest.raises(DatabaseError, match="not at leaf 10"):
            await store.add(
                Chunk(tools.ORIGIN, other, chunk_of(entries, EMPTY, 20).after, [], {}, (), 0)
            )
        assert (await store.state()).pending == first.after


async def test_the_time_of_one_tree_never_goes_back(tmp_path: Path) -> None:
    entries = tools.make_entries(Random(4), 5)
    async with tools.opened(tmp_path / "replica") as store:
        chunk = chunk_of(entries, EMPTY, 5)
        await store.add(chunk)
        for now, known in ((100, 100), (200, 200), (150, 200)):
            await store.advance(cosigned(chunk.after, now), tools.NOW)
            assert (await store.state()).time == known


@pytest.mark.parametrize("verified", [0, 5, 256, 300, 512])
@pytest.mark.parametrize("more", [1, 256, 700])
async def test_dropping_what_is_pending_restores_what_is_verified(
    tmp_path: Path, verified: int, more: int
) -> None:
    entries = tools.make_entries(Random(verified), verified + more)
    paths = tmp_path / "dropped", tmp_path / "never"
    for path in paths:
        async with tools.opened(path) as store:
            before = EMPTY
            if verified:
                before = (await add_verified(store, entries[:verified])).after
            if path == paths[0]:
                await store.add(chunk_of(entries, before, verified + more))
                await store.drop_pending()
    contents = []
    for path in paths:
        with tools.database(path) as db:
            contents.append(
                [
                    db.execute("SELECT * FROM posting ORDER BY 1, 2").fetchall(),
                    db.execute("SELECT idx, data FROM bundle ORDER BY 1").fetchall(),
                    db.execute("SELECT size, peaks, pending, pending_peaks FROM state").fetchall(),
                ]
            )
    assert contents[0] == contents[1]


async def test_lookups_cross_the_parts_of_a_long_log(tmp_path: Path) -> None:
    path = tmp_path / "index"
    busy, rare = thing_hash("agent", "busy"), thing_hash("agent", "rare")
    size = 3 * PART + 10
    wanted = [5, PART - 1, PART, PART + 7, 2 * PART, 3 * PART, 3 * PART + 9]
    async with tools.opened(path, keeps_bundles=False) as store:
        before = EMPTY
        for part in range(4):
            after = fake_range(min(size, (part + 1) * PART))
            leaves = [index for index in wanted if before.size <= index < after.size]
            postings = [posting(busy, Role.TO, index) for index in leaves]
            if part == 2:
                postings.append(posting(rare, Role.FROM, 2 * PART + 1))
            await store.add(Chunk(tools.ORIGIN, before, after, sorted(postings), {}, (), 0))
            before = after
        await store.advance(cosigned(before), tools.NOW)
        with IndexReader(path, bundles=_NoBundles()) as reader:

            def find(*, after: int = -1, most: int = size, limit: int = 99) -> list[int]:
                return reader.find(busy, Role.TO, after=after, size=most, limit=limit)

            assert find() == wanted
            for at, index in enumerate(wanted):
                assert find(after=index) == wanted[at + 1 :]
                assert find(after=index - 1) == wanted[at:]
                assert find(most=index) == wanted[:at]
                assert find(most=index + 1) == wanted[: at + 1]
                assert find(limit=at + 1) == wanted[: at + 1]
            both = reader.find_all([rare, busy], (Role.ID, Role.TO), size=size, limit=99)
            assert both == [
                (0, Role.FROM, 2 * PART + 1),
                *[(1, Role.TO, index) for index in wanted],
            ]
            towards = reader.find_all([rare, busy], (Role.ID, Role.REVOKED), size=size, limit=99)
            assert towards == [(0, Role.FROM, 2 * PART + 1)]
            assert not reader.find_all([rare], (Role.ID, Role.TO), size=2 * PART + 1, limit=9)


class _NoBundles:
    def bundle(self, index: int) -> bytes:
        raise AssertionError(index)


async def test_a_chunk_of_two_parts_is_a_defect(tmp_path: Path) -> None:
    async with tools.opened(tmp_path / "index", keeps_bundles=False) as store:
        with pytest.raises(ValueError, match="one part"):
            await store.add(Chunk(tools.ORIGIN, EMPTY, fake_range(PART + 1), [], {}, (), 0))


async def test_two_things_with_one_hash_in_one_record_do_not_stop_the_follower(
    tmp_path: Path,
) -> None:
    async with tools.opened(tmp_path / "index", keeps_bundles=False) as store:
        twice = [posting(1, Role.REVOKED, 0)] * 2
        await store.add(Chunk(tools.ORIGIN, EMPTY, fake_range(1), twice, {}, (), 0))
    with tools.database(tmp_path / "index") as db:
        assert db.execute("SELECT count(*) FROM posting").fetchall() == [(1,)]


async def test_the_first_proof_is_kept_and_suspicions_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "replica"
    first = Misbehaviour("fork", (b"one\n", b"two\n"), b"r" * 32, (b"p" * 32, b"q" * 32))
    async with tools.opened(path) as store:
        chunk = await add_verified(store, [b"{}"])
        for number in range(MAX_SUSPICIONS + 5):
            await store.suspect(f"no {number}", cosigned(chunk.after))
            await store.suspect(f"no {number}", cosigned(chunk.after))
        kept = await store.suspicions()
        assert [sentence for sentence, _, _ in kept] == [
            f"no {number}" for number in range(5, MAX_SUSPICIONS + 5)
        ]
        assert kept[0][1:] == (cosigned(chunk.after).signed.encode(),) * 2
        await store.condemn(first)
        await store.condemn(Misbehaviour("same-size", (b"other\n",)))
        trust = await store.trust()
        assert trust.misbehaviour == first
        with tools.reading(path) as reader:
            assert reader.is_condemned()


async def test_clearing_leaves_the_evidence(tmp_path: Path) -> None:
    path = tmp_path / "replica"
    async with tools.opened(path) as store:
        chunk = await add_verified(store, [b"{}"])
        await store.suspect("odd", cosigned(chunk.after))
        await store.clear()
        assert (await store.state()).pending == EMPTY
        assert await store.suspicions()
        await store.add(chunk)


async def test_files_of_the_other_sort_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "replica"
    with pytest.raises(DatabaseError, match="no such index"):
        IndexReader(path)
    await tools.follow(path, tools.MemorySource([b"{}"]))
    with pytest.raises(DatabaseError, match="a replica, not a log's index"):
        await IndexStore.open(path, keeps_bundles=False)
    async with tools.opened(tmp_path / "index", keeps_bundles=False):
        with pytest.raises(DatabaseError, match="in use"):
            await IndexStore.open(tmp_path / "index", keeps_bundles=False)
        with pytest.raises(DatabaseError, match="the records are in the log"):
            IndexReader(tmp_path / "index")
    other = tmp_path / "other"
    with tools.database(other) as db:
        db.execute("CREATE TABLE t (a)")
    with pytest.raises(DatabaseError, match="not an index"):
        IndexReader(other)
    (tmp_path / "junk").write_bytes(b"not a database" * 100)
    with pytest.raises(DatabaseError, match="not a database"):
        IndexReader(tmp_path / "junk")


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE state SET peaks = x'00'",
        "UPDATE state SET size = 3",
        "UPDATE state SET note = x'00'",
        "UPDATE state SET origin = x'00'",
        "DELETE FROM state",
    ],
)
async def test_a_damaged_state_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "replica"
    await tools.follow(path, tools.MemorySource([b"{}"]))
    with tools.database(path) as db:
        db.execute(damage)
    with tools.reading(path) as reader, pytest.raises(DatabaseError, match="not a usable index"):
        reader.state()


async def test_a_missing_or_short_bundle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "replica"
    entries = tools.make_entries(Random(9), 600)
    await tools.follow(path, tools.MemorySource(entries))
    with tools.database(path) as db:
        db.execute("DELETE FROM bundle WHERE idx = 0")
        db.execute("UPDATE bundle SET data = substr(data, 1, 1000) WHERE idx = 1")
    with tools.reading(path) as reader:
        for index, words in ((1, "bundle 0 is missing"), (500, "bundle 1 ends before entry 244")):
            with pytest.raises(DatabaseError, match=words):
                reader.leaves([index])
        assert reader.leaves([599]) == {599: entries[599]}


async def test_a_bundle_that_is_no_bytes_any_more_is_named(tmp_path: Path) -> None:
    path = tmp_path / "replica"
    await tools.follow(path, tools.MemorySource(tools.make_entries(Random(9), 10)))
    with tools.database(path) as db:
        db.execute("UPDATE bundle SET data = 7")  # as a flipped bit in the row's header may have it
    with tools.reading(path) as reader, pytest.raises(DatabaseError, match="bundle 0 is damaged"):
        reader.leaves([1])
