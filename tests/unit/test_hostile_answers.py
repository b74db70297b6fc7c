"""Every client of every service, and answers that are none: it lives, and says whose fault it was.

What each of them does with a good answer is tested elsewhere; the answers are in `hostile`.
"""

import asyncio
import contextlib
import gc
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import log_tools
import logsim
import processes
import signing
from byzantine import ByzantineLog
from hostile import ANSWERS, LATE
from muniment.errors import BadAnswer, MunimentError, Refused, Unreachable
from muniment.http import logrequests
from muniment.http.logclient import LogClient
from muniment.index import replica
from muniment.monitor import watch, webhook
from muniment.monitor.core import AlarmLimits, Core
from muniment.monitor.heads import LOG, HeadReader
from muniment.tlog.cosignature import verifier_for
from muniment.tlog.tiles import Tile
from muniment_log.index import supervisor as index
from muniment_log.index.supervisor import IndexProcess
from muniment_log.publish import witness as log_witness
from muniment_log.publish.rollback import PastCheck
from muniment_log.publish.witness import clients_of, new_session
from muniment_service.metrics import Metrics
from ports import free_port
from publishing import ORIGIN, FakeWitness, log_of, policy_of, serving, trio
from stand import Answer, Asked, Stand
from waiting import at_work, until

SECONDS = 0.5
"""What a client is given for one answer."""
ALL = {**ANSWERS, **LATE}


Call = Callable[[], Awaitable[object]]


async def errors_of(kinds: tuple[type[Exception], ...], *calls: Call) -> list[str]:
    """What the calls raise, in words; anything but these kinds is raised here."""
    said: list[str] = []
    for call in calls:
        try:
            await call()
        except kinds as error:
            said.append(str(error))
    return said


class Hostile:
    """A server whose answers are changed one after the other.

    Attributes:
        name: of the present answer.
    """

    def __init__(self) -> None:
        self.name = next(iter(ALL))
        self.genuine: Callable[[Asked], Answer | None] = lambda _: None
        self.stand = Stand(lambda asked: self.genuine(asked) or ALL[self.name])

    @property
    def count(self) -> int:
        return sum(self.genuine(asked) is None for asked in list(self.stand.asked))

    async def each(self, seen: int = 2) -> AsyncIterator[str]:
        """Each answer in its turn, until it was given `seen` times; the first may be one before."""
        for name in ALL:
            self.name = name
            self.stand.asked.clear()
            yield name
            await until(lambda: self.count >= seen, seconds=60)


@pytest.fixture
def hostile() -> Iterator[Hostile]:
    server = Hostile()
    with server.stand.serve("127.0.0.1"):
        yield server


# The log


async def test_the_log_s_publisher(
    tmp_path: Path, hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_witness, "MAX_RETRY_AFTER", 0.01)  # one of them says 503 for ever
    good, other, bad = trio()
    async with serving(good, other):
        bad.url = hostile.stand.url()
        policy = policy_of(good, other, bad)
        async with log_of(tmp_path, policy, is_held=True, request_seconds=SECONDS) as log:
            async for name in hostile.each():
                await log.wait(await log.add())
                assert not log.task.done(), name
            told = log.publisher.witnesses
            assert [each["error"] is None for each in told] == [True, True, False]
            assert told[2]["witness"] == "c0+c1"


async def test_the_log_s_look_for_a_rollback(tmp_path: Path, hostile: Hostile) -> None:
    bad = FakeWitness("bad", [signing.witness("w.example/bad")], url=hostile.stand.url())
    keys = [verifier_for(signing.log_signer().vkey)]
    async with log_tools.embedded(tmp_path / "log.db") as log, new_session(SECONDS) as session:
        clients = clients_of(policy_of(bad, quorum=1), session)
        for hostile.name in ALL:
            past = PastCheck(origin=ORIGIN, keys=keys, tiles=log.tiles, head=lambda: log.head)
            await past.at_start(clients, 5.0)
            assert clients[0].size == 0, hostile.name


LINES = [
    b"", b"\n", b"{", b"null\n", b"[" * 10_000 + b"\n", b'{"size":-1}\n', b'{"size":NaN}\n',
    b'{"size":"7"}\n', b'{"size":' + b"9" * 5000 + b"}\n", b"\xff\n", b"x" * 200_000,
]  # fmt: skip


async def test_the_log_s_index_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said: list[bytes] = []
    start = asyncio.create_subprocess_exec

    async def child(*_: Any, **options: Any) -> asyncio.subprocess.Process:
        line = LINES[len(said) % len(LINES)]
        said.append(line)
        text = tmp_path / f"said-{len(said)}"
        text.write_bytes(line)
        program = "import sys; sys.stdout.buffer.write(open(sys.argv[1], 'rb').read())"
        return await start(sys.executable, "-c", program, str(text), **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", child)
    monkeypatch.setattr(index, "FIRST_PAUSE", 0.0)
    monkeypatch.setattr(index, "MAX_PAUSE", 0.0)
    process = IndexProcess((), lambda: 5, Metrics("test"))
    async with at_work(process.run()) as task:
        await until(lambda: len(said) > len(LINES) or task.done(), seconds=60)
        assert not task.done()
        assert process.state["size"] == 0


# A witness


def configured(folder: Path, log: ByzantineLog, url: str) -> Path:
    """A witness that reads a log and a peer, both at a URL."""
    processes.run(
        processes.muniment_witness(
            "init", folder, "--name", "w1.example", "--listen", f"127.0.0.1:{free_port()}"
        ),
        code=0,
    )
    config = folder / "witness.toml"
    peer = signing.witness("w2.example").vkey
    config.write_text(
        config.read_text().partition("# The logs to witness")[0]
        + f'[[log]]\nvkeys = {json.dumps(log.vkeys)}\nurl = "{url}"\ncosign_pulled = true\n'
        + f'[[peer]]\nvkeys = ["{peer}"]\nurl = "{url}/peer"\n'
        + f"[gossip]\nperiod_seconds = 0.01\nrequest_seconds = {SECONDS}\nstart_seconds = 1\n"
    )
    return config


@pytest.mark.parametrize("who", ["the log", "the peer", "both"])
async def test_a_witness_pulls_and_gossips(tmp_path: Path, hostile: Hostile, who: str) -> None:
    log = ByzantineLog()
    log.main.append(20)

    def genuine(asked: Asked) -> Answer | None:
        is_peer = asked.path.startswith("/peer")
        if who == "both" or is_peer == (who == "the peer"):
            return None
        return Answer(404) if is_peer else log.main.answer(asked.path)

    hostile.genuine = genuine
    config = await asyncio.to_thread(configured, tmp_path / "w1", log, hostile.stand.url())
    argv = processes.muniment_witness("serve", "--config", config)
    process = await asyncio.to_thread(processes.start, argv)
    with process:
        async for name in hostile.each(3):
            assert process.returncode is None, f"{name}: {process.stderr}"
        status = processes.run(processes.muniment_witness("status", "--config", config, "--json"))
        told = json.loads(status.stdout)
        assert process.returncode is None, process.stderr
        assert (who == "the peer") or told["logs"][0]["read"]["error"]
        assert (who == "the log") or told["peers"][0]["error"]
        assert process.terminate() == 0, process.stderr


@pytest.mark.parametrize("who", ["the log", "the witness"])
async def test_feed(who: str) -> None:
    log = ByzantineLog()
    log.main.append(20)

    def genuine(asked: Asked) -> Answer | None:
        is_log = who == "the witness" and not asked.path.startswith("/witness")
        return log.main.answer(asked.path) if is_log else None

    names = list(ANSWERS)  # its deadline is long
    # Several at once, each with a part of the answers: its shortest period is a tenth of a second.
    await asyncio.gather(
        *(feed(log.vkeys[0], genuine, names[part::FEEDS]) for part in range(FEEDS))
    )


FEEDS = 4


async def feed(vkey: str, genuine: Callable[[Asked], Answer | None], names: Sequence[str]) -> None:
    hostile = Hostile()
    hostile.genuine = genuine
    with hostile.stand.serve("127.0.0.1"):
        url = hostile.stand.url()
        argv = processes.muniment_witness(
            "feed", "--log", url, "--log-vkey", vkey, "--witness", f"{url}/witness",
            "--period", "0.1",
        )  # fmt: skip
        process = await asyncio.to_thread(processes.Process, argv)
        with process:
            for name in names:
                hostile.name = name
                hostile.stand.asked.clear()
                await until(
                    lambda: hostile.count >= 2 or process.returncode is not None, seconds=60
                )
                assert process.returncode is None, f"{name}: {process.stderr}"
            assert "muniment-witness:" in process.stderr


# Those who watch


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that try once, and wait for little."""
    monkeypatch.setattr(logrequests, "READ_ATTEMPTS", 1)
    quick = partial(LogClient, timeout=SECONDS, pauses=())
    monkeypatch.setattr(replica, "LogClient", quick)
    monkeypatch.setattr(replica, "MAX_PAUSE", 0.01)
    monkeypatch.setattr(watch, "REQUEST_SECONDS", SECONDS)
    monkeypatch.setattr(watch, "CATCH_UP_PAUSES", ())
    monkeypatch.setattr(webhook, "SECONDS", SECONDS)


@pytest.mark.usefixtures("impatient")
async def test_a_monitor(hostile: Hostile) -> None:
    url = hostile.stand.url()
    core = Core(HeadReader(logsim.POLICY, logsim.ORIGIN), (f"{url}/w1",), AlarmLimits(), {})
    async with watch.Watcher(url, core) as watcher:
        for hostile.name in ALL:
            result = await watcher.round()
            blamed = {alarm.party for alarm in result.alarms}
            # A witness that answers 404 has never cosigned the log.
            assert LOG in blamed, hostile.name
            assert f"{url}/w1" in blamed or hostile.name == "status 404"


@pytest.mark.usefixtures("impatient")
async def test_a_webhook(hostile: Hostile, caplog: pytest.LogCaptureFixture) -> None:
    async with webhook.Webhook(hostile.stand.url(), first_pause=0.0) as hook:
        for hostile.name in ALL:
            hook.put({"event": hostile.name})
            assert await hook.drain(60), hostile.name
    assert "webhook not delivered" in caplog.text


@pytest.mark.usefixtures("impatient")
async def test_a_replica(tmp_path: Path, hostile: Hostile) -> None:
    told: list[MunimentError] = []
    watched = replica.Watched(hostile.stand.url(), logsim.POLICY)
    following = replica.keep_following(
        watched, tmp_path / "replica.db", interval=0.01, reached=lambda _: None,
        trouble=told.append, progress=lambda _done, _total: None,
    )  # fmt: skip
    async with at_work(following) as task:
        async for name in hostile.each():
            assert not task.done(), name
        assert len(told) >= len(ALL)


# A gateway


@pytest.mark.usefixtures("impatient")
async def test_a_gateway_s_client_of_the_log(hostile: Hostile) -> None:
    async with LogClient(hostile.stand.url(), timeout=SECONDS, pauses=()) as client:
        calls: list[Call] = [
            client.checkpoint,
            lambda: client.tile(Tile(0, 0, 256)),
            lambda: client.tile(Tile(0, 0, 7)),
            lambda: client.stream("gw.example", "default"),
            lambda: client.submit_batch(b"x", timeout=SECONDS),
            lambda: client.submit_batch(b"x", published=0.1, timeout=SECONDS),
            lambda: client.entry(0),
            lambda: client.inclusion_proof(0),
            lambda: client.consistency_proof(1, 2),
        ]
        for hostile.name in ANSWERS:
            assert all(await errors_of((Unreachable, Refused, BadAnswer), *calls)), hostile.name


# A cluster's engines


async def test_an_object_store(hostile: Hostile) -> None:
    pytest.importorskip("obstore")
    from muniment_log.cluster.objects import ObjectStore
    from muniment_log.errors import LogError

    environment = {
        "AWS_ENDPOINT_URL": hostile.stand.url(),
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "y",
        "AWS_REGION": "us-east-1",
    }
    store = ObjectStore.open("s3://bucket", environment=environment, seconds=0.2)
    try:
        for hostile.name in ANSWERS:
            calls: list[Call] = [
                lambda: store.get("tile/0/000"),
                lambda: store.get_versioned("checkpoint"),
                lambda: store.create("tile/0/001", b"x"),
                lambda: store.swap("checkpoint", b"x", None),
            ]
            # What is asked again for a while is so for each of them at once.
            said = await asyncio.gather(
                *(errors_of((LogError, LookupError), call) for call in calls)
            )
            assert all("s3://bucket" in each for one in said for each in one), hostile.name
    finally:
        await store.close()


AUTHENTICATED = b"R\0\0\0\x08\0\0\0\0"
VERSION = b"S\0\0\0\x18server_version\x0016.0\0"
READY = b"Z\0\0\0\x05I"
POSTGRES = {
    "nothing": b"",
    "no PostgreSQL": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "a message without an end": b"T\x7f\xff\xff\xff",
    "a negative length": b"T\xff\xff\xff\xff",
    "a row of nothing": b"D\0\0\0\x06\0\x01" + READY,
    "columns without names": b"T\0\0\0\x06\xff\xff" + READY,
    "an error that says nothing": b"E\0\0\0\x05\0" + READY,
    "an error of odd bytes": b"E\0\0\0\x0dSX\0C\xff\xff\0\0" + READY,
    "a notice without an end": b"N\0\0\0\x05S",
    "ready, again and again": READY * 1000,
    "a copy": b"G\0\0\0\x07\0\0\0" + READY,
    "an authentication": b"R\0\0\0\x08\0\0\0\x7f",
}


# asyncpg leaves a connection that it could not make to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("greeting", [b"", AUTHENTICATED + READY, AUTHENTICATED + VERSION + READY])
async def test_a_database(monkeypatch: pytest.MonkeyPatch, greeting: bytes) -> None:
    pytest.importorskip("asyncpg")
    from muniment.local.sqlitefile import DatabaseError
    from muniment_log.cluster import database
    from muniment_log.errors import LogError

    monkeypatch.setattr(database, "COMMAND_SECONDS", SECONDS)

    name = ""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.read(65_536)
            if greeting:
                writer.write(greeting)
                await reader.read(65_536)
            writer.write(POSTGRES[name])
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = f"postgresql://u:p@127.0.0.1:{port}/x?sslmode=disable"

    async def use() -> None:
        opened = await database.Database.open(url, patience=0.1)
        try:
            await opened.read(lambda db: db.fetchrow("SELECT 1"), "PostgreSQL: reading nothing")
        finally:
            await opened.close()

    async with server:
        for name in POSTGRES:
            (said,) = await errors_of((LogError, DatabaseError), use)
            assert said.startswith("PostgreSQL: "), name
    gc.collect()
