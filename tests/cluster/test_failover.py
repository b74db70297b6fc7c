"""What is acknowledged is on a standby: also what an earlier attempt wrote, and after a failover.

With `synchronous_standby_names`, a commit that waits for a dead standby is invisible until the
primary is restarted. Then it is there, on this one machine, and whoever recognises it must wait all
the same.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import asyncpg
import pytest

import decisions
import engines
import waiting
from log_deployment import GATEWAY as DEPLOYED_GATEWAY
from log_deployment import PUBLISHED, Cluster, ask, deployed, start_log
from log_tools import GATEWAY, GatewayStream
from muniment.tlog.encoding import unframe
from muniment_log.cluster import database as database_module
from muniment_log.cluster.database import Database
from muniment_log.cluster.lease import Lease
from muniment_log.cluster.migrate import migrate
from muniment_log.cluster.order import Backlog, PostgresOrder
from muniment_log.cluster.treestore import TreeStore
from muniment_log.core.integrate import EMPTY_EDGE, integrate
from muniment_log.core.ordering import Ordering
from muniment_log.core.ports import StreamKey
from muniment_log.core.streams import digest_of
from muniment_log.errors import LogError, UnavailableError
from tcpproxy import Proxy

SECONDS = 90.0  # only a failure waits so long
MAIN = StreamKey(GATEWAY, "main")
RECORDS = decisions.decisions(5, producer=DEPLOYED_GATEWAY)

T = TypeVar("T")


@pytest.fixture
def pair() -> Iterator[tuple[engines.PostgreSQL, engines.Standby]]:
    """A primary that waits for its one standby."""
    with (
        engines.started(engines.PostgreSQL) as primary,
        engines.started(engines.Standby, primary) as standby,
    ):
        primary.wait_for_standby()
        yield primary, standby


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts end sooner than they do in a service."""
    monkeypatch.setattr(database_module, "COMMAND_SECONDS", 1.5)
    monkeypatch.setattr(database_module, "LOCK_SECONDS", 1.0)


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    database = await Database.open(url, connections=16, patience=0.5)
    try:
        yield database
    finally:
        await database.close()


async def eventually(work: Callable[[], Awaitable[T]]) -> T:
    """What it gives as soon as it succeeds."""
    async with asyncio.timeout(SECONDS):
        while True:
            with contextlib.suppress(UnavailableError):
                return await work()
            await asyncio.sleep(0.1)


async def begun(database: Database) -> tuple[PostgresOrder, TreeStore]:
    """What orders batches and what moves the tree of a log that has none yet."""
    await eventually(lambda: migrate(database))
    lease = await eventually(lambda: Lease.acquire(database, "integrator", 600.0))
    return PostgresOrder(database, Backlog()), TreeStore(database, lease.epoch)


def restart(primary: engines.PostgreSQL) -> None:
    """Restarts it as a crash would."""
    primary.kill()
    primary.start()


async def test_what_is_recognised_is_on_a_standby_before_it_is_told(
    pair: tuple[engines.PostgreSQL, engines.Standby], hasty: None
) -> None:
    primary, standby = pair
    url = primary.create_database()
    stream = GatewayStream()
    batch = stream.take(3)
    ordering = Ordering(MAIN, batch, digest_of(batch))
    async with opened(url) as database:
        order, trees = await begun(database)
        asked: list[Callable[[], Awaitable[object]]] = [
            lambda: order.order([ordering]),
            lambda: order.accepted(MAIN, batch.manifest.first),
            lambda: order.stream(MAIN),
            lambda: trees.runs(0),
            trees.load,
        ]

        standby.kill()
        with pytest.raises(UnavailableError):
            await order.order([ordering])
        # Cancelled, that commit would be visible now.
        assert primary.query("SELECT count(*) FROM batch", url.rpartition("/")[2]) == "0"
        restart(primary)
        assert primary.query("SELECT count(*) FROM batch", url.rpartition("/")[2]) == "1"

        # It is there, and nobody is told: whoever asks, and however often.
        for _ in range(3):
            results = await asyncio.gather(
                *(ask() for ask in asked for _ in range(4)), return_exceptions=True
            )
            assert {type(result) for result in results} == {UnavailableError}, results
        # What has given up has left next to nothing behind.
        left = primary.query("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
        assert int(left) <= database_module.SETTLERS + 1

        # The standby is back: now it is told, and survives a failover.
        standby.start()
        assert await eventually(lambda: order.order([ordering])) == 0
        assert await eventually(lambda: order.accepted(MAIN, 0)) is not None
        assert [run.end for run in await eventually(lambda: trees.runs(0))] == [4]
        primary.kill()
    standby.promote()
    async with opened(standby.url(url.rpartition("/")[2])) as database:
        order = PostgresOrder(database, Backlog())
        accepted = await order.accepted(MAIN, 0)
        assert accepted.digest == digest_of(batch)
        assert await order.order([ordering]) == 0


async def test_a_tree_that_was_moved_is_on_a_standby_before_its_head_is_shown(
    pair: tuple[engines.PostgreSQL, engines.Standby], hasty: None
) -> None:
    primary, standby = pair
    url = primary.create_database()
    name = url.rpartition("/")[2]
    batch = GatewayStream().take(3)
    async with opened(url) as database:
        order, trees = await begun(database)
        await eventually(lambda: order.order([Ordering(MAIN, batch, digest_of(batch))]))
        runs = await eventually(lambda: trees.runs(0))
        change = integrate(EMPTY_EDGE, runs)
        standby.kill()
        for _ in range(2):
            with pytest.raises(UnavailableError):
                await trees.move(change, 1, b"signed")
            restart(primary)
            assert primary.query("SELECT size FROM tree", name) == "4"
        standby.start()
        await eventually(lambda: trees.move(change, 1, b"signed"))
        loaded = await eventually(trees.load)
        assert (loaded.head, loaded.signed) == (change.edge.head, b"signed")
        # Whoever waits no longer for a standby waits for none here, either.
        primary.wait_for_standby(needed=False)
        standby.kill()
        assert (await eventually(trees.load)).head == change.edge.head


async def test_attempts_that_timed_out_leave_no_connections_behind(
    database: str, postgres_server: engines.PostgreSQL, hasty: None
) -> None:
    """They wait for a row that somebody holds: the server does not notice that they have gone."""
    async with opened(database) as opened_database:
        await migrate(opened_database)
        holder = await asyncpg.connect(database)
        await holder.execute("BEGIN; SELECT FROM coordinator WHERE id = 0 FOR UPDATE")
        order = PostgresOrder(opened_database, Backlog())

        async def attempt(number: int) -> object:
            stream = GatewayStream(label=f"s{number}")
            batch = stream.take(1)
            key = StreamKey(GATEWAY, stream.label)
            return await order.order([Ordering(key, batch, digest_of(batch))])

        results = await asyncio.gather(*map(attempt, range(16)), return_exceptions=True)
        assert {type(result) for result in results} == {UnavailableError}, results
        name = database.rpartition("/")[2]
        locked = (
            "SELECT count(*) FROM pg_stat_activity "
            f"WHERE datname = '{name}' AND wait_event_type = 'Lock'"
        )
        await waiting.until(lambda: postgres_server.query(locked) == "0", seconds=SECONDS)
        await holder.execute("ROLLBACK")
        await holder.close()
        assert await eventually(lambda: attempt(0)) == 0


async def test_a_commit_is_never_cancelled(
    pair: tuple[engines.PostgreSQL, engines.Standby], hasty: None
) -> None:
    """Also when other tasks run between the timeout and the end of the connection."""
    primary, standby = pair
    url = primary.create_database()
    name = url.rpartition("/")[2]
    async with opened(url) as database:
        primary.query("CREATE TABLE kept (number int)", name)
        standby.kill()
        connection = await database._pool.acquire()
        with pytest.raises(TimeoutError):
            await connection.execute("INSERT INTO kept VALUES (1)")
        # Long enough for a request to cancel to arrive; `Database` itself does not wait.
        await asyncio.sleep(1.0)
        assert primary.query("SELECT count(*) FROM kept", name) == "0"
        connection.terminate()
        await database._pool.release(connection)
        with pytest.raises(LogError):
            await database.transact(
                lambda db: db.execute("INSERT INTO kept VALUES (2)"), "keeping a number"
            )
        assert primary.query("SELECT count(*) FROM kept", name) == "0"


def test_processes_start_while_the_standby_is_away(
    pair: tuple[engines.PostgreSQL, engines.Standby], bucket: engines.Bucket, tmp_path: Path
) -> None:
    """They commit nothing for that. Readers are served, and what is missing is told by name."""
    primary, standby = pair
    cluster = Cluster(primary.create_database(), bucket)
    with deployed(tmp_path, cluster) as made:
        assert made.post(made.stream().take(RECORDS), PUBLISHED).status == 200
        assert made.log.terminate() == 0
        standby.kill()
        with (
            start_log(made.config, cluster, "frontend") as frontend,
            start_log(made.config, cluster, "integrator") as integrator,
        ):
            made.policy.verify(ask(f"{frontend.url}/checkpoint").body)
            waiting.eventually(
                lambda: "cannot take the lease" in integrator.stderr, lambda: integrator.stderr
            )
            assert "TimeoutError" not in integrator.stderr
            standby.start()
            waiting.eventually(lambda: bool(ask(f"{integrator.url}/readyz").json["integrating"]))
            assert [frontend.terminate(), integrator.terminate()] == [0, 0]


def test_every_receipt_survives_a_failover(
    pair: tuple[engines.PostgreSQL, engines.Standby], tmp_path: Path
) -> None:
    """A whole cluster: the standby dies, the primary is restarted, the standby is promoted."""
    primary, standby = pair
    with engines.started(engines.SeaweedFS) as store, Proxy(primary.port) as link:
        url = primary.create_database().replace(f":{primary.port}/", f":{link.port}/")
        with deployed(tmp_path, Cluster(url, store.create_bucket())) as made:
            receipts: list[tuple[int, list[bytes]]] = []
            answers: list[bytes] = []
            stream = made.stream()

            def submit(body: bytes) -> int:
                answer = made.post(body)
                answers.append(answer.body)
                if answer.status == 200:
                    receipts.append((answer.json["first"], unframe(body)))
                return answer.status

            def submit_until_receipt(body: bytes) -> None:
                def is_taken() -> bool:
                    status = submit(body)
                    assert status in {200, 503}, answers[-1]
                    return status == 200

                waiting.eventually(is_taken, seconds=SECONDS)

            def records(number: int) -> list[bytes]:
                return [
                    b'{"execution":"e","id":"%d-%d","kind":"outcome","producer":"%b",'
                    b'"status":"completed","time":1790000000000,"v":1}'
                    % (number, i, DEPLOYED_GATEWAY.encode())
                    for i in range(300)
                ]

            submit_until_receipt(stream.take(records(0)))
            standby.kill()
            lost = stream.take(records(1))
            assert submit(lost) == 503
            restart(primary)
            # Each is refused only when its time is over: so all at once.
            with ThreadPoolExecutor(3) as together:
                assert [*together.map(submit, [lost] * 3)] == [503, 503, 503]
            # Nobody integrates what a failover takes back: the bucket keeps what it got for ever.
            primary.kill()
            standby.start()
            standby.promote()
            link.target = standby.port
            link.cut()
            # The gateway submits the batch again, as it does until it has a receipt; and others.
            submit_until_receipt(lost)
            submit_until_receipt(stream.take(records(2)))
            first, batch = receipts[-1]
            size = first + len(batch)

            def is_published() -> bool:
                answer = ask(f"{made.url}/checkpoint")
                return answer.status == 200 and int(answer.body.split(b"\n")[1]) >= size

            waiting.eventually(is_published, lambda: made.log.stderr[-4000:], seconds=SECONDS)
            made.policy.verify(ask(f"{made.url}/checkpoint").body)
            for first, batch in receipts:
                for offset in (0, len(batch) - 1):
                    found = ask(f"{made.url}/v1/entries/{first + offset}")
                    assert found.body == batch[offset]
