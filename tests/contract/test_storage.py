"""What every implementation of the storage ports must do.

An implementation is an async context manager that opens the storage kept at a path, or in the
test's own database and bucket (making it when absent), so that opening it again shows what is
durable.
"""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import cluster_tools
import engines
import log_tools
import rfc6962
import signing
from log_tools import GATEWAY, GatewayStream, all_entries, entries_of, gap, hasty, record
from muniment.records.manifest import Batch, verify_manifest
from muniment.tlog.cosignature import verifier_for
from muniment.tlog.encoding import unframe
from muniment.tlog.tiles import ENTRIES, Tile, bundles_of, tile_at, tiles_of
from muniment_log.core.ports import (
    NEW_STREAM,
    Receipt,
    SequencerPort,
    StreamKey,
    StreamState,
    TileSource,
)
from muniment_log.core.repeats import (
    IdConflictError,
    KeyConflictError,
    RequestRecords,
    Stated,
    request_of,
)
from muniment_log.errors import OverloadedError, StreamConflictError


@dataclass
class Ports:
    sequencer: SequencerPort
    tiles: TileSource
    publish: Callable[[bytes], Awaitable[None]]


Opener = Callable[[Path], contextlib.AbstractAsyncContextManager[Ports]]

LIMITS = replace(log_tools.LIMITS, waiting_bytes=1 << 20, parked_batches=4, recalled_records=50)


@contextlib.asynccontextmanager
async def sqlite(path: Path) -> AsyncIterator[Ports]:
    async with log_tools.embedded(path / "log.db", LIMITS) as log:
        yield Ports(log.sequencer, log.tiles, log.tiles.publish)


def cluster(database: str, bucket: engines.Bucket, *, reads_bucket: bool) -> Opener:
    """Two frontends, which take turns: a retry may reach another one.

    Tiles are the integrator's own, or those that a frontend reads out of the bucket.
    """

    @contextlib.asynccontextmanager
    async def opened(_: Path) -> AsyncIterator[Ports]:
        async with cluster_tools.clustered(database, bucket, LIMITS, frontends=2) as made:
            tiles = made.shown if reads_bucket else made.tiles
            yield Ports(Alternating(made.sequencers), tiles, made.tiles.tiles.publish)

    return opened


class Alternating:
    """A `SequencerPort` that is several, each of which gets the next call."""

    def __init__(self, sequencers: Sequence[SequencerPort]) -> None:
        self.turns = itertools.cycle(sequencers)

    async def submit(self, batch: Batch) -> Receipt:
        return await next(self.turns).submit(batch)

    async def submit_records(
        self, producer: str, records: Sequence[bytes], request: RequestRecords | None = None
    ) -> Receipt:
        return await next(self.turns).submit_records(producer, records, request)

    async def stream(self, key: StreamKey) -> StreamState:
        return await next(self.turns).stream(key)


@pytest.fixture(params=["sqlite", "cluster", "bucket"])
def opener(request: pytest.FixtureRequest) -> Opener:
    if request.param == "sqlite":
        return sqlite
    database, bucket = (request.getfixturevalue(name) for name in ("database", "bucket"))
    return cluster(database, bucket, reads_bucket=request.param == "bucket")


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
                ports.sequencer.submit_records("curl.example/dev", [record(f"{i}"), record("x")])
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
        after = await ports.sequencer.submit_records("curl.example/dev", [record("later")])
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
            *(ports.sequencer.submit_records("p.example", big) for _ in range(4)),
            return_exceptions=True,
        )
        refused = [r for r in results if isinstance(r, BaseException)]
        assert refused
        assert all(isinstance(error, OverloadedError) for error in refused)
        # What was refused left no trace, and there is room again.
        receipt = await ports.sequencer.submit_records("p.example", [b"y"])
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


def told(text: str, id_: str) -> bytes:
    return b'{"id":"%b","n":"%b"}' % (id_.encode(), text.encode())


def said(*records: bytes, key: str | None = None) -> RequestRecords:
    """A request whose records all have ids of their own."""
    ids = [json.loads(one)["id"] for one in records]
    stated = [Stated(id=True, time=False)] * len(records)
    return request_of(records, stated, [(id_, 1) for id_ in ids], key)


async def test_what_a_token_sent_before_gets_its_first_receipt(
    opener: Opener, tmp_path: Path
) -> None:
    producer = "curl.example/dev"

    async def send(ports: Ports, request: RequestRecords, who: str = producer) -> Receipt:
        return await ports.sequencer.submit_records(who, request.records, request)

    one, two = (said(told(f"{n}", f"r-{n}"), told("x", f"s-{n}")) for n in (1, 2))
    async with opener(tmp_path) as ports:
        copies = await asyncio.gather(*(send(ports, one) for _ in range(12)), send(ports, two))
        assert set(copies[:12]) == {copies[0]}
        again = await send(ports, two)
        assert again == copies[12]
        size = max(copy.size for copy in copies)
        assert len(await all_entries(ports.tiles, size)) == size <= 6
    async with opener(tmp_path) as ports:  # as durable as the records
        assert await send(ports, one) == copies[0]
        for other in (said(told("other", "r-1")), said(told("x", "r-1"))):
            with pytest.raises(IdConflictError):
                await send(ports, other)
        # Nobody else's ids are in the way.
        stranger = await send(ports, one, "stranger.example")
        assert stranger.first >= size
        mixed = said(told("new", "r-9"), told("1", "r-1"))
        receipt = await send(ports, mixed)
        assert receipt.indices[1] == copies[0].first
        keyed = request_of(
            [told("k", "made")], [Stated(id=False, time=False)], [("made", 1)], "key"
        )
        first = await send(ports, keyed)
        assert await send(ports, keyed) == first
        changed = request_of(
            [told("q", "made")], [Stated(id=False, time=False)], [("made", 1)], "key"
        )
        with pytest.raises(KeyConflictError):
            await send(ports, changed)
        # A key for what is there already is kept, too.
        for _ in range(3):
            assert await send(ports, said(*one.records, key="late")) == copies[0]
        with pytest.raises(KeyConflictError):
            await send(ports, said(told("new", "r-9"), key="late"))


async def test_what_comes_beside_a_repeat_is_logged_once_in_its_place(
    opener: Opener, tmp_path: Path
) -> None:
    """The commit that recognises one of a group orders nothing; all others of it go on."""
    stream = GatewayStream()
    requests = {
        (who, n): said(told(who, f"r-{n}"), told(who, f"s-{n}"))
        for who in ("a.example", "b.example")
        for n in range(12)
    }
    async with opener(tmp_path) as ports:

        async def send(who: str, n: int) -> Receipt:
            request = requests[who, n]
            return await ports.sequencer.submit_records(who, request.records, request)

        firsts = {
            (who, n): await send(who, n) for who in ("a.example", "b.example") for n in (0, 5)
        }
    async with opener(tmp_path) as ports:  # nothing of them is in memory
        signed = [ports.sequencer.submit(stream.take(3)) for _ in range(6)]
        sent = list(requests)
        batches, receipts = await asyncio.gather(
            asyncio.gather(*signed), asyncio.gather(*(send(who, n) for who, n in sent))
        )
        found = dict(zip(sent, receipts, strict=True))
        assert {key: found[key] for key in firsts} == firsts
        size = max(receipt.size for receipt in (*batches, *receipts))
        leaves = await all_entries(ports.tiles, size)
        for key, receipt in found.items():
            at = receipt.first
            assert leaves[at : at + 2] == list(requests[key].records)
        records = [leaf for leaf in leaves if leaf.startswith(b'{"id"')]
        assert len(records) == len({*records}) == 2 * len(requests) == 48
        assert [batch.count for batch in batches] == [3] * 6
        assert len({batch.first for batch in batches}) == 6


async def test_only_the_newest_of_each_producer_are_recognised(
    opener: Opener, tmp_path: Path
) -> None:
    requests = [said(*(told("x", f"r-{n}-{i}") for i in range(20))) for n in range(3)]
    async with opener(tmp_path) as ports:

        async def send(request: RequestRecords, who: str) -> Receipt:
            return await ports.sequencer.submit_records(who, request.records, request)

        quiet = await send(requests[0], "quiet.example")
        receipts = [await send(request, "p.example") for request in requests]
        # Sixty records of one producer, of which the newest fifty count; by requests, here.
        assert [await send(request, "p.example") for request in requests[1:]] == receipts[1:]
        assert (await send(requests[0], "p.example")).first > receipts[2].first
        assert await send(requests[0], "quiet.example") == quiet
