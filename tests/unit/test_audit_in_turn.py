"""An audit of a log on this machine behind a proxy or a tunnel that gets pipelined requests wrong.

Whatever it does to several requests at once, the audit says what it says of the log asked singly.
"""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress

import pytest

from auditing import OPTIONS, grown
from logsim import NOW, ORIGIN, LogSim
from muniment.audit import reader
from muniment.audit.auditor import AuditOutcome, audit_log
from muniment.audit.report import Verdict
from muniment.errors import Unreachable
from muniment.http.logclient import LogClient
from muniment.local.forkpool import ForkServer, fork_server
from muniment.tlog.encoding import frame
from muniment.tlog.tiles import ENTRIES, Tile

MANY = 4  # requests at once, from which on the proxies of these tests do wrong

Confuse = Callable[[list[bytes]], list[bytes]]
"""Makes of the answers to requests that came at once what is sent; an empty one ends all."""


def body_of(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


def ok(body: bytes, *headers: bytes) -> bytes:
    lines = b"".join(one + b"\r\n" for one in headers)
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%b\r\n%b" % (len(body), lines, body)


def chunked(answer: bytes) -> bytes:
    body = body_of(answer)
    pieces = [body[at : at + 1000] for at in range(0, len(body), 1000)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in pieces)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%b0\r\n\r\n" % chunks


def packed(answer: bytes) -> bytes:
    return ok(gzip.compress(body_of(answer)), b"Content-Encoding: gzip")


def error(status: bytes) -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % status


def pairs_swapped(answers: list[bytes]) -> list[bytes]:
    """Each bundle still comes with its own hash tile, but where another one was asked for."""
    return [*answers[2:4], *answers[:2], *answers[4:]]


CONFUSED: dict[str, Confuse] = {
    "backwards": lambda answers: answers[::-1],
    "pairs-swapped": pairs_swapped,
    "hash-tiles-swapped": lambda a: [a[0], a[3], a[2], a[1], *a[4:]],
    "first-for-all": lambda answers: answers[:1] * len(answers),
    "first-twice": lambda answers: [answers[0], *answers],
    "one-left-out": lambda answers: [answers[0], *answers[2:]],
    "one-alone": lambda answers: [answers[0], b""],
    "none": lambda _: [b""],
    "closed-in-the-midst": lambda a: [a[0], a[1][:-100], b""],
    "announced-to-close": lambda a: [ok(body_of(a[0]), b"Connection: close"), b""],
    "hints-first": lambda a: [b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n" + one for one in a],
    "chunked": lambda answers: [*map(chunked, answers)],
    "gzip": lambda answers: [*map(packed, answers)],
    "to-the-end": lambda answers: [b"HTTP/1.1 200 OK\r\n\r\n", *map(body_of, answers), b""],
    "busy": lambda a: [error(b"503 Busy\r\nRetry-After: 1")] * len(a),
    "too-many": lambda a: [*a[:2], *[error(b"429 Slow\r\nRetry-After: 1")] * (len(a) - 2)],
    "elsewhere": lambda a: [error(b"302 Found\r\nLocation: http://127.0.0.1:9/")] * len(a),
    "no-http": lambda _: [b"SSH-2.0-tunnel\r\n", b""],
}


@asynccontextmanager
async def proxy(behind: str, confuse: Confuse, many: int) -> AsyncIterator[str]:
    """Passes GETs on one by one, and what came together through `confuse`."""
    host, port = behind.removeprefix("http://").split(":")
    tasks: list[asyncio.Task[None] | None] = []

    async def passed_on(path: str) -> bytes:
        stream, writer = await asyncio.open_connection(host, port)
        with closing(writer):
            writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            head, _, body = (await stream.read()).partition(b"\r\n\r\n")
        status = head.split(b"\r\n")[0].partition(b" ")[2]
        return ok(body) if status.startswith(b"200") else error(status)

    async def serve(stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())
        data = b""
        with closing(writer), suppress(ConnectionError):
            while more := await stream.read(1 << 16):
                *heads, data = (data + more).split(b"\r\n\r\n")
                answers = [await passed_on(head.split()[1].decode()) for head in heads]
                for one in confuse(answers) if len(answers) >= many else answers:
                    if not one:
                        return
                    writer.write(one)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await asyncio.gather(*[one for one in tasks if one is not None])


async def audited(
    sim: LogSim,
    confuse: Confuse,
    *,
    many: int = MANY,
    seconds: float = 30,
    server: ForkServer | None = None,
) -> AuditOutcome:
    async with (
        sim.serve() as log,
        proxy(log, confuse, many) as url,
        LogClient(url, connections=1, timeout=seconds, pauses=()) as client,
    ):
        outcome = await audit_log(client, OPTIONS, None, now=NOW, server=server)
    for number, one in enumerate(outcome.report.findings):  # each proxy has a port of its own
        outcome.report.findings[number] = one._replace(sentence=one.sentence.replace(url, "URL"))
    return outcome


@pytest.mark.parametrize("confuse", CONFUSED.values(), ids=CONFUSED)
async def test_a_clean_log_is_not_accused(confuse: Confuse) -> None:
    outcome = await audited(grown(20), confuse)
    assert outcome.report.verdict is Verdict.CLEAN, outcome.report.findings
    assert outcome == await audited(grown(20), list)


async def test_half_an_answer_holds_an_audit_up_for_no_longer_than_one_request() -> None:
    outcome = await audited(grown(20), lambda answers: [answers[0], answers[1][:-100]], seconds=1)
    assert outcome.report.verdict is Verdict.CLEAN, outcome.report.findings


def but_for_checkpoints(answers: list[bytes]) -> list[bytes]:
    return [one for one in answers if body_of(one).startswith(ORIGIN.encode())]


async def test_a_server_that_falls_silent_is_told_of() -> None:
    with pytest.raises(Unreachable, match="no answer in time"):
        await audited(grown(20), but_for_checkpoints, many=1, seconds=0.1)


def wrong_leaf(sim: LogSim) -> None:
    sim.overrides[Tile(ENTRIES, 1).path] = frame([b"{}"] * 256)


def wrong_hash(sim: LogSim) -> None:
    sim.overrides[Tile(0, 2).path] = bytes(32 * 256)


def malformed(sim: LogSim) -> None:
    sim.overrides[Tile(ENTRIES, 1).path] = b"\xff\xff"


def missing(sim: LogSim) -> None:
    sim.overrides[Tile(0, 1).path] = 404


def bad_record(sim: LogSim) -> None:
    sim.append([b'{"id":"1","kind":"decision","producer":"x"}'])


@pytest.mark.parametrize("confuse", [list, pairs_swapped, CONFUSED["backwards"]])
@pytest.mark.parametrize("spoil", [wrong_leaf, wrong_hash, malformed, missing, bad_record])
async def test_a_log_is_accused_of_what_is_wrong_with_it(
    spoil: Callable[[LogSim], None], confuse: Confuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    sim = grown(20)
    spoil(sim)
    found = await audited(sim, confuse)
    assert found.report.verdict is not Verdict.CLEAN
    monkeypatch.setattr(LogClient, "asks_in_turn", False)
    assert found == await audited(sim, list)


@pytest.mark.parametrize("confuse", [pairs_swapped, CONFUSED["backwards"]])
def test_forked_processes_do_not_accuse_it_either(
    confuse: Confuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "FORKED_WORTH", 0)
    monkeypatch.setattr(reader, "POOL_WORTH", 0)  # if there are threads that nobody may fork
    with fork_server() as server:
        outcome = asyncio.run(audited(grown(30), confuse, server=server))
    assert outcome.report.verdict is Verdict.CLEAN, outcome.report.findings
