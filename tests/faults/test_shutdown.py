"""Stops that are asked for: what was acknowledged stays, and they end in a bounded time."""

import asyncio
import signal
import socket
from pathlib import Path

import pytest

import decisions
import signing
from faults.crowd import Line, run
from faults.overloaded import Load, configured, everything
from faults.services import Services
from log_deployment import GATEWAY, ORIGIN, Stream, check_places
from muniment.tlog.policy import parse_policy
from muniment.tlog.witnesswire import origin_hash
from processes import Process
from waiting import until
from witness_tools import GrowingLog, set_up

ROUNDS = 3
BUSY = "waiting_bytes = 1000000\ninflight_bytes = 8000000\n"


async def stop_while_busy(load: Load, log: Process, after: float) -> None:
    load.url, load.stopped = log.url, False
    tasks = [asyncio.create_task(load.signed()) for _ in range(10)]
    tasks += [asyncio.create_task(load.unsigned()) for _ in range(3)]
    taken = len(load.receipts)
    await until(lambda: len(load.receipts) >= taken + 3)
    await asyncio.sleep(after)
    log.signal(signal.SIGTERM)
    await asyncio.gather(*tasks)  # every connection has been closed


async def try_again(load: Load) -> None:
    """Gateways do not know about what was not answered: they send it again, the same bytes."""
    line = Line(load.url)
    for body in load.unanswered:
        reply = await line.expect(200, "POST", "/v1/batches", body)
        load.receive(reply, body)
    load.unanswered.clear()


async def compare(load: Load) -> None:
    entries = await everything(load.url)
    check_places(load.receipts, entries)
    manifests = [entry for entry in entries if entry.startswith(b"muniment/manifest/v1\n")]
    theirs = [manifest for manifest in manifests if GATEWAY.encode() + b" s" in manifest]
    assert len(theirs) == len(load.receipts)  # no batch of which nobody knows, and none twice
    plain = [entry for entry in entries if b'"producer":"curl.example/dev"' in entry]
    assert len(plain) >= load.plain > 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_log_that_stops_under_load_keeps_its_word(
    tmp_path: Path, quick: Services, workers: int
) -> None:
    config = configured(tmp_path / "log", BUSY, workers=workers)
    load = Load("")
    for number in range(ROUNDS):
        log = quick.log(config)
        run(stop_while_busy(load, log, 0.1 * number))
        assert log.wait() == 0, log.stderr
        load.url = quick.log(config).url if number == ROUNDS - 1 else ""
        if load.url:
            run(try_again(load))
            run(compare(load))
        else:
            again = quick.log(config)
            load.url = again.url
            run(try_again(load))
            again.signal(signal.SIGTERM)
            assert again.wait() == 0


class Asking:
    """A log that asks for its next head to be cosigned as soon as it has the answer to the last.

    Attributes:
        size: of the newest head that it holds a cosignature of.
    """

    def __init__(self, origin: str) -> None:
        self.log = GrowingLog(origin)
        self.size = 0

    async def until_stopped(self, url: str) -> None:
        line = Line(url)
        while reply := await line.ask("POST", "/add-checkpoint", self.request(self.log)):
            if reply.status == 503:
                break
            assert reply.status == 200, reply
            self.size += 1
        line.close()

    async def find(self, url: str) -> None:
        """The witness remembers what it said, and goes on from there."""
        line = Line(url)
        reply = await line.ask("GET", f"/{origin_hash(self.log.origin)}/checkpoint")
        # Neither less nor more: what it still signed it has still told.
        assert int(reply.body.split(b"\n")[1]) == self.size
        fork = self.request(self.log.fork(self.size - 1))
        for body, status in ((fork, 422), (self.request(self.log), 200)):
            await line.expect(status, "POST", "/add-checkpoint", body)
        self.size += 1
        line.close()

    def request(self, log: GrowingLog) -> bytes:
        return log.request(self.size, self.size + 1).encode()


async def stop_while_asked(asking: list[Asking], witness: Process, after: float) -> None:
    begun = [each.size for each in asking]
    tasks = [asyncio.create_task(each.until_stopped(witness.url)) for each in asking]
    await until(lambda: all(e.size >= size + 2 for e, size in zip(asking, begun, strict=True)))
    await asyncio.sleep(after)
    witness.signal(signal.SIGTERM)
    await asyncio.gather(*tasks)  # every connection has been closed


def test_a_witness_that_stops_under_load_keeps_its_word(tmp_path: Path, quick: Services) -> None:
    asking = [Asking(f"log.example/{number}") for number in range(8)]
    logs = [vkey for each in asking for vkey in each.log.vkeys]
    config, _ = set_up(tmp_path / "w", logs, "ed25519", "mldsa44")

    async def find_all(url: str) -> None:
        for each in asking:
            await each.find(url)

    for number in range(ROUNDS):
        witness = quick.witness(config)
        run(stop_while_asked(asking, witness, 0.03 * number))
        assert witness.wait() == 0, witness.stderr
        again = quick.witness(config)
        run(find_all(again.url))
        assert again.terminate() == 0, again.stderr


def silent_witness() -> socket.socket:
    """Takes connections, and never says a word."""
    made = socket.socket()
    made.bind(("127.0.0.1", 0))
    made.listen(50)
    return made


async def logged(url: str) -> None:
    """An empty log would wait for its witness; this one is not empty."""
    body = Stream("before", signing.log_signer(GATEWAY)).take(
        decisions.decisions(1, producer=GATEWAY)
    )
    await Line(url).expect(200, "POST", "/v1/batches", body)


def witnessed(folder: Path, witness: socket.socket, grace: float, quick: Services) -> Path:
    """A log whose one witness is silent, and who waits for nobody at its start."""
    config = configured(folder, f"grace_seconds = {grace}\nstart_seconds = 0.1\n")
    log = quick.log(config)
    run(logged(log.url))
    assert log.terminate() == 0
    text = config.read_text()
    keys = [line for line in text.splitlines() if ORIGIN in line and "+" in line]
    assert keys
    name = signing.witness("witness.example/silent").vkey
    url = f"http://127.0.0.1:{witness.getsockname()[1]}"
    log_key = signing.log_signer(ORIGIN).vkey  # any: nobody compares it here
    policy = f"log {log_key}\nwitness w {name} {url}\nquorum w\n"
    parse_policy(policy.encode())
    (folder / "witnesses.policy").write_text(policy)
    config.write_text(text.replace("# policy =", "policy ="))
    return config


async def told_to_stop(log: Process, body: bytes, signals: int) -> None:
    waiting = asyncio.create_task(
        Line(log.url).ask("POST", "/v1/batches?wait=published&timeout=50", body)
    )
    line = Line(log.url)
    integrated = b""
    while b'"integrated":4,' not in integrated:
        reply = await line.ask("GET", "/readyz")
        integrated = reply.body
        await asyncio.sleep(0.02)
    for _ in range(signals):
        log.signal(signal.SIGTERM)
        await until(lambda: "stopping" in log.stderr)
    reply = await waiting
    assert reply is None or reply.status == 503


async def still_there(url: str, body: bytes) -> None:
    reply = await Line(url).expect(200, "POST", "/v1/batches", body)
    assert b'"first":2,' in reply.body  # the receipt of the first time


def stop(tmp_path: Path, quick: Services, *, grace: float, signals: int) -> int:
    body = Stream("s", signing.log_signer(GATEWAY)).take(decisions.decisions(1, producer=GATEWAY))
    with silent_witness() as witness:
        config = witnessed(tmp_path / "log", witness, grace, quick)
        log = quick.log(config)
        run(told_to_stop(log, body, signals))
        code = log.wait()  # fails when it takes half a minute
        run(still_there(quick.log(config).url, body))
    return code


def test_a_stop_does_not_wait_for_a_silent_witness(tmp_path: Path, quick: Services) -> None:
    """The caller asked to wait 50 seconds for a quorum; the log may take one to stop."""
    assert stop(tmp_path, quick, grace=1.0, signals=1) == 0


def test_a_second_signal_ends_at_once(tmp_path: Path, quick: Services) -> None:
    assert stop(tmp_path, quick, grace=3600.0, signals=2) == -signal.SIGTERM
