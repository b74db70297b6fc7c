"""Ten times what a log or a witness can do: refusals that say when to come back, and no harm."""

import asyncio
import json
import time
from pathlib import Path

import decisions
import signing
from faults.crowd import Line, files, resident, run
from faults.overloaded import Load, configured, everything
from faults.services import Services
from log_deployment import GATEWAY, ORIGIN, WORKERS, Stream, check_places
from log_load import tell
from muniment.gateway.gateway import Gateway
from waiting import until

MIB = 1 << 20
INFLIGHT, COMMIT, CONNECTIONS = 4 * MIB, 2 * MIB, 200
LIMITS = f"""
inflight_bytes = {INFLIGHT}
waiting_bytes = {MIB}
commit_bytes = {COMMIT}
connections = {CONNECTIONS}
"""

GROWTH = 4 * INFLIGHT + 4 * COMMIT + CONNECTIONS * (64 << 10) + 32 * MIB
"""How much the log may grow. A body is held up to three times: as it came, cut into records, and
as what they were decoded to; a group being committed is held as bundles and as what SQLite writes.
A connection has its buffers. The rest is for the allocator and for SQLite's caches."""

WARM_SECONDS, SECONDS, MOST_SECONDS, TIMES = 1.0, 2.0, 8.0, 10


async def stop_after(tasks: list[asyncio.Task[None]], load: Load, seconds: float) -> None:
    await asyncio.sleep(seconds)
    load.stopped = True
    await asyncio.gather(*tasks)


async def look_on(url: str, paths: list[str], until: Load) -> int:
    """Reads in turn while others overload the service; how often all of it was answered."""
    line = Line(url)
    rounds = 0
    while not until.stopped:
        for path in paths:
            reply = await line.ask("GET", path)
            assert reply is not None, path
            # A log whose disk is busy may say that its newest head is not published yet.
            is_late = path == "/readyz" and reply.status == 503
            assert is_late or reply.status == 200, (path, reply)
        rounds += 1
        await asyncio.sleep(0.05)
    line.close()
    return rounds


async def go_on(url: str, stream: str, count: int) -> list[int]:
    """A gateway as users have them: whatever the log says, each decision gets its receipt."""
    indices = []
    async with Gateway(url, signing.log_signer(GATEWAY), stream=stream, origin=ORIGIN) as gateway:
        for record in decisions.decisions(count, seed=len(stream), producer=GATEWAY):
            [receipt] = await gateway.submit([record], timeout=90)
            indices.append(receipt.index)
    return indices


async def overload(url: str, pid: int) -> None:
    warm = Load(url)
    await stop_after([asyncio.create_task(warm.signed()) for _ in range(4)], warm, WARM_SECONDS)
    rate = warm.statuses[200] / WARM_SECONDS
    before, opened = resident(pid), files(pid)
    load = Load(url, labels=warm.labels)
    tasks = [asyncio.create_task(load.signed()) for _ in range(40)]
    tasks += [asyncio.create_task(load.unsigned()) for _ in range(6)]
    reads = ["/healthz", "/readyz", "/checkpoint", "/tile/0/000", "/tile/entries/000"]
    looking = asyncio.create_task(look_on(url, reads, load))
    gateways = [asyncio.create_task(go_on(url, f"gateway{n}", 6)) for n in range(2)]
    began = time.monotonic()
    took = 0.0
    while took < SECONDS or (load.offered < TIMES * rate * took and took < MOST_SECONDS):
        await asyncio.sleep(0.1)
        took = time.monotonic() - began
    load.stopped = True
    await asyncio.gather(*tasks)
    # It is over: the next request is taken at once.
    lone = Stream("lone", signing.log_signer(GATEWAY))
    body = lone.take(decisions.decisions(1, seed=9, producer=GATEWAY))
    reply = load.note(await Line(url).ask("POST", "/v1/batches", body))
    assert reply.status == 200
    load.receive(reply, body)
    assert await looking >= 1
    grown = resident(pid, most=True) - before
    tell(
        f"{rate:.0f} batches/s sustained; {load.offered / took:.0f}/s offered for {took:.1f} s; "
        f"answers {load.statuses}; grown by {grown / MIB:.0f} of {GROWTH / MIB:.0f} MiB"
    )
    # Several workers have room for all these clients: only the queue before the commit refuses.
    assert load.statuses[503] > (load.statuses[200] if WORKERS == 1 else 0)
    assert load.statuses[200] > 1
    assert 0 not in load.statuses
    assert grown < GROWTH * WORKERS  # each worker has room for the largest request
    # Gateways that do as they are told get through by themselves, each record once.
    indices = [index for part in await asyncio.gather(*gateways) for index in part]
    assert len(set(indices)) == 12
    entries = await everything(url)
    check_places(warm.receipts, entries)
    check_places(load.receipts, entries)
    theirs = [entry for entry in entries if b'"producer":"curl.example/dev"' in entry]
    assert len(theirs) == load.plain > 0
    await until(lambda: files(pid) <= opened + 8)


def test_a_log_with_ten_times_its_load(tmp_path: Path, quick: Services) -> None:
    log = quick.log(configured(tmp_path / "log", LIMITS))
    run(overload(log.url, log.pid))
    assert "unhandled" not in log.stderr


HOSTILE = 1000  # records; at 150 µs each, a sixth of a second of checking


def slow_to_check(stream: Stream) -> bytes:
    """A batch whose records all need the slow path of the check."""
    plain = decisions.decisions(HOSTILE, seed=4, producer=GATEWAY)
    return stream.take([record.replace(b'"attempt":', b'"a":1e+30,"attempt":') for record in plain])


async def keep_busy(url: str) -> None:
    bodies = [slow_to_check(Stream(f"h{n}", signing.log_signer(GATEWAY))) for n in range(3)]
    tasks = [asyncio.create_task(Line(url).ask("POST", "/v1/batches", body)) for body in bodies]
    line = Line(url)
    answered = 0
    while not all(task.done() for task in tasks):
        reply = await line.ask("GET", "/healthz")
        assert reply is not None
        answered += 1
        await asyncio.sleep(0)
    for task in tasks:
        reply = await task
        assert reply.status == 200, reply
    tell(f"{answered} requests answered while 3 hostile batches were checked")
    # 3,000 slow records are 200 steps or so, with a turn for others after each. Checked batch by
    # batch, four or five would be answered.
    assert answered >= 20


def test_batches_that_are_slow_to_check_keep_nobody_waiting(
    tmp_path: Path, quick: Services
) -> None:
    log = quick.log(configured(tmp_path / "log", ""))
    run(keep_busy(log.url))


BUDGETED = 'records_per_second = 4000.0\n[[gateway]]\nvkey = "{}"\n'


async def within_budget(url: str) -> None:
    """One gateway sends what it may not; another, and a token, notice nothing."""
    load = Load(url)
    tasks = [asyncio.create_task(load.signed()) for _ in range(8)]
    line = Line(url)
    stream = Stream("calm", signing.log_signer("gw.example/calm"))
    calm = decisions.decisions(30, seed=5, producer="gw.example/calm")
    receipts = 0
    while len(calm) > receipts or 429 not in load.statuses:
        body = stream.take([calm[receipts % len(calm)]])
        await line.expect(200, "POST", "/v1/batches", body)
        receipts += 1
        await asyncio.sleep(0.02)
    # An honest client of the busy gateway waits its turn and loses nothing.
    load.stopped = True
    await asyncio.gather(*tasks)
    assert len(set(await go_on(url, "patient", 3))) == 3
    check_places(load.receipts, await everything(url))
    metrics = await line.ask("GET", "/metrics")
    text = metrics.body.decode()
    counted = text.partition(f'over_budget_total{{producer="{GATEWAY}"}} ')[2].partition("\n")[0]
    assert float(counted) >= load.statuses[429]
    assert 'over_budget_total{producer="gw.example/calm"}' not in text
    line.close()


async def refused_from_one_address(url: str) -> None:
    """Bad signatures: told so, then told to wait, before the body is read; others go on."""
    line = Line(url)
    stranger = Stream("x", signing.log_signer("gw.example/stranger"))
    body = stranger.take(decisions.decisions(1, producer="gw.example/stranger"))
    seen = []
    for _ in range(40):
        reply = await line.ask("POST", "/v1/batches", body)
        seen.append(reply.status)
        assert json.loads(reply.body)["type"].rpartition(":")[2] in {
            "unknown-gateway", "over-budget",
        }  # fmt: skip
        if reply.status == 429:
            assert int(reply.headers["retry-after"]) >= 1
            break
    assert seen[:20] == [403] * 20
    assert seen[-1] == 429
    await line.expect(200, "GET", "/healthz")
    line.close()


def test_budgets_of_real_clients(tmp_path: Path, quick: Services) -> None:
    calm = signing.log_signer("gw.example/calm").vkey
    # The [[gateway]] that comes first gets the rate; the second is not limited.
    config = configured(tmp_path / "log", "failures_per_second = 2.0\nburst_seconds = 0.1\n")
    gateway = str(signing.log_signer(GATEWAY).vkey)
    config.write_text(
        config.read_text().replace(f'"{gateway}"\n', f'"{gateway}"\n' + BUDGETED.format(calm))
    )
    log = quick.log(config)
    run(within_budget(log.url))
    run(refused_from_one_address(log.url))
