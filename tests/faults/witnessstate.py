"""A recorded run of a real witness, and looking at its database as a starting witness does."""

import http.client
from dataclasses import dataclass, field
from pathlib import Path

import processes
from faults import launch, strace
from judging import HeadState, decide
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.cosignature import verifier_for
from muniment.tlog.note import Verifier, verify_note
from muniment.tlog.witnesswire import origin_hash
from muniment_witness.cli import setup
from muniment_witness.judge.decide import NEVER, Acceptance, KnownLog, Refusal
from muniment_witness.store.heads import HeadStore
from waiting import SECONDS
from witness_tools import GrowingLog, log_signer, set_up

_COSIGNATURE = "— witness.example/".encode()


@dataclass
class Recorded:
    """A run of a witness.

    Attributes:
        log: what it witnessed.
        sizes: the heads it cosigned, in order; 409 answers told the one before them.
        keys: its public keys.
        trace: its calls.
        made: the database before it, in the place where the witness finds it.
    """

    log: GrowingLog
    keys: tuple[Verifier, ...]
    sizes: list[int] = field(default_factory=lambda: [0])
    trace: list[strace.Call] = field(default_factory=list)
    made: dict[str, bytes] = field(default_factory=dict)


def record(folder: Path, pages: int) -> Recorded:
    """Runs a new witness three times, from its first breath to a clean stop."""
    log = GrowingLog(signers=[log_signer()])
    config, vkeys = set_up(folder / "w", log.vkeys, "ed25519", "mldsa44")
    recorded = Recorded(log, tuple(verifier_for(vkey) for vkey in vkeys))
    database = folder / "w" / setup.DATABASE_NAME
    recorded.made = {str(database): database.read_bytes()}
    runs = [(0, 1, 2, 5, 5, 9, 40, 41, 64), (65, 80, 80, 81, 100, 130, 131), (140, 141, 150)]
    for run, sizes in enumerate(runs):
        output = folder / f"trace{run}"
        argv = launch.command(pages, "muniment_witness.cli", "serve", "--config", config)
        with processes.start(
            strace.recording(output, argv), environment=launch.environment()
        ) as process:
            host, _, port = process.url.removeprefix("http://").rpartition(":")
            client = http.client.HTTPConnection(host, int(port), timeout=SECONDS)
            for size in sizes:
                body = log.request(recorded.sizes[-1], size).encode()
                assert _ask(client, "POST", "/add-checkpoint", body) == 200
                recorded.sizes.append(size)
                if size % 2:
                    stale = log.request(max(0, size - 1), size + 1).encode()
                    assert _ask(client, "POST", "/add-checkpoint", stale) == 409
                    assert _ask(client, "GET", f"/{origin_hash(log.origin)}/checkpoint") == 200
            client.close()
            assert process.terminate() == 0
        recorded.trace += strace.read(output, folder / "w")
    return recorded


def _ask(client: http.client.HTTPConnection, method: str, path: str, body: bytes = b"") -> int:
    client.request(method, path, body or None)
    response = client.getresponse()
    response.read()
    return response.status


class Told:
    """What the world knows of a witness: the size of the head it last told."""

    def __init__(self, recorded: Recorded) -> None:
        self._recorded = recorded
        self._cosigned = 0
        self.size = -1

    def hear(self, data: bytes) -> None:
        if _COSIGNATURE in data and self._recorded.log.origin.encode() not in data:
            self._cosigned += 1
            self.size = self._recorded.sizes[self._cosigned]

    def judge(self, found: "Found") -> None:
        assert found.size >= self.size, "the witness has forgotten what it signed"


@dataclass(frozen=True, slots=True)
class Found:
    """What a database holds: the size of the latest cosigned head, -1 without one."""

    size: int


async def look(path: Path, recorded: Recorded) -> Found:
    """Opens a database as the witness does; what it holds must be whole, and lead on.

    Raises AssertionError if it is not what this witness has cosigned, or the witness would refuse
    an honest log, or cosign a fork.
    """
    log = recorded.log
    store = await HeadStore.open(path, [key.vkey for key in recorded.keys])
    try:
        head = store.head(log.origin)
        latest = store.latest.get(log.origin)
        if latest is None:
            return Found(-1)
        assert head.size in recorded.sizes
        assert head.root == log.root(head.size)
        note = parse_signed_checkpoint(latest.note)
        assert (note.checkpoint.size, note.checkpoint.root) == head
        signed = verify_note(note.note, recorded.keys).signatures
        assert {who.timestamp for who in signed} == {latest.time}
        assert len(signed) == len(recorded.keys)
        # How it came there, step by step.
        at = 0
        while at < head.size:
            step = await store.step_from(log.origin, at)
            assert step is not None, f"the history lacks the step from {at}"
            at = step.checkpoint.checkpoint.size
        state = HeadState(KnownLog(log.origin, log.verifiers), head, latest.time)
        step_on = log.request(head.size, head.size + 3)
        assert isinstance(decide(state, step_on, latest.time), Acceptance)
        if head != NEVER:
            fork = log.fork(head.size - 1).request(head.size, head.size + 3)
            assert isinstance(decide(state, fork, latest.time), Refusal)
        return Found(head.size)
    finally:
        await store.close()
