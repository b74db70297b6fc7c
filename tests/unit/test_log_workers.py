"""What workers and the process that orders tell each other, and what each answers."""

import asyncio
import logging
import os
import re
import signal
import socket
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from prometheus_client.parser import text_string_to_metric_families

import signing
from log_tools import GatewayStream, all_entries, embedded, ports_of, root
from muniment.tlog.tiles import Tile
from muniment.tlog.treereader import read_inclusions, read_root
from muniment_log.cli.setup import init
from muniment_log.config import load
from muniment_log.core.addenda import Addendum, Pack, Sent
from muniment_log.core.budgets import Rates
from muniment_log.core.repeats import RequestRecords, Said
from muniment_log.errors import DamagedTileError, OverBudgetError, UnavailableError
from muniment_log.http.access import AccessControl
from muniment_log.logfile import LimitsFile
from muniment_log.workers.channel import Channel, open_channel
from muniment_log.workers.desk import Desk, Ports
from muniment_log.workers.front import Front
from muniment_log.workers.metrics import (
    families,
    of_the_service,
    of_worker,
    rendered,
    summed,
)
from muniment_log.workers.pool import WorkerPool
from muniment_log.workers.pulse import BEAT_SECONDS, HUNG_SECONDS, Pulse
from muniment_log.workers.remote import RemoteHead, RemoteOrders, SharedBudgets, WorkerTiles
from muniment_log.workers.sockets import reserve
from muniment_log.workers.wire import BatchOrder, RecordsOrder, SentParts, pack_file, unpack_file
from muniment_service import http
from muniment_service.config import ConfigError
from muniment_service.metrics import Metrics
from muniment_service.readers import Readers
from waiting import until


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


def configured(folder: Path, top: str, more: str = "", *, listen: str = "[::1]:0") -> Path:
    init(folder, origin="log.example/l", listen=listen, passphrase_file=None, passphrase=None)
    config = folder / "log.toml"
    vkey = signing.log_signer("gw.example/a").vkey
    config.write_text(
        f'{top}\n{config.read_text()}\n[[gateway]]\nvkey = "{vkey}"\nrecords_per_second = 5.0\n'
        f'[[token]]\nproducer = "p.example"\nsha256 = "{"ab" * 32}"\n'
        f"expires = 2031-01-01T00:00:00Z\n{more}"
    )
    return config


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
async def ends() -> AsyncIterator[tuple[Channel, Channel]]:
    ours, theirs = socket.socketpair()
    one = await open_channel(ours, {"back": answer}, {})
    other = await open_channel(theirs, {}, {})
    try:
        yield one, other
    finally:
        await other.abort()
        await one.abort()


async def test_what_cannot_be_told_is_an_error_to_who_asks(
    ends: tuple[Channel, Channel], caplog: pytest.LogCaptureFixture
) -> None:
    # It is logged, and pytest-xdist cannot tell the report of a test that logged no UTF-8.
    caplog.set_level(logging.CRITICAL, "muniment_log.workers.channel")
    _, asking = ends
    for question in ("a text that cannot be told", "an error that cannot be told"):
        with pytest.raises(UnavailableError):
            await asking.ask("back", question)
    with pytest.raises(UnicodeEncodeError):
        await asking.ask("back", "\ud800")
    assert await asking.ask("back", "as before") == "as before"


async def test_one_who_no_longer_waits_for_the_end_keeps_it_from_nobody(
    ends: tuple[Channel, Channel],
) -> None:
    _, asking = ends
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


class Turns:
    """A clock's turns: who waits for one goes on when it is `turn`."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []
        self.seconds: list[float] = []

    async def pause(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self._waiting.append(asyncio.get_running_loop().create_future())
        await self._waiting[-1]

    async def turn(self) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.cancelled():
                each.set_result(None)
        for _ in range(3):
            await asyncio.sleep(0)


@given(st.lists(st.booleans(), max_size=30))
async def test_a_worker_is_given_up_when_it_leaves_all_unanswered(answers: list[bool]) -> None:
    turns, pulse, asked = Turns(), Pulse(), 0

    def ask() -> None:
        nonlocal asked
        asked += 1

    stops = asyncio.create_task(pulse.stops(ask, turns.pause))
    await asyncio.sleep(0)
    silent = 0
    for number, is_answered in enumerate(answers, start=1):
        assert asked == number
        if is_answered:
            pulse.answered()
        silent = 0 if is_answered else silent + 1
        await turns.turn()
        assert stops.done() == (silent * BEAT_SECONDS >= HUNG_SECONDS)
        if stops.done():
            return
    assert set(turns.seconds) == {BEAT_SECONDS}
    stops.cancel()


async def stopped(size: int) -> Any:
    raise UnavailableError(f"the log stops before {size}")


async def test_a_worker_that_stands_still_is_killed_and_started_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    unused: Any = None
    publisher: Any = SimpleNamespace(published=None)
    ports = Ports(unused, unused, publisher, unused, reached=stopped, damaged=unused, pruned=0)
    path = await asyncio.to_thread(configured, tmp_path / "log", "", listen="127.0.0.1:0")
    config = load(path)
    metrics, turns = Metrics("muniment_log"), Turns()
    pool = WorkerPool(config, ports, metrics, pause=turns.pause)

    def count(name: str) -> float | None:
        return metrics.registry.get_sample_value(f"muniment_log_worker_{name}_total")

    async with pool.serving(Repeating()):
        [still] = pool.pids
        os.kill(still, signal.SIGSTOP)
        while count("hangs") == 0:
            await turns.turn()
        await until(lambda: count("restarts") == 1 and bool(pool.pids))
        assert still not in pool.pids
        [said] = [one for one in caplog.records if one.levelno == logging.ERROR]
        assert "stands still" in said.getMessage()
        assert count("hangs") == 1


async def test_an_address_that_workers_cannot_have_is_named(tmp_path: Path) -> None:
    ports: Any = None
    with socket.create_server(("127.0.0.1", 0)) as held:
        taken = f"127.0.0.1:{held.getsockname()[1]}"
        path = await asyncio.to_thread(configured, tmp_path / "log", "workers = 2", listen=taken)
        pool = WorkerPool(load(path), ports, Metrics("muniment_log"))
        with pytest.raises(OSError, match=f"^listen: {taken}: Address already in use$"):
            async with pool.serving(Repeating()):
                raise AssertionError("it is bound twice")


class Repeating:
    """Answers with what it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def respond(self, request: http.Request) -> http.Response:
        self.asked += 1
        said = [request.method, request.path, request.query, request.headers.get("x-name")]
        return http.text_response(ascii([*said, request.client]))


async def test_a_request_is_handed_on_as_it_came(tmp_path: Path) -> None:
    unused: Any = None
    ours, theirs = socket.socketpair()
    repeating = Repeating()
    desk = await open_channel(ours, Desk(unused, repeating).questions, {})
    channel = await open_channel(theirs, {}, {})
    try:
        front = Front(
            channel=channel,
            access=AccessControl(unused),
            budgets=unused,
            orders=unused,
            head=RemoteHead(channel, unused),
            tiles=unused,
            metrics=Metrics("muniment_log"),
        )
        headers = CIMultiDict({"X-Name": b"no UTF-8: \xff".decode(errors="surrogateescape")})
        for target in ("/v1/log", "/v1/log?a=%ff&b"):
            request = http.Request("GET", target, headers, unused, "192.0.2.1")
            answering = asyncio.create_task(front.respond(request))
            if target == "/v1/log":  # the first one comes before it is known who may ask
                for _ in range(10):
                    await asyncio.sleep(0)
                assert not answering.done()
                assert not repeating.asked
                front.begin()
            answered = await answering
            assert answered.status == 200
            assert answered.body == (await repeating.respond(request)).body
    finally:
        await channel.close()
        await desk.close()


async def test_a_worker_orders_and_reads_what_the_log_does(tmp_path: Path) -> None:
    async with embedded(tmp_path / "log.db") as log:
        unused: Any = None
        ports = ports_of(log)
        ours, theirs = socket.socketpair()
        desk = await open_channel(ours, Desk(ports, unused).questions, {})
        channel = await open_channel(theirs, {}, {})
        readers = await Readers.open(tmp_path / "log.db", 2)
        try:
            orders, tiles = RemoteOrders(channel), WorkerTiles(channel, readers, 0)
            stream = GatewayStream()
            size = 0
            for count in (1, 3, 250, 1, 255, 300, 1000):
                batch = stream.take(count)
                receipt = await orders.batch(batch, None)
                assert receipt == await orders.batch(batch, None)
                assert receipt == await log.sequencer.submit(batch)
                assert (receipt.first, receipt.count) == (size, count)
                size = receipt.size
                entries = await all_entries(tiles, size)
                assert entries == await all_entries(log.tiles, size)
                head = log.tiles.edge.head
                assert root(entries) == head.root
                assert await read_root(tiles, size) == head.root
                assert (tiles.edge.head.size, tiles.edge.head.root) == (size, head.root)
                proofs = await read_inclusions(tiles, receipt.first, size, size)
                assert proofs == await read_inclusions(log.tiles, receipt.first, size, size)
            with pytest.raises(LookupError):
                await tiles.read([Tile(0, 10_000, 1)])
        finally:
            await readers.close()
            await channel.close()
            await desk.close()


class Heard:
    """Stands for the channel, and keeps what is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []
        self.asked: list[str] = []

    def tell(self, name: str, value: Any = None) -> None:
        self.told.append((name, value))


def test_budgets_are_those_of_all_workers() -> None:
    rates = {"a": Rates(records_per_second=0.01, burst_seconds=1000.0)}  # 10 at once
    one, other = Heard(), Heard()
    here, there = (
        SharedBudgets(channel, Rates(), rates, 0.01)  # type: ignore[arg-type]
        for channel in (one, other)
    )
    here.charge("a", records=6)
    here.failed("192.0.2.1")
    for budgets, channel in ((there, one),):
        for name, value in channel.told:
            (budgets.others_charged if name == "charged" else budgets.others_failed)(value)
    assert other.told == []  # what was heard is not told on
    for budgets in (here, there):
        budgets.check("a")
    there.charge("a", records=6)
    with pytest.raises(OverBudgetError):
        there.check("a")
    here.check("a")
    here.others_charged(other.told[0][1])
    with pytest.raises(OverBudgetError):
        here.check("a")
    there.check_address("192.0.2.2")
    with pytest.raises(OverBudgetError):
        there.check_address("192.0.2.1")


def test_nothing_is_told_of_budgets_that_nobody_has() -> None:
    for rates in (Rates(), LimitsFile().rates):  # how long a burst may be limits nothing
        channel = Heard()
        budgets = SharedBudgets(channel, rates, {"b": rates}, None)  # type: ignore[arg-type]
        budgets.charge("a", records=1, size=5)
        budgets.failed("192.0.2.1")
        budgets.replace({"c": rates})
        budgets.charge("c", records=1, size=5)
        assert channel.told == []
        budgets.replace({"c": Rates(bytes_per_second=5.0)})
        budgets.charge("c", records=1, size=5)
        assert channel.told


def test_metrics_are_summed_by_name_and_labels() -> None:
    parts: list[Any] = []
    for number in range(1, 4):
        metrics = Metrics("muniment_log")
        metrics.counter("refused", "Refused.", ("reason",)).labels("gap").inc(number)
        metrics.answered("/a", "GET", 200, 0.0)
        parts.append(families(metrics.registry))
    ended = of_the_service(parts.pop())
    text = rendered(summed([parts[0], of_worker(7, parts[1]), ended])).decode()
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["muniment_log_refused_total", (("reason", "gap"),)] == 1 + 2 + 3
    where = (("method", "GET"), ("route", "/a"), ("status", "200"))
    assert samples["muniment_log_http_request_seconds_count", where] == 3
    assert ("process_cpu_seconds_total", ()) in samples
    assert ("process_cpu_seconds_total", (("worker", "7"),)) in samples
    begun = "muniment_log_refused_created", (("reason", "gap"),)
    made = [each for family in parts[0] for each in family.samples]
    (first,) = [each.value for each in made if each.name == begun[0]]
    assert samples[begun] == first  # when the first of them was made, not the sum of the times
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(names) == len(set(names))


def test_a_port_is_shared_with_nobody_who_listens_there_already() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            reserve("127.0.0.1", port)
    held, same = reserve("127.0.0.1", port)
    with held, socket.create_server(("127.0.0.1", port), reuse_port=True):  # as a worker does
        assert same == port
        with pytest.raises(OSError, match="in use"):
            reserve("127.0.0.1", port)
