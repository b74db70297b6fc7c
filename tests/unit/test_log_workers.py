"""Workers: when one is given up and started again, and what each answers, counts and allows."""

import asyncio
import logging
import os
import signal
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from prometheus_client.parser import text_string_to_metric_families

from channels import Pair
from log_tools import GatewayStream, all_entries, configured, embedded, ports_of, root
from muniment.tlog.tiles import Tile
from muniment.tlog.treereader import read_inclusions, read_root
from muniment_log.config import load
from muniment_log.core.budgets import Rates
from muniment_log.errors import OverBudgetError, UnavailableError
from muniment_log.http.access import AccessControl
from muniment_log.logfile import LimitsFile
from muniment_log.workers.desk import Desk, Ports
from muniment_log.workers.front import Front
from muniment_log.workers.metrics import families, of_the_service, of_worker, rendered, summed
from muniment_log.workers.pool import WorkerPool
from muniment_log.workers.pulse import BEAT_SECONDS, HUNG_SECONDS, Pulse
from muniment_log.workers.remote import RemoteHead, RemoteOrders, SharedBudgets, WorkerTiles
from muniment_log.workers.sockets import reserve
from muniment_service import http
from muniment_service.metrics import Metrics
from muniment_service.readers import Readers
from waiting import until


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
    repeating = Repeating()
    async with Pair(Desk(unused, repeating).questions) as pair:
        channel = pair.asking
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


async def test_a_worker_orders_and_reads_what_the_log_does(tmp_path: Path) -> None:
    unused: Any = None
    async with (
        embedded(tmp_path / "log.db") as log,
        Pair(Desk(ports_of(log), unused).questions) as pair,
    ):
        readers = await Readers.open(tmp_path / "log.db", 2)
        try:
            orders, tiles = RemoteOrders(pair.asking), WorkerTiles(pair.asking, readers, 0)
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
    for name, value in one.told:
        (there.others_charged if name == "charged" else there.others_failed)(value)
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
