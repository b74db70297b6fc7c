"""What every implementation of the storage ports must do.

An implementation is an async context manager that opens the storage kept at a path, or in the
test's own database and bucket (making it when absent), so that opening it again shows what is
durable.
"""

import asyncio
from pathlib import Path

import pytest

import rfc6962
import signing
from log_tools import GATEWAY, GatewayStream, all_entries, entries_of, gap, hasty, nameless, record
from muniment.records.manifest import verify_manifest
from muniment.tlog.cosignature import verifier_for
from muniment.tlog.encoding import unframe
from muniment.tlog.tiles import ENTRIES, Tile, bundles_of, tile_at, tiles_of
from muniment_log.core.ports import NEW_STREAM, StreamKey
from muniment_log.errors import OverloadedError, StreamConflictError
from storages import LIMITS, Opener

MAIN = StreamKey(GATEWAY, "main")


async def test_receipts_are_contiguous_and_the_leaves_stand_there(
    opener: Opener, tmp_path: Path
) -> None:
    stream, leaves = GatewayStream(), []
    async with opener(tmp_path) as ports:
        for count in (1, 3, 260, 700, 2):
            batch = stream.take(count)
            receipt = await ports.sequencer.submit(batch)
            assert receipt.first == len(leaves)
            assert (receipt.count, receipt.manifest) == (count, len(leaves) + count)
            assert receipt.size == receipt.manifest + 1
            leaves += entries_of(batch)
        assert await all_entries(ports.tiles, len(leaves)) == leaves
    async with opener(tmp_path) as ports:
        assert await all_entries(ports.tiles, len(leaves)) == leaves


async def test_tiles_of_every_size_reached(opener: Opener, tmp_path: Path) -> None:
    stream, leaves = GatewayStream(), []
    async with opener(tmp_path) as ports:
        for count in (5, 249, 1, 300, 510):
            batch = stream.take(count)
            await ports.sequencer.submit(batch)
            leaves += entries_of(batch)
            size = len(leaves)
            tiles = list(tiles_of(size))
            found = await ports.tiles.read(tiles)
            for tile in tiles:
                span = 256**tile.level
                expected = [
                    rfc6962.MTH(leaves[at : at + span]) for at in range(tile.start, tile.end, span)
                ]
                assert found[tile] == b"".join(expected)


async def test_partial_tiles_are_prefixes_also_when_full_ones_took_their_place(
    opener: Opener, tmp_path: Path
) -> None:
    stream = GatewayStream()
    async with opener(tmp_path) as ports:
        await ports.sequencer.submit(stream.take(9))
        early = await ports.tiles.read([Tile(0, 0, 10), Tile(ENTRIES, 0, 10), Tile(0, 0, 4)])
        await ports.sequencer.submit(stream.take(600))
        later = await ports.tiles.read([Tile(0, 0, 10), Tile(ENTRIES, 0, 10), Tile(0, 0, 4)])
        assert early == later
        assert later[Tile(0, 0, 4)] == later[Tile(0, 0, 10)][:128]
        both = await ports.tiles.read([Tile(0, 0), Tile(0, 0, 4), Tile(ENTRIES, 0)])
        assert both[Tile(0, 0)][:128] == both[Tile(0, 0, 4)]
        assert len(unframe(both[Tile(ENTRIES, 0)])) == 256


@pytest.mark.parametrize("tile", [Tile(0, 0), Tile(0, 0, 12), Tile(ENTRIES, 0, 12), Tile(1, 0, 1)])
async def test_nothing_beyond_the_tree(opener: Opener, tmp_path: Path, tile: Tile) -> None:
    async with opener(tmp_path) as ports:
        await ports.sequencer.submit(GatewayStream().take(10))
        with pytest.raises(LookupError):
            await ports.tiles.read([tile])


async def test_a_retry_gets_the_first_receipt(opener: Opener, tmp_path: Path) -> None:
    stream = GatewayStream()
    batches = [stream.take(3), stream.take(2)]
    async with opener(tmp_path) as ports:
        first = [await ports.sequencer.submit(batch) for batch in batches]
        assert [await ports.sequencer.submit(batch) for batch in batches] == first
    async with opener(tmp_path) as ports:
        assert [await ports.sequencer.submit(batch) for batch in batches] == first
        third = await ports.sequencer.submit(stream.take(1))
        assert third.first == first[-1].size


async def test_the_same_batch_many_times_at_once(opener: Opener, tmp_path: Path) -> None:
    batch = GatewayStream().take(3)
    async with opener(tmp_path) as ports:
        receipts = await asyncio.gather(*(ports.sequencer.submit(batch) for _ in range(20)))
        assert len({(r.first, r.size) for r in receipts}) == 1
        with pytest.raises(LookupError):
            await ports.tiles.read([Tile(0, 0, 5)])


@pytest.mark.parametrize("again", [False, True])
async def test_another_root_at_the_same_number_is_a_conflict(
    opener: Opener, tmp_path: Path, again: bool
) -> None:
    stream = GatewayStream()
    fork = stream.copy()
    async with opener(tmp_path) as ports:
        receipt = await ports.sequencer.submit(stream.take(3))
        if not again:
            with pytest.raises(StreamConflictError) as caught:
                await ports.sequencer.submit(fork.take(3, text="other"))
            assert caught.value.first == 0
            assert (await ports.sequencer.submit(stream.take(1))).first == receipt.size
    if again:
        async with opener(tmp_path) as ports:
            with pytest.raises(StreamConflictError):
                await ports.sequencer.submit(fork.take(3, text="other"))


async def test_another_previous_hash_or_length_is_a_conflict(
    opener: Opener, tmp_path: Path
) -> None:
    stream = GatewayStream()
    fork = stream.copy()
    fork.take(3, text="other")
    async with opener(tmp_path) as ports:
        await ports.sequencer.submit(stream.take(3))
        with pytest.raises(StreamConflictError):
            await ports.sequencer.submit(fork.take(1))
        with pytest.raises(StreamConflictError):  # a prefix of what is logged
            await ports.sequencer.submit(GatewayStream().take(2))
        inside = GatewayStream(next=1, previous=bytes(31) + b"\1")
        with pytest.raises(StreamConflictError):
            await ports.sequencer.submit(inside.take(1))
        assert await ports.sequencer.stream(MAIN) == (3, stream.previous)


async def test_a_gap_names_the_expected_number(opener: Opener, tmp_path: Path) -> None:
    stream = GatewayStream()
    async with opener(tmp_path) as ports:
        await ports.sequencer.submit(stream.take(4))
        late = stream.take(2)
        with hasty(LIMITS, 0.2):
            assert (await gap(ports.sequencer, stream.take(1))).expected == 4
        assert (await ports.sequencer.submit(late)).first == 5


async def test_batches_in_flight_out_of_order_are_taken_in_order(
    opener: Opener, tmp_path: Path
) -> None:
    stream = GatewayStream()
    batches = [stream.take(count) for count in (2, 1, 3, 1)]
    async with opener(tmp_path) as ports:
        receipts = await asyncio.gather(*(ports.sequencer.submit(b) for b in reversed(batches)))
        firsts = [receipt.first for receipt in reversed(receipts)]
        assert firsts == sorted(firsts)
        leaves = [entry for batch in batches for entry in entries_of(batch)]
        assert await all_entries(ports.tiles, len(leaves)) == leaves


async def test_streams_are_independent(opener: Opener, tmp_path: Path) -> None:
    streams = [GatewayStream("a"), GatewayStream("b"), GatewayStream("a", "gw.example/other")]
    async with opener(tmp_path) as ports:
        batches = [stream.take(2) for stream in streams for _ in range(3)]
        receipts = await asyncio.gather(*(ports.sequencer.submit(b) for b in batches))
        assert len({receipt.first for receipt in receipts}) == len(batches)
        for stream in streams:
            state = await ports.sequencer.stream(StreamKey(stream.gateway, stream.label))
            assert state == (6, stream.previous)


async def test_where_a_stream_continues(opener: Opener, tmp_path: Path) -> None:
    stream = GatewayStream()
    async with opener(tmp_path) as ports:
        assert await ports.sequencer.stream(MAIN) == NEW_STREAM
        await ports.sequencer.submit(stream.take(3))
        assert await ports.sequencer.stream(MAIN) == (3, stream.previous)
    async with opener(tmp_path) as ports:
        assert await ports.sequencer.stream(MAIN) == (3, stream.previous)


async def test_records_without_a_gateway_are_framed_by_the_log(
    opener: Opener, tmp_path: Path
) -> None:
    async with opener(tmp_path) as ports:
        receipts = await asyncio.gather(
            *(
                ports.sequencer.submit_records(
                    "curl.example/dev", nameless(record(f"{i}"), record("x"))
                )
                for i in range(10)
            )
        )
        size = max(receipt.size for receipt in receipts)
        leaves = await all_entries(ports.tiles, size)
        for number, receipt in enumerate(receipts):
            assert receipt.count == 2
            assert leaves[receipt.first : receipt.first + 2] == [record(f"{number}"), record("x")]
            # "visibly not signed by a gateway": the log's key, the producer's name.
            manifest = verify_manifest(
                leaves[receipt.manifest], [verifier_for(signing.log_signer().vkey)]
            )
            assert manifest.producer == "curl.example/dev"
            assert manifest.stream.startswith("token:")
        key = StreamKey("curl.example/dev", manifest.stream)
        assert (await ports.sequencer.stream(key)).next == 20
    async with opener(tmp_path) as ports:
        after = await ports.sequencer.submit_records("curl.example/dev", nameless(record("later")))
        assert after.first == size
        leaves = await all_entries(ports.tiles, after.size)
        manifest = verify_manifest(
            leaves[after.manifest], [verifier_for(signing.log_signer().vkey)]
        )
        assert manifest.first == 20


async def test_too_much_waiting_is_refused_and_not_kept(opener: Opener, tmp_path: Path) -> None:
    async with opener(tmp_path) as ports:
        big = [b"x" * 60_000] * 10
        results = await asyncio.gather(
            *(ports.sequencer.submit_records("p.example", nameless(*big)) for _ in range(4)),
            return_exceptions=True,
        )
        refused = [r for r in results if isinstance(r, BaseException)]
        assert refused
        assert all(isinstance(error, OverloadedError) for error in refused)
        # What was refused left no trace, and there is room again.
        receipt = await ports.sequencer.submit_records("p.example", nameless(b"y"))
        assert receipt.first == 11 * (4 - len(refused))


async def test_many_commits_end_in_one_tree(opener: Opener, tmp_path: Path) -> None:
    streams = [GatewayStream(f"s{i}") for i in range(5)]
    async with opener(tmp_path) as ports:

        async def run(stream: GatewayStream) -> None:
            for count in (1, 60, 3):
                await ports.sequencer.submit(stream.take(count))

        await asyncio.gather(*map(run, streams))
        size = sum(3 + 64 for _ in streams)
        leaves = await all_entries(ports.tiles, size)
        top = await ports.tiles.read([tile_at(0, 0, size), *bundles_of(0, size, size)])
        assert top[tile_at(0, 0, size)] == b"".join(rfc6962.MTH([leaf]) for leaf in leaves[:256])


async def test_the_published_checkpoint_is_durable(opener: Opener, tmp_path: Path) -> None:
    notes = [signing.signed(size=size).encode() for size in (3, 9)]
    async with opener(tmp_path) as ports:
        assert await ports.tiles.checkpoint() is None
        for note in notes:
            await ports.publish(note)
            assert await ports.tiles.checkpoint() == note
    async with opener(tmp_path) as ports:
        assert await ports.tiles.checkpoint() == notes[-1]
