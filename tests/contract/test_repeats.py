"""What every implementation of the storage ports must do with what a client sends again."""

import asyncio
import json
from pathlib import Path

import pytest

from log_tools import GatewayStream, all_entries
from muniment_log.core.ports import Receipt
from muniment_log.core.repeats import (
    IdConflictError,
    KeyConflictError,
    RequestRecords,
    Stated,
    request_of,
)
from storages import LIMITS, Opener, Ports


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
        return await ports.sequencer.submit_records(who, request)

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
            return await ports.sequencer.submit_records(who, request)

        firsts = {
            (who, n): await send(who, n) for who in ("a.example", "b.example") for n in (0, 5)
        }
    async with opener(tmp_path) as ports:  # nothing of them is in memory
        # As many as may wait for the first, whose stream may be the last to be read.
        signed = [ports.sequencer.submit(stream.take(3)) for _ in range(LIMITS.parked_batches + 1)]
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
        assert [batch.count for batch in batches] == [3] * len(signed)
        assert len({batch.first for batch in batches}) == len(signed)


async def test_only_the_newest_of_each_producer_are_recognised(
    opener: Opener, tmp_path: Path
) -> None:
    requests = [said(*(told("x", f"r-{n}-{i}") for i in range(20))) for n in range(3)]
    async with opener(tmp_path) as ports:

        async def send(request: RequestRecords, who: str) -> Receipt:
            return await ports.sequencer.submit_records(who, request)

        quiet = await send(requests[0], "quiet.example")
        receipts = [await send(request, "p.example") for request in requests]
        # Sixty records of one producer, of which the newest fifty count; by requests, here.
        assert [await send(request, "p.example") for request in requests[1:]] == receipts[1:]
        assert (await send(requests[0], "p.example")).first > receipts[2].first
        assert await send(requests[0], "quiet.example") == quiet
