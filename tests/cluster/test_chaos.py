"""A whole cluster under everything that happens to machines, round after round.

Three frontends, three integrators, three witnesses, gateways that submit all the time. A round
kills or stops a process, restarts PostgreSQL or the object store, or makes the network between them
slow, silent or broken. MUNIMENT_CHAOS_ROUNDS is how many rounds (and `pytest --timeout 3000` for
hundreds); the choices come from a seed, MUNIMENT_CHAOS_SEED.
"""

import contextlib
import http.client
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import engines
from decisions import outcome
from faults.services import Services, services
from log_deployment import (
    GATEWAY,
    ORIGIN,
    Cluster,
    Deployment,
    Stream,
    ask,
    deployed,
    leaves_of,
    verify_leaf,
)
from log_load import tell
from muniment.records.addenda import addendum_path
from muniment.records.batchbody import join_body
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.encoding import unframe
from muniment.tlog.merkle import CompactRange, leaf_hashes
from muniment.tlog.witnesswire import origin_hash
from ports import free_port
from processes import Process
from tcpproxy import Proxy
from withholding import digest_of, withheld

ROUNDS = int(os.environ.get("MUNIMENT_CHAOS_ROUNDS", "5"))
SEED = int(os.environ.get("MUNIMENT_CHAOS_SEED", "1"))
LEASE_SECONDS = 2.0
GATEWAYS = 3
SETTLE_SECONDS = 90.0  # only a failure waits so long

UNEXPECTED = (6, 7, 8)
"""Exit codes that nothing here may bring about: wrong identity, rolled back, damaged."""


class Member:
    """A frontend or an integrator with a network of its own; started again when it ends."""

    def __init__(self, chaos: "Chaos", name: str, command: str) -> None:
        self.name = name
        self.postgres = Proxy(chaos.postgres.port)
        self.store = Proxy(chaos.store.port)
        self.url = f"http://127.0.0.1:{free_port()}"
        self.service: Process | None = None
        self._chaos = chaos
        self._command = command
        self._config = chaos.config_for(self)

    def start(self) -> None:
        self.service = self._chaos.services.begin(
            "muniment_log.cli", self._command, "--config", self._config,
            "--listen", self.url.removeprefix("http://"),
            environment={
                **self._chaos.bucket.environment,
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.store.port}",
            },
        )  # fmt: skip

    def watch(self) -> None:
        """Starts it when it has ended, as a supervisor would; fails when it should not have."""
        service = self.running
        if service.returncode is None:
            return
        code = service.wait()
        if code in UNEXPECTED or "Traceback" in service.stderr:
            raise AssertionError(f"{self.name} ended with {code}\n{service.stderr[-4000:]}")
        tell(f"  {self.name} had ended with {code}: {service.stderr.strip()[-300:]}")
        self.start()

    @property
    def running(self) -> Process:
        assert self.service is not None
        return self.service

    def close(self) -> None:
        if self.service is not None:
            self.service.kill()
        for proxy in (self.postgres, self.store):
            proxy.__exit__(None, None, None)


class Gateway(threading.Thread):
    """Submits batches one after the other, to any frontend, each until it has its receipt."""

    def __init__(self, chaos: "Chaos", stream: Stream, seed: int) -> None:
        super().__init__(daemon=True)
        self.stream = stream
        self.receipts: list[tuple[int, list[bytes]]] = []
        self.kept: list[bytes] = []  # addenda that a receipt covers
        self.failure: str | None = None
        self.stopping = threading.Event()
        self._chaos = chaos
        self._dice = random.Random(seed)

    def run(self) -> None:
        while not self.stopping.is_set() and self.failure is None:
            stream, count = self.stream, self._dice.randint(1, 60)
            names = [f"{stream.label}-{stream.next + i}" for i in range(count)]
            records, addenda = [outcome(name) for name in names], list[bytes]()
            if self._dice.random() < 0.3:
                records[0], data = withheld(stream.next, stream.label, kept="log")
                addenda.append(data)
            framed = stream.take(records)
            body = join_body(framed, addenda)
            while (first := self._submit(body)) is None and self.failure is None:
                if self.stopping.wait(0.05) and time.monotonic() > self._chaos.deadline:
                    self.failure = "no receipt in time"
            if first is not None:
                self.receipts.append((first, unframe(framed)))
                self.kept += addenda

    def _submit(self, body: bytes) -> int | None:
        url = self._dice.choice(self._chaos.frontends).url
        try:
            answer = ask(f"{url}/v1/batches", body)
        except (OSError, http.client.HTTPException):
            return None
        if answer.status == 200:
            first = answer.json["first"]
            assert isinstance(first, int)
            return first
        if answer.status != 503:
            self.failure = f"{answer.status} {answer.body!r}"
        return None


class Chaos:
    """Everything that runs."""

    def __init__(
        self,
        made: Deployment,
        quick: Services,
        postgres: engines.PostgreSQL,
        store: engines.SeaweedFS,
    ) -> None:
        self.made, self.services, self.postgres, self.store = made, quick, postgres, store
        self.bucket = made.cluster.bucket
        self.deadline = float("inf")
        self.frontends = [Member(self, f"frontend{n}", "frontend") for n in range(3)]
        self.integrators = [Member(self, f"integrator{n}", "integrator") for n in range(3)]
        self.gateways = [Gateway(self, made.stream(), SEED + n) for n in range(GATEWAYS)]

    @property
    def members(self) -> list[Member]:
        return [*self.frontends, *self.integrators]

    def config_for(self, member: Member) -> Path:
        assert self.made.cluster is not None
        config = self.made.config.with_name(f"{member.name}.toml")
        text = self.made.config.read_text()
        text = text.replace(f":{self.postgres.port}/", f":{member.postgres.port}/")
        text = text.replace("lease_seconds = 6.0", f"lease_seconds = {LEASE_SECONDS}")
        text = text.replace('database = "index.db"', "enabled = false")
        config.write_text(f"{text}\n[read]\nopen_addenda = true\n")
        return config

    def rest(self, seconds: float) -> None:
        """Lets it run, and starts what has ended."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.check()
            time.sleep(0.05)

    def check(self) -> None:
        for member in self.members:
            member.watch()
        for gateway in self.gateways:
            assert gateway.failure is None, f"{gateway.stream.label}: {gateway.failure}"

    def disturb(self, dice: random.Random) -> None:
        member = dice.choice(self.members)
        link = dice.choice([member.postgres, member.store])
        what = dice.choice(
            ["kill", "kill", "stop", "stop", "cut", "silence", "slow", "postgres", "postgres kill",
             "store"]
        )  # fmt: skip
        tell(f"{what} {member.name}")
        match what:
            case "kill":
                member.running.signal(signal.SIGKILL)
            case "stop":
                member.running.signal(signal.SIGSTOP)
                self.rest(dice.uniform(0.5, 2.5) * LEASE_SECONDS)
                member.running.signal(signal.SIGCONT)
            case "cut":
                link.cut()
            case "silence":
                link.silent = True
                self.rest(dice.uniform(0.5, 2.5) * LEASE_SECONDS)
                link.heal()
            case "slow":
                link.delay = dice.uniform(0.02, 0.3)
                self.rest(dice.uniform(0.5, 2.0) * LEASE_SECONDS)
                link.heal()
            case "postgres":
                self.postgres.restart()
            case "postgres kill":
                self.postgres.kill()
                self.postgres.start()
            case _:
                self.store.kill()
                self.rest(dice.uniform(0.0, 1.0))
                self.store.start()
        self.rest(dice.uniform(0.1, 1.0))

    def settle(self) -> None:
        """Everything is well again; every gateway gets its last receipt."""
        self.deadline = time.monotonic() + SETTLE_SECONDS
        for gateway in self.gateways:
            gateway.stopping.set()
        for gateway in self.gateways:
            while gateway.is_alive():
                self.check()
                gateway.join(0.1)
        # What was killed last may be down still: no gateway had to wait for it.
        self.until(lambda: all(self.leads(member) is not None for member in self.frontends))

    def until(self, holds: Callable[[], bool]) -> None:
        """Waits for something, and starts what has ended."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while not holds():
            assert time.monotonic() < deadline, "it did not come to pass"
            self.rest(0.1)

    def leads(self, member: Member) -> bool | None:
        """Whether an integrator integrates; None when it does not answer."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            answer = ask(f"{member.url}/readyz")
            return bool(answer.json.get("integrating"))
        return None

    def leader(self) -> Member:
        """Who leads, by one look: at the next one another may, or nobody."""
        leading: list[Member] = []

        def look() -> bool:
            leading.extend(member for member in self.integrators if self.leads(member))
            return bool(leading)

        self.until(look)
        return leading[0]

    def checkpoint(self) -> bytes:
        """The published one, as the first frontend that answers has it; empty before the first."""
        for member in self.frontends:
            with contextlib.suppress(OSError, http.client.HTTPException):
                answer = ask(f"{member.url}/checkpoint")
                if answer.status == 200:
                    return answer.body
        return b""

    def published(self, size: int) -> int:
        """The published size, once it is at least `size`."""
        self.until(lambda: _size(self.checkpoint()) >= size)
        return _size(self.checkpoint())

    def close(self) -> None:
        for gateway in self.gateways:
            gateway.stopping.set()
            gateway.failure = gateway.failure or "over"
        for member in self.members:
            member.close()


def _size(note: bytes) -> int:
    return int(note.split(b"\n")[1]) if note else 0


@pytest.fixture(scope="module")
def chaos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chaos]:
    """One cluster for all tests; the last one judges what became of it."""
    with (
        engines.started(engines.PostgreSQL) as postgres,
        engines.started(engines.SeaweedFS) as store,
        services() as quick,
    ):
        cluster = Cluster(postgres.create_database(), store.create_bucket())
        with deployed(tmp_path_factory.mktemp("chaos"), cluster) as made:
            made.log.terminate()
            running = Chaos(made, quick, postgres, store)
            try:
                for member in running.members:
                    member.start()
                for gateway in running.gateways:
                    gateway.start()
                yield running
            finally:
                running.close()


@pytest.mark.parametrize("side", ["postgres", "store"])
def test_an_integrator_that_is_cut_off_from_one_side_is_replaced(chaos: Chaos, side: str) -> None:
    chaos.until(lambda: all(gateway.receipts for gateway in chaos.gateways))
    cut_off = chaos.leader()
    link = cut_off.postgres if side == "postgres" else cut_off.store
    link.silent = True
    chaos.until(lambda: chaos.leads(cut_off) is False)
    other = chaos.leader()
    assert other is not cut_off
    # Under the other one the log goes on, and what was cut off does no harm when it is back.
    size = chaos.published(0)
    chaos.until(lambda: chaos.published(0) > size)
    link.heal()
    size = chaos.published(0)
    chaos.until(lambda: chaos.published(0) > size)
    chaos.until(lambda: sum(chaos.leads(member) is True for member in chaos.integrators) == 1)


@pytest.mark.timeout(600 + 20 * ROUNDS)
def test_every_receipt_holds_and_there_is_one_history(chaos: Chaos) -> None:
    """After kills at any of the crash points C3 to C8: C6, C7 and C8 are a cluster's own."""
    tell(f"MUNIMENT_CHAOS_SEED={SEED} MUNIMENT_CHAOS_ROUNDS={ROUNDS}")
    dice = random.Random(SEED)
    chaos.until(lambda: all(gateway.receipts for gateway in chaos.gateways))
    for _ in range(ROUNDS):
        chaos.disturb(dice)
    chaos.settle()
    receipts = [receipt for gateway in chaos.gateways for receipt in gateway.receipts]
    end = max(first + len(batch) for first, batch in receipts)
    chaos.published(end)
    cosigned = chaos.made.policy.verify(chaos.checkpoint(), origin=ORIGIN)
    size, url = cosigned.size, chaos.frontends[0].url

    # One history: everything published makes the root that the witnesses have cosigned.
    entries = leaves_of(url, size)
    hashes = leaf_hashes(entries)
    assert CompactRange.EMPTY.extend(hashes).root() == cosigned.root
    # Every receipt at its index, no index twice, and nothing that nobody has a receipt for.
    places = sorted((first, len(batch)) for first, batch in receipts)
    assert [first for first, _ in places] == [0, *[a + b for a, b in places]][:-1]
    assert places[-1][0] + places[-1][1] == size == len(entries)
    for first, batch in receipts:
        assert entries[first : first + len(batch)] == batch
    for first, batch in dice.sample(receipts, min(20, len(receipts))):
        verify_leaf(url, batch[0], first, cosigned)
    # The witnesses agree: what each has cosigned last is a tree of this history.
    for witness in chaos.made.witnesses:
        note = ask(f"{witness.url}/{origin_hash(ORIGIN)}/checkpoint").body
        known = parse_signed_checkpoint(note).checkpoint
        assert known.root == CompactRange.EMPTY.extend(hashes[: known.size]).root()
    for gateway in chaos.gateways:
        state = ask(f"{url}/v1/streams/{GATEWAY}/{gateway.stream.label}").json
        assert state["next"] == gateway.stream.next
    kept = [data for gateway in chaos.gateways for data in gateway.kept]
    for data in dice.sample(kept, min(100, len(kept))):
        assert ask(f"{url}/{addendum_path(digest_of(data))}").body == data
    tell(f"{len(receipts)} batches acknowledged, {size} leaves, {ROUNDS} rounds")
