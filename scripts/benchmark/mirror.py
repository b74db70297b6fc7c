"""The scenario of a mirror: a log's entries uploaded to it, 32 packages a request, and cosigned."""

import gzip
import http.client
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from deployment import ORIGIN, Deployment

from benchmark.load import endless
from benchmark.options import Options
from benchmark.rig import BenchError
from benchmark.stats import rounds
from muniment.tlog.checkpoint import Checkpoint, sign_checkpoint
from muniment.tlog.cosignature import signer_for
from muniment.tlog.encoding import frame
from muniment.tlog.keys.keyfile import generate
from muniment.tlog.merkle import leaf_hashes, pair_hashes, root_of
from muniment.tlog.mirrorwire import (
    INFO_CONTENT_TYPE,
    MAX_PACKAGES,
    UPLOAD_CONTENT_TYPE,
    PackageRange,
    Upload,
    encode_package,
    parse_mirror_info,
)
from muniment.tlog.proofs import Node, plan_subtree
from muniment.tlog.witnesswire import AddCheckpoint, origin_hash, parse_cosignatures

PRODUCER = "gw.example/bench"
ROUNDS = 3


def mirror(options: Options) -> dict[str, Any]:
    """Uploads a log in rounds, each to a mirror of its own; gzip in a last one."""
    count = 120_000 if options.quick else 1_000_000
    log = Sent(list(islice(endless(PRODUCER, options.seed, count), count)))
    found = [_round(log, coded=False) for _ in range(ROUNDS)]
    middle = sorted(found, key=lambda one: one["rate_per_s"])[ROUNDS // 2]
    return {
        "entries": count,
        **middle,
        **rounds([one["rate_per_s"] for one in found]),
        "gzip": _round(log, coded=True),
    }


class Sent:
    """A log and its uploads, made before anything is measured."""

    def __init__(self, entries: Sequence[bytes]) -> None:
        self.signer = signer_for(ORIGIN, generate("ed25519"), use="log")
        self.size = len(entries)
        hashes = leaf_hashes(entries)
        self._levels = [hashes]
        while len(hashes) > 1:
            hashes = pair_hashes(hashes[: len(hashes) & ~1])
            self._levels.append(hashes)
        root = root_of(self._levels[0])
        checkpoint = sign_checkpoint(Checkpoint(ORIGIN, self.size, root), [self.signer], 0)
        self.checkpoint = AddCheckpoint(0, (), checkpoint).encode()
        places = list(Upload(ORIGIN, 0, self.size).packages)
        self.bodies = [
            Upload(ORIGIN, part[0].start, self.size).encode()
            + b"".join(self._package(entries, place) for place in part)
            for part in _parts(places)
        ]

    def _package(self, entries: Sequence[bytes], place: PackageRange) -> bytes:
        plan = plan_subtree(place.base, place.end, self.size)
        hashes = {node: self._at(node) for node in plan.nodes}
        return encode_package(frame(entries[place.start : place.end]), plan.assemble(hashes))

    def _at(self, node: Node) -> bytes:
        return self._levels[node.level][node.index]


def _parts(places: Sequence[PackageRange]) -> Iterator[Sequence[PackageRange]]:
    for at in range(0, len(places), MAX_PACKAGES):
        yield places[at : at + MAX_PACKAGES]


def _round(log: Sent, *, coded: bool) -> dict[str, Any]:
    bodies = [gzip.compress(body, 1) for body in log.bodies] if coded else log.bodies
    with tempfile.TemporaryDirectory(prefix="muniment-bench-") as name:
        deployment = Deployment(Path(name))
        try:
            deployment.command(
                "muniment-witness", "init", "m1", "--mirror", "--name", "mirror.example/m1",
                "--listen", "127.0.0.1:0", "--log", str(log.signer.vkey),
            )  # fmt: skip
            url = deployment.start("m1", "muniment-witness", "serve", "--config", "m1/witness.toml")
            host, _, port = url.removeprefix("http://").rpartition(":")
            client = http.client.HTTPConnection(host, int(port), timeout=600)
            _ask(client, "POST", "/add-checkpoint", log.checkpoint)
            used, began = deployment.cpu_seconds("m1"), time.perf_counter()
            for body in bodies:
                status, kind, answer = _ask(client, "POST", "/add-entries", body, coded=coded)
                if status == 202 and kind == INFO_CONTENT_TYPE:
                    parse_mirror_info(answer)
            took = time.perf_counter() - began
            used = deployment.cpu_seconds("m1") - used
            if status != 200 or len(parse_cosignatures(answer)) != 2:
                raise BenchError(f"not cosigned: {status}: {answer[:200]!r}")
            path = f"/mirror/{origin_hash(ORIGIN)}/checkpoint"
            if f"\n{log.size}\n".encode() not in _ask(client, "GET", path)[2]:
                raise BenchError("the mirror checkpoint is not the one that was uploaded")
            stored = sum(file.stat().st_size for file in (Path(name) / "m1").glob("mirror.db*"))
            memory = deployment.rss("m1")
        finally:
            deployment.stop()
    return {
        "rate_per_s": round(log.size / took),
        "per_core_second": round(log.size / used),
        "stored_bytes_per_entry": round(stored / log.size, 1),
        "mirror_rss_mb": round(memory / 1e6),
    }


def _ask(
    client: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None = None,
    *,
    coded: bool = False,
) -> tuple[int, str, bytes]:
    headers = {"Content-Type": UPLOAD_CONTENT_TYPE} if body is not None else {}
    if coded:
        headers["Content-Encoding"] = "gzip"
    client.request(method, path, body, headers)
    response = client.getresponse()
    found = response.status, response.headers.get_content_type(), response.read()
    if found[0] not in {200, 202}:
        raise BenchError(f"{path}: {found[0]}: {found[2][:200]!r}")
    return found
