"""A log whose requests several processes take: one database, one order, the same promises."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import decisions
import processes
from log_deployment import GATEWAY, PRODUCER, PUBLISHED, TOKEN, Deployment, ask, deployed, leaves_of
from log_load import Load
from muniment_log.workers.sockets import reserve
from waiting import eventually, until

RECORDS = decisions.decisions(600, producer=GATEWAY)
CONNECTIONS = 16  # all of them at one of two workers: once in 32,768 times


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed(tmp_path_factory.mktemp("workers"), workers=2) as made:
        yield made


def workers_of(made: Deployment) -> list[int]:
    done = processes.run(processes.muniment_log("status", "--config", made.config), code=0)
    return json.loads(done.stdout)["workers"]


def has_ended(pid: int) -> bool:
    """Whether nothing of a process is left but its number, which its parent may not have taken."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return state.rpartition(")")[2].split()[0] == "Z"


def value_of(metrics: str, name: str) -> float:
    """The value of a metric with its labels; 0 when it is not there."""
    values = [line.split()[-1] for line in metrics.splitlines() if line.startswith(f"{name} ")]
    return float(values[0]) if values else 0.0


async def answered_by_either(made: Deployment, path: str, body: bytes) -> list[dict[str, Any]]:
    """What each of many connections is told; some are at one worker, some at the other.

    While one of them stands still, those at the other are answered.
    """
    told: list[dict[str, Any]] = []
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}

    async def one(session: aiohttp.ClientSession) -> None:
        async with session.post(made.url + path, data=body, headers=headers) as response:
            assert response.status == 200, await response.text()
            told.append(await response.json())

    for still in workers_of(made):
        begun = len(told)
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            asyncio.TaskGroup() as all_,
        ):
            os.kill(still, signal.SIGSTOP)
            try:
                for _ in range(CONNECTIONS):
                    all_.create_task(one(session))
                await until(lambda begun=begun: len(told) > begun)  # type: ignore[misc]
            finally:
                os.kill(still, signal.SIGCONT)
    assert len(told) == 2 * CONNECTIONS
    return told


def test_the_same_batch_at_two_workers_has_one_place(made: Deployment) -> None:
    body = made.stream().take(RECORDS[:300])
    told = asyncio.run(answered_by_either(made, "/v1/batches" + PUBLISHED, body))
    receipts = {(one["first"], one["count"], one["manifest"], one["size"]) for one in told}
    assert len(receipts) == 1
    ((first, count, _, size),) = receipts
    entries = leaves_of(made.url, size)
    assert entries[first : first + count] == RECORDS[:300]
    assert sum(entry == RECORDS[0] for entry in entries) == 1


def test_the_same_record_at_two_workers_has_one_index(made: Deployment) -> None:
    (record,) = decisions.decisions(1, seed=77, producer=PRODUCER)
    told = asyncio.run(answered_by_either(made, "/v1/records", record))
    assert len({json.dumps(one, sort_keys=True) for one in told}) == 1


def test_metrics_are_those_of_all_processes(made: Deployment) -> None:
    name = "muniment_log_http_request_seconds_count"
    lines = [
        f'{name}{{method="POST",route="/v1/batches",status="200"}}',
        f'{name}{{method="GET",route="/tile/*",status="200"}}',
    ]
    stream = made.stream()
    assert made.post(stream.take(RECORDS[:1]), PUBLISHED).status == 200
    before = ask(f"{made.url}/metrics").body.decode()
    for _ in range(CONNECTIONS):  # each over a connection of its own
        assert made.post(stream.take(RECORDS[:1])).status == 200
        assert ask(f"{made.url}/tile/0/000.p/1").status == 200
    after = ask(f"{made.url}/metrics").body.decode()
    for line in lines:
        assert value_of(after, line) - value_of(before, line) == CONNECTIONS
    for process in ("", '{worker="1"}', '{worker="2"}'):
        assert value_of(after, f"process_resident_memory_bytes{process}") > 1_000_000


def test_nobody_else_takes_the_port(made: Deployment) -> None:
    port = int(made.url.rpartition(":")[2])
    with pytest.raises(OSError, match="in use"):
        reserve("127.0.0.1", port)


async def kill_under_load(made: Deployment, load: Load) -> None:
    killed, other = workers_of(made)

    async def kill() -> None:
        taken = len(load.receipts)
        await until(lambda: len(load.receipts) > taken + 2)
        os.kill(killed, signal.SIGKILL)
        await until(lambda: has_ended(killed))

    await load.while_it_runs(kill)
    eventually(lambda: len(set(workers_of(made)) - {killed}) == 2)
    assert other in workers_of(made)


def test_a_worker_killed_under_load_loses_nothing_and_comes_back(made: Deployment) -> None:
    name = "muniment_log_worker_restarts_total"
    before = value_of(ask(f"{made.url}/metrics").body.decode(), name)
    load = Load(made, seed=5)
    for _ in range(3):
        asyncio.run(kill_under_load(made, load))
    load.go_on()
    assert value_of(ask(f"{made.url}/metrics").body.decode(), name) == before + 3


def test_workers_end_with_the_process_that_orders(made: Deployment) -> None:
    workers = workers_of(made)
    os.kill(made.log.pid, signal.SIGKILL)
    made.log.wait()
    eventually(lambda: all(map(has_ended, workers)))
    made.start_log()
    body = made.stream().take(RECORDS[:3])
    assert made.post(body, PUBLISHED).status == 200
    workers = workers_of(made)
    assert made.log.terminate() == 0
    assert all(map(has_ended, workers))
    made.start_log()
