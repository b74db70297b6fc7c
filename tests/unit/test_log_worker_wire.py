"""What workers and the process that orders tell each other, and how many workers there are."""

import asyncio
import logging
import re
import socket
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels import Pair
from log_tools import GatewayStream, configured
from muniment_log.config import load
from muniment_log.core.addenda import Addendum, Pack, Sent
from muniment_log.core.repeats import RequestRecords, Said
from muniment_log.errors import DamagedTileError, UnavailableError
from muniment_log.workers.channel import Channel, open_channel
from muniment_log.workers.wire import BatchOrder, RecordsOrder, SentParts, pack_file, unpack_file
from muniment_service.config import ConfigError


def travelled(value: Any, kind: Any) -> Any:
    """What the other process makes of it."""
    return msgspec.convert(msgspec.msgpack.decode(msgspec.msgpack.encode(value)), kind)


digests = st.binary(min_size=32, max_size=32)
addenda = st.builds(
    Addendum,
    digest=digests,
    data=st.binary(max_size=50),
    subject=st.none() | digests,
    execution=st.none() | st.text(max_size=5),
    labels=st.lists(st.text(max_size=5), max_size=3).map(tuple),
)
sent = st.none() | st.builds(
    Sent, st.lists(addenda, max_size=3), st.dictionaries(digests, st.integers(0, 9999), max_size=3)
)


@given(sent=sent, count=st.integers(1, 40))
def test_a_batch_is_the_same_on_the_other_side(sent: Sent | None, count: int) -> None:
    batch = GatewayStream().take(count)
    order = travelled(BatchOrder.of(batch, sent), BatchOrder)
    assert order.batch == batch
    assert SentParts.whole(order.sent) == sent


@given(
    data=st.lists(st.tuples(st.binary(min_size=1, max_size=9), st.none() | st.text(max_size=5))),
    subject=st.binary(min_size=16, max_size=16),
)
def test_a_pack_is_the_same_on_the_other_side(
    data: list[tuple[bytes, str | None]], subject: bytes
) -> None:
    section, ends = b"", []
    for each, _ in data:
        section += len(each).to_bytes(4, "big") + each
        ends.append(len(section))
    runs = [None if run is None else run.encode() for _, run in data]
    sent = Sent.packed(
        Pack(section, ends, [sha256(e).digest() for e, _ in data], subject * len(data), runs)
    )
    found = SentParts.whole(travelled(SentParts.of(sent), SentParts))
    assert (found.pack, found.digests, found.size) == (sent.pack, sent.digests, sent.size)
    assert found.addenda == sent.addenda
    assert [each.data for each in found.addenda] == [each for each, _ in data]


said = st.none() | st.builds(
    Said,
    name=st.binary(min_size=16, max_size=16),
    content=digests,
    time=st.none() | st.integers(0, 2**53),
    logged=st.integers(0, 2**53),
)


@given(
    sent=sent,
    records=st.lists(st.tuples(st.binary(min_size=1, max_size=50), said), min_size=1, max_size=5),
    key=st.none() | st.tuples(digests, digests),
)
def test_records_are_the_same_on_the_other_side(
    sent: Sent | None,
    records: list[tuple[bytes, Said | None]],
    key: tuple[bytes, bytes] | None,
) -> None:
    request = RequestRecords([record for record, _ in records], [one for _, one in records], key)
    order = travelled(RecordsOrder.of("p", request, sent), RecordsOrder)
    assert order.request == request
    assert SentParts.whole(order.sent) == sent


def test_a_configuration_is_the_same_on_the_other_side(tmp_path: Path) -> None:
    file = load(configured(tmp_path / "log", "workers = 3")).file
    assert file.workers == 3
    packed = msgspec.msgpack.decode(msgspec.msgpack.encode(pack_file(file)))
    found = unpack_file(packed)
    assert str(found.listen) == str(file.listen)
    assert msgspec.structs.replace(found, listen=file.listen) == file


@pytest.mark.parametrize("value", ["0", "65", '"all"', "1.5"])
def test_a_number_of_workers_that_cannot_be_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError, match="workers"):
        load(configured(tmp_path / "log", f"workers = {value}"))


def test_a_cluster_takes_frontends_instead(tmp_path: Path) -> None:
    config = configured(tmp_path / "log", "workers = 2")
    text = re.sub(r'database = ".*"', "", config.read_text())
    cluster = '[cluster]\npostgres = "postgres://h/d"\nobject_store = "s3://bucket"\n'
    config.write_text(text + cluster)
    with pytest.raises(ConfigError, match=r"workers: .*frontends"):
        load(config)


@pytest.mark.parametrize(("text", "least"), [("workers = 3", 3), ('workers = "auto"', 1), ("", 1)])
def test_there_are_as_many_workers_as_are_said(tmp_path: Path, text: str, least: int) -> None:
    count = load(configured(tmp_path / "log", text)).file.worker_count
    assert count >= least
    assert count == least or "auto" in text


async def answer(value: Any) -> Any:
    """Answers as it is asked: what is asked may not be told in MessagePack."""
    if value == "a text that cannot be told":
        return "\ud800"
    if value == "an error that cannot be told":
        raise DamagedTileError("\ud800", "is damaged")
    return value


@pytest.fixture
async def asking() -> AsyncIterator[Channel]:
    async with Pair({"back": answer}) as pair:
        yield pair.asking


async def test_what_cannot_be_told_is_an_error_to_who_asks(
    asking: Channel, caplog: pytest.LogCaptureFixture
) -> None:
    # It is logged, and pytest-xdist cannot tell the report of a test that logged no UTF-8.
    caplog.set_level(logging.CRITICAL, "muniment_log.workers.channel")
    for question in ("a text that cannot be told", "an error that cannot be told"):
        with pytest.raises(UnavailableError):
            await asking.ask("back", question)
    with pytest.raises(UnicodeEncodeError):
        await asking.ask("back", "\ud800")
    assert await asking.ask("back", "as before") == "as before"


async def test_one_who_no_longer_waits_for_the_end_keeps_it_from_nobody(
    asking: Channel,
) -> None:
    answering = asyncio.create_task(asking.ask("back", 1))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(asking.abort())
    await asyncio.sleep(0)  # it waits
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(UnavailableError):
        await answering
    await asking.ended.wait()


async def test_a_process_that_reads_no_notices_is_given_up() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        channel = await open_channel(ours, {}, {})
        for _ in range(100):
            if channel.ended.is_set():
                break
            channel.tell("charged", b"x" * (64 << 10), unread=1 << 20)
            await asyncio.sleep(0)
        assert channel.ended.is_set()
        channel.tell("charged", b"x", unread=1 << 20)
