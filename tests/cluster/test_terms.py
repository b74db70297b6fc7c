"""Terms of a lease: how they begin and end, and what one that is over takes for damage: nothing."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import asyncpg  # type: ignore[import-untyped]  # it ships no types
import pytest

import decisions
import engines
import processes
import signing
from log_deployment import (
    GATEWAY,
    PUBLISHED,
    Cluster,
    Deployment,
    deployed,
    is_integrating,
    run,
    start_log,
)
from log_tools import ORIGIN, GatewayStream
from muniment.tlog.checkpoint import Checkpoint, sign_checkpoint
from muniment_log.app.cluster import serve
from muniment_log.app.leadership import Leadership
from muniment_log.cli.exits import EXIT_ROLLED_BACK
from muniment_log.cluster import lease as lease_module
from muniment_log.cluster.addendaobjects import AddendaObjects
from muniment_log.cluster.cosigned import CosignedObject
from muniment_log.cluster.database import Database, DatabaseConnection
from muniment_log.cluster.erasing import ClusterErasable
from muniment_log.cluster.lease import Lease, LeaseLostError
from muniment_log.cluster.migrate import migrate
from muniment_log.cluster.objects import ObjectStore
from muniment_log.cluster.order import Backlog, PostgresOrder
from muniment_log.cluster.treestore import TreeStore
from muniment_log.config import load
from muniment_log.core.integrate import EMPTY_EDGE, integrate
from muniment_log.core.ordering import Ordering
from muniment_log.core.ports import StreamKey
from muniment_log.core.streams import digest_of
from muniment_log.logfile import LONGEST_LEASE_SECONDS
from muniment_service.config import Address
from tcpproxy import Proxy
from waiting import eventually

RECORDS = decisions.decisions(150, producer=GATEWAY)
T = TypeVar("T")

LONG = 300.0
"""Seconds of a lease that no test outlasts: a holder asks again after a third of it."""


class Holding(Database):
    """A database whose next answer, or whose next commit, waits until it may go.

    Attributes:
        reached: set when it waits.
        go: to be set by the test.
    """

    def __init__(self, pool: Any, patience: float) -> None:
        super().__init__(pool, patience)
        self.reached, self.go = asyncio.Event(), asyncio.Event()
        self._holds = ""

    def hold_answer(self) -> None:
        self._holds = "answer"

    def hold_commit(self) -> None:
        self._holds = "commit"

    async def transact(self, work: Callable[[DatabaseConnection], Awaitable[T]], what: str) -> T:
        async def held(db: DatabaseConnection) -> T:
            done = await work(db)
            await self._wait("commit")
            return done

        return await super().transact(held, what)

    async def _once(self, work: Callable[[DatabaseConnection], Awaitable[T]]) -> T:
        done = await super()._once(work)
        await self._wait("answer")
        return done

    async def _wait(self, what: str) -> None:
        if self._holds == what:
            self._holds = ""
            self.reached.set()
            await self.go.wait()


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[Holding]:
    database = await Holding.open(url)
    assert isinstance(database, Holding)
    try:
        await migrate(database)
        yield database
    finally:
        await database.close()


async def test_who_is_cancelled_while_it_takes_the_lease_gives_it_back(
    database: str,
) -> None:
    async with opened(database) as opened_:
        opened_.hold_answer()
        taking = asyncio.create_task(Lease.acquire(opened_, "one", LONG))
        await opened_.reached.wait()
        assert await Lease.acquire(opened_, "two", LONG) is None
        taking.cancel()
        opened_.go.set()
        with pytest.raises(asyncio.CancelledError):
            await taking
        assert (await Lease.acquire(opened_, "two", LONG)).epoch == 2


async def test_nobody_waits_for_long_to_give_a_lease_back(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(database) as opened_:
        monkeypatch.setattr(lease_module, "GIVE_BACK_SECONDS", 0.0)
        opened_.hold_answer()  # for ever
        taking = asyncio.create_task(Lease.acquire(opened_, "one", LONG))
        await opened_.reached.wait()
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking
        lease = await Lease.acquire(opened_, "one", LONG)
        opened_.hold_answer()
        await lease.release()


async def test_a_lease_by_another_clock_is_waited_for_no_longer_than_one_may_last(
    database: str, postgres_server: engines.PostgreSQL
) -> None:
    name = database.rpartition("/")[2]
    async with opened(database) as opened_:
        for ahead, epoch in (("290 seconds", None), ("310 seconds", 1), ("1 year", 2)):
            postgres_server.query(
                f"UPDATE lease SET holder = 'gone', until = now() + interval '{ahead}'", name
            )
            lease = await Lease.acquire(opened_, "me", 30.0)
            assert (None if lease is None else lease.epoch) == epoch


async def test_a_lease_lasts_for_parts_of_a_second(database: str) -> None:
    """By the type that the server finds for its time: what has no parts would be cut."""
    async with opened(database):
        connection = await asyncpg.connect(database)
        try:
            asked = await connection.prepare(lease_module._ACQUIRE)  # noqa: SLF001
            assert [one.name for one in asked.get_parameters()] == ["text", "float8"]
        finally:
            await connection.close()


async def test_nobody_takes_the_lease_from_who_leads_under_a_longer_one(database: str) -> None:
    """As while all integrators are given another length, one after the other."""
    async with opened(database) as opened_:
        longest = await Lease.acquire(opened_, "first", LONGEST_LEASE_SECONDS)
        assert await Lease.acquire(opened_, "second", 1.0) is None
        await longest.release()
        assert await Lease.acquire(opened_, "second", 1.0) is not None


async def blocked_or_done(database: Database, task: asyncio.Task[Any]) -> None:
    """Returns when somebody waits for a lock, or a task that was to wait for one has not."""
    blocked = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )

    async def is_blocked() -> bool:
        return bool(await database.read(lambda db: db.fetchval(blocked), "test"))

    while not (await is_blocked() or task.done()):  # noqa: ASYNC110  # no event tells
        await asyncio.sleep(0)


async def test_who_takes_over_knows_of_each_erasure_that_was_begun_before(
    database: str, bucket: engines.Bucket
) -> None:
    objects = ObjectStore.open(bucket.url, environment=bucket.environment)
    async with opened(database) as old, opened(database) as new:

        async def lead(by: Database, holder: str) -> tuple[Lease, ClusterErasable]:
            lease = await Lease.acquire(by, holder, LONG)
            hold = TreeStore(by, lease.epoch).hold_epoch
            return lease, ClusterErasable(by, AddendaObjects(objects), hold)

        lease, first = await lead(old, "first")
        await lease.release()
        old.hold_commit()
        beginning = asyncio.create_task(first.begin({"a": b"noted"}))
        await old.reached.wait()
        taking = asyncio.create_task(lead(new, "second"))
        await blocked_or_done(old, taking)
        assert not taking.done()
        old.go.set()
        await beginning
        _, second = await taking
        assert await second.begun() == [b"noted"]
        with pytest.raises(LeaseLostError):
            await first.begin({"b": b"late"})
        await second.begin({"a": b"again", "c": b"more"})
        assert await second.begun() == [b"noted", b"more"]
    await objects.close()


async def test_who_takes_over_waits_for_a_head_that_is_about_to_be_stored(
    database: str,
) -> None:
    """It would take what is then in the bucket for a proof that the database went back."""
    stream = GatewayStream()
    batch = stream.take(3)
    async with opened(database) as old, opened(database) as new:
        order = PostgresOrder(new, Backlog())
        await order.order([Ordering(StreamKey(GATEWAY, "main"), batch, digest_of(batch))])
        first = await Lease.acquire(old, "first", LONG)
        trees = TreeStore(old, first.epoch)
        change = integrate(EMPTY_EDGE, await trees.runs(0))
        await first.release()

        old.hold_commit()
        storing = asyncio.create_task(trees.put_published(0, b"published"))
        await old.reached.wait()
        # That share keeps nobody from moving the tree.
        await TreeStore(new, first.epoch).move(change, 1, None)

        async def take_over() -> tuple[TreeStore, bytes | None]:
            second = TreeStore(new, (await Lease.acquire(new, "second", LONG)).epoch)
            return second, (await second.load()).published

        taking = asyncio.create_task(take_over())
        await blocked_or_done(old, taking)
        old.go.set()
        await storing
        second, published = await taking
        assert published == b"published"
        with pytest.raises(LeaseLostError):
            await trees.put_published(4, b"late")
        assert (await second.load()).published == b"published"


async def test_who_leads_goes_on_to_keep_what_another_one_has_kept_late(
    bucket: engines.Bucket,
) -> None:
    def note(size: int, root: int = 0) -> bytes:
        known = Checkpoint(ORIGIN, size, bytes([root]) * 32)
        return sign_checkpoint(known, [signing.log_signer()], 1).encode()

    objects = ObjectStore.open(bucket.url, environment=bucket.environment)
    try:
        old, new = CosignedObject(objects), CosignedObject(objects)
        await old.keep(note(3))
        assert await new.load() == note(3)
        await old.keep(note(4))
        await new.keep(note(5))
        assert await old.load() == note(5)
        await new.keep(note(6))
        await old.keep(note(4))
        assert await new.load() == note(6)
        await new.keep(note(7))
        assert await old.load() == note(7)
    finally:
        await objects.close()


@pytest.fixture
def made(database: str, bucket: engines.Bucket, tmp_path: Path) -> Any:
    """A cluster without an integrator, of long leases; its log is a frontend."""
    cluster = Cluster(database, bucket)
    with deployed(tmp_path, cluster) as deployment:
        assert deployment.post(deployment.stream().take(RECORDS[:5]), PUBLISHED).status == 200
        deployment.log.terminate()
        text = deployment.config.read_text().replace('database = "index.db"', "enabled = false")
        deployment.config.write_text(text.replace("lease_seconds = 6.0", f"lease_seconds = {LONG}"))
        deployment.log = start_log(deployment.config, cluster, "frontend")
        yield deployment


async def test_who_cannot_serve_does_not_look_at_the_lease(
    made: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Started again and again, it would take the lease from those who can."""
    began = []

    async def run(_: Leadership) -> None:
        began.append(True)

    monkeypatch.setattr(Leadership, "run", run)
    for name, value in made.cluster.bucket.environment.items():
        monkeypatch.setenv(name, value)
    taken = Address(made.url.removeprefix("http://"))
    with pytest.raises(ExceptionGroup, match="unhandled"):
        await serve(load(made.config), is_frontend=False, is_integrator=True, listen=taken)
    assert not began


def told_by(server: engines.PostgreSQL, made: Deployment) -> str:
    """What whoever leads has told of itself with its last renewal."""
    name = made.cluster.postgres.rpartition("/")[2]
    return server.query("SELECT encode(status, 'escape') FROM lease", name)


def rotate(made: Deployment) -> None:
    """Ends the term of whoever leads, who does not know it before it asks again."""
    run(processes.muniment_log("rotate-key", "--config", made.config, "--add", "ed25519"))


def ends_its_term(process: processes.Process) -> None:
    eventually(
        lambda: "stopped integrating" in process.stderr or process.returncode is not None,
        lambda: process.stderr,
    )
    assert "another integrator has taken over" in process.stderr
    assert process.returncode is None
    assert "Traceback" not in process.stderr
    assert process.terminate() == 0


def test_a_takeover_that_another_one_has_passed_is_no_rollback(
    made: Deployment, postgres_server: engines.PostgreSQL
) -> None:
    """The witnesses answer when they have cosigned what the other one has made since."""
    with contextlib.ExitStack() as stack:
        policy = (made.config.parent / "witnesses.policy").read_text()
        links = []
        for witness in made.witnesses:
            port = int(witness.url.rpartition(":")[2])
            links.append(stack.enter_context(Proxy(port)))
            links[-1].silent = True
            policy = policy.replace(f":{port}", f":{links[-1].port}")
        (made.config.parent / "slow.policy").write_text(policy)
        slow = made.config.with_name("slow.toml")
        limits = "[limits]\nstart_seconds = 90.0\nwitness_seconds = 90.0\n"
        slow.write_text(
            made.config.read_text()
            .replace('"witnesses.policy"', '"slow.policy"')
            .replace("[limits]\nparked", f"{limits}parked")
        )
        first = stack.enter_context(start_log(slow, made.cluster, "integrator"))
        # It has told what it tells, and does not ask for its lease for long.
        eventually(lambda: told_by(postgres_server, made) == "{}")
        digest = ("--digest", "ab" * 32, "--yes")
        erase = processes.muniment_log("erase", "--config", slow, *digest)

        def is_named() -> bool:
            refused = processes.run(erase, code=1).stderr
            return re.search(f"/{first.pid}/.* holds the lease", refused) is not None

        eventually(is_named)
        rotate(made)
        second = stack.enter_context(start_log(made.config, made.cluster, "integrator"))
        assert made.post(made.stream().take(RECORDS[:9]), PUBLISHED).status == 200
        assert is_integrating(second)
        for link in links:
            link.heal()
        ends_its_term(first)


def test_entries_that_another_one_has_put_into_bundles_are_not_missing(
    made: Deployment, postgres_server: engines.PostgreSQL
) -> None:
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(start_log(made.config, made.cluster, "integrator"))
        # It has told what it tells, and does not ask for its lease for long.
        eventually(lambda: told_by(postgres_server, made).count('"size":6,"error":null') == 3)
        first.pause()
        rotate(made)
        second = stack.enter_context(start_log(made.config, made.cluster, "integrator"))
        stream = made.stream()
        for _ in range(3):
            assert made.post(stream.take(RECORDS), PUBLISHED).status == 200
        assert is_integrating(second)
        first.resume()
        ends_its_term(first)


def test_a_database_that_goes_back_under_who_leads_is_noticed(
    made: Deployment, postgres_server: engines.PostgreSQL
) -> None:
    """It failed over to a server that was behind by less than a term: the lease is the same."""
    name = made.cluster.postgres.rpartition("/")[2]
    made.config.write_text(made.config.read_text().replace(str(LONG), "6.0"))
    with start_log(made.config, made.cluster, "integrator") as integrator:
        before = postgres_server.query("SELECT size, encode(root, 'hex') FROM tree", name)
        size, root = before.strip().split("|")
        assert made.post(made.stream().take(RECORDS[:9]), PUBLISHED).status == 200
        back = f"UPDATE tree SET size = {size}, root = '\\x{root}'"
        postgres_server.query(back, name)
        assert integrator.wait() == EXIT_ROLLED_BACK, integrator.stderr
        assert "was rolled back: its tree has 6 leaves, and this" in integrator.stderr
