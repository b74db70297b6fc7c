"""A mirror that is killed, loses power or has no room: it never cosigns what it does not hold.

The rounds and moments of the kills are those of test_kill.py, by the same variables.
"""

import asyncio
import http.client
import os
import random
import re
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import processes
from faults import launch, strace
from faults.cuts import Cuts
from faults.services import services
from faults.volume import fill, make_room, mounted
from log_deployment import Answer, ask
from mirror_tools import MIRROR, MirrorLog, check_copy
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.cosignature import verifier_for
from muniment.tlog.mirrorwire import MirrorInfo, parse_mirror_info
from muniment.tlog.note import VKey, verify_note
from muniment.tlog.tiles import bundles_of, tiles_of
from muniment.tlog.witnesswire import origin_hash, parse_cosignatures
from muniment_service.exits import EXIT_UNWRITABLE
from muniment_witness.judge.decide import KnownLog
from muniment_witness.mirror.mirror import Mirror
from muniment_witness.store.heads import HeadStore
from muniment_witness.store.mirrordb import MirrorStore
from witness_tools import log_signer, set_up

ROUNDS = int(os.environ.get("MUNIMENT_KILL_ROUNDS", "8"))
SEED = int(os.environ.get("MUNIMENT_KILL_SEED", "1"))
SAMPLES = int(os.environ.get("MUNIMENT_POWER_SAMPLES", "1"))
PAGES = 32


class RefusedError(OSError):
    """The mirror cannot store anything."""


class Client:
    """A log that pushes what grows to one mirror, and knows what the mirror has told.

    Attributes:
        cosigned: the largest checkpoint whose cosignature came.
        held: the largest next entry that was told.
    """

    def __init__(self, log: MirrorLog) -> None:
        self.log = log
        self.pending = self.cosigned = self.held = 0

    def pend(self, url: str, size: int) -> None:
        answer = ask(f"{url}/add-checkpoint", self.log.request(self.pending, size).encode())
        if answer.status == 409:  # it was made pending, and the answer was lost
            self.pending = int(answer.body)
            size = max(size, self.pending)
            answer = ask(f"{url}/add-checkpoint", self.log.request(self.pending, size).encode())
        if answer.status == 503:
            raise RefusedError(answer.body)
        assert answer.status == 200, answer.body
        self.pending = size

    def send(self, url: str, start: int, end: int, packages: int | None = None) -> Answer:
        answer = ask(f"{url}/add-entries", self.log.upload(start, end, packages=packages))
        if answer.status == 200:
            assert parse_cosignatures(answer.body)
            self.cosigned, self.held = end, max(self.held, end)
        elif answer.status == 503:
            raise RefusedError(answer.body)
        else:
            assert answer.status in {202, 409}, answer.body
            self.held = max(self.held, self.told(answer).next_entry)
        return answer

    @staticmethod
    def told(answer: Answer) -> MirrorInfo:
        return parse_mirror_info(answer.body)

    def push(self, url: str, size: int) -> None:
        """Makes a checkpoint pending, and uploads to it a package at a time."""
        self.pend(url, size)
        for _ in range(20):
            answer = self.send(url, min(self.held, size), size, 1)
            if answer.status == 200:
                return
        raise AssertionError("the upload comes to no end")


def check_served(url: str, log: MirrorLog, keys: tuple[VKey, ...]) -> int:
    """Checks all that a mirror serves below its checkpoint; that checkpoint's size, or 0."""
    at = f"{url}/mirror/{origin_hash(log.origin)}"
    note = ask(f"{at}/checkpoint")
    if note.status == 404:
        return 0
    checkpoint = parse_signed_checkpoint(note.body)
    size = checkpoint.checkpoint.size
    assert checkpoint.checkpoint.root == log.root(size)
    verifiers = [*log.verifiers, *(verifier_for(key) for key in keys)]
    assert len(verify_note(checkpoint.note, verifiers).signatures) == len(verifiers)
    files = {tile.path: ask(f"{at}/{tile.path}") for tile in tiles_of(size)}
    files |= {tile.path: ask(f"{at}/{tile.path}") for tile in bundles_of(0, size, size)}
    assert {answer.status for answer in files.values()} <= {200}
    check_copy(log, size, {path: answer.body for path, answer in files.items()})
    return size


def test_a_mirror_killed_at_random_moments_holds_what_it_cosigned(tmp_path: Path) -> None:
    sys.stdout.write(f"MUNIMENT_KILL_SEED={SEED} MUNIMENT_KILL_ROUNDS={ROUNDS}\n")
    dice = random.Random(SEED)
    log = MirrorLog(signers=[log_signer()])
    config, keys = set_up(tmp_path / "m", log.vkeys, "ed25519", "mldsa44", name=MIRROR, mirror=True)
    client = Client(log)
    with services() as quick:
        first = quick.witness(config, pages=PAGES)
        client.push(first.url, 1)
        first.kill()
        for _ in range(ROUNDS):
            mirror = quick.witness(config, pages=PAGES)
            killer = threading.Timer(dice.uniform(0.0, 0.4), mirror.kill)
            killer.start()
            try:
                while True:
                    client.push(mirror.url, client.pending + dice.randrange(1, 400))
            except (OSError, http.client.HTTPException):
                killer.join()
            mirror = quick.witness(config, pages=PAGES)
            assert check_served(mirror.url, log, keys) >= client.cosigned
            answer = client.send(mirror.url, 1 << 40, 1 << 40)
            assert client.told(answer).next_entry >= client.cosigned
            client.pending = client.told(answer).size
            client.held = client.told(answer).next_entry
            mirror.kill()
        mirror = quick.witness(config, pages=PAGES)
        client.push(mirror.url, client.pending + 1)
        assert check_served(mirror.url, log, keys) == client.pending
    sys.stdout.write(f"{client.cosigned} entries\n")


@dataclass
class Recorded:
    """A run of a mirror: what it told, in order, as (cosigned, next entry), and its calls."""

    log: MirrorLog
    keys: tuple[VKey, ...]
    told: list[tuple[int, int]] = field(default_factory=lambda: [(0, 0)])
    trace: list[strace.Call] = field(default_factory=list)
    made: dict[str, bytes] = field(default_factory=dict)


def record(folder: Path) -> Recorded:
    log = MirrorLog(signers=[log_signer()])
    config, keys = set_up(folder / "m", log.vkeys, "ed25519", name=MIRROR, mirror=True)
    recorded = Recorded(log, keys)
    for name in ("witness.db", "mirror.db"):
        path = config.parent / name
        recorded.made[str(path)] = path.read_bytes()
    client = Client(log)
    for run, sizes in enumerate([(1, 3, 256, 300, 900), (901, 1300)]):
        output = folder / f"trace{run}"
        argv = launch.command(PAGES, "muniment_witness.cli", "serve", "--config", config)
        with processes.start(
            strace.recording(output, argv), environment=launch.environment()
        ) as process:
            for size in sizes:
                client.pend(process.url, size)
                status = 202
                while status == 202:
                    status = client.send(process.url, client.held, size, 2).status
                    recorded.told.append((client.cosigned, client.held))
            assert process.terminate() == 0
        recorded.trace += strace.read(output, folder / "m")
    return recorded


_TOLD = re.compile(f"— {MIRROR} ".encode() + rb"|\r\n\r\n\d+\n\d+\n|^\d+\n\d+\n")
"""A mirror's cosignature, or mirror-info, in what it sends."""


async def look(folder: Path, recorded: Recorded) -> tuple[int, int]:
    """Opens what a power cut has left as a mirror does; its checkpoint's size, and next entry."""
    log, keys = recorded.log, recorded.keys
    heads = await HeadStore.open(folder / "witness.db", keys, cosigns=False)
    store = await MirrorStore.open(folder / "mirror.db", keys)
    mirror = Mirror(store, heads, [], lambda: 1)
    try:
        await mirror.follow({log.origin: KnownLog(log.origin, log.verifiers)})
        copy = mirror.copies[log.origin]
        size = copy.next_entry
        tiles = [*tiles_of(size), *bundles_of(0, size, size)]
        found = await copy.read(tiles)
        check_copy(log, size, {tile.path: data for tile, data in found.items()})
        pending = mirror.pending(log.origin)
        assert size <= (0 if pending is None else pending.checkpoint.size)
        if copy.head is not None:
            checkpoint = parse_signed_checkpoint(copy.head.note)
            assert checkpoint.checkpoint.head == (copy.mirrored, log.root(copy.mirrored))
            assert copy.mirrored <= size, "a checkpoint of entries that are not there"
            verify_note(checkpoint.note, [*log.verifiers, *map(verifier_for, keys)])
        return copy.mirrored, size
    finally:
        await mirror.close()
        await heads.close()


@pytest.mark.timeout(900)
async def test_a_mirror_keeps_its_word_through_any_power_cut(tmp_path: Path) -> None:
    strace.needed()
    recorded = await asyncio.to_thread(record, tmp_path)
    heard = 0

    def hear(data: bytes) -> None:
        nonlocal heard
        heard += bool(_TOLD.search(data))

    def judge(found: tuple[int, int]) -> None:
        cosigned, held = recorded.told[heard]
        assert found[0] >= cosigned, "the mirror has forgotten what it cosigned"
        assert found[1] >= held, "the mirror has lost entries that it told it holds"

    cuts = Cuts(hear, lambda folder: look(folder, recorded), judge, SAMPLES, recorded.made)
    counts = await cuts.run(recorded.trace, seed=6)
    assert heard == len(recorded.told) - 1
    assert counts.opened > 100, counts


def test_a_mirror_without_room_ends_and_goes_on_when_there_is_some(tmp_path: Path) -> None:
    with mounted(tmp_path / "volume") as volume:
        without_room(volume)


def without_room(volume: Path) -> None:
    log = MirrorLog(signers=[log_signer()])
    config, keys = set_up(volume / "m", log.vkeys, "ed25519", name=MIRROR, mirror=True)
    client = Client(log)
    start = processes.muniment_witness("serve", "--config", config)
    with processes.start(start) as mirror:
        client.push(mirror.url, 300)
        fill(volume, 0)
        size = 300
        try:
            while size < 20_000:
                size += 300
                client.push(mirror.url, size)
        except (OSError, http.client.HTTPException):
            assert size < 20_000
        assert mirror.wait() == EXIT_UNWRITABLE
        assert "full" in mirror.stderr
    make_room(volume)
    with processes.start(start) as mirror:
        assert check_served(mirror.url, log, keys) >= client.cosigned >= 300
        client.pending = client.told(client.send(mirror.url, 1 << 40, 1 << 40)).size
        client.push(mirror.url, client.pending + 1)
        assert check_served(mirror.url, log, keys) == client.pending
