"""A log and three witnesses as real processes, and ways to talk to them."""

import atexit
import functools
import hashlib
import json
import os
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import engines
import processes
import signing
from mirror_folder import MirrorFolder
from muniment.records.batchbody import join_body
from muniment.records.manifest import NO_PREVIOUS, build_batch
from muniment.tlog.encoding import parse_base64, unframe
from muniment.tlog.merkle import leaf_hash
from muniment.tlog.note import Ed25519Signer
from muniment.tlog.policy import CosignedCheckpoint, Policy, parse_policy
from muniment.tlog.proofs import verify_inclusion
from muniment.tlog.tiles import bundles_of

ORIGIN = "log.example/decisions"
GATEWAY = "gw.example/edge"
PRODUCER = "curl.example/dev"
WORKERS = int(os.environ.get("MUNIMENT_WORKERS", "1"))
"""How many workers a deployed log in one file has, unless the test says so."""

TOKEN = "a token for the tests"
PUBLISHED = "?wait=published&timeout=60"
"""The query of a submission that is answered when it is published, however busy the machine is."""

PATIENCE = 90
"""Seconds until a request is given up: more than a log waits."""


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        value = json.loads(self.body)
        assert isinstance(value, dict)
        return value

    def problem(self, status: int, slug: str) -> dict[str, Any]:
        assert (self.status, self.headers["Content-Type"]) == (
            status,
            "application/problem+json",
        ), self.body
        assert self.json["type"] == f"urn:muniment:problem:{slug}"
        assert self.json["status"] == status
        assert self.json["detail"]
        return self.json


def ask(
    url: str, body: bytes | None = None, headers: dict[str, str] | None = None, method: str = ""
) -> Answer:
    request = urllib.request.Request(url, body, headers or {}, method=method or None)
    if body is not None and "Content-type" not in request.headers:
        request.add_header("Content-Type", "application/octet-stream")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            return Answer(response.status, dict(response.headers), response.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, dict(error.headers), error.read())


def leaves_of(url: str, size: int) -> list[bytes]:
    """Every leaf that a log shows of its tree of this size."""
    bundles = (ask(f"{url}/{bundle.path}") for bundle in bundles_of(0, size, size))
    return [leaf for bundle in bundles for leaf in unframe(bundle.body)]


def check_places(receipts: list[tuple[int, list[bytes]]], entries: list[bytes]) -> None:
    """Whatever was acknowledged is in the tree, in its place, and once."""
    places: set[int] = set()
    for first, batch in receipts:
        assert entries[first : first + len(batch)] == batch
        assert first not in places
        places.add(first)
    manifests = [entry for entry in entries if entry.startswith(b"muniment/manifest/v1\n")]
    assert len(manifests) == len(set(manifests))


def verify_leaf(url: str, leaf: bytes, index: int, head: CosignedCheckpoint) -> None:
    """The log proves that a leaf is at an index of a tree."""
    proof = ask(
        f"{url}/v1/proofs/inclusion?index={index}&size={head.size}",
        headers={"Accept": "application/json"},
    ).json["proof"]
    path = [parse_base64(text, "proof") for text in proof]
    verify_inclusion(leaf_hash(leaf), index, head.size, path, head.root)


@dataclass
class Stream:
    label: str
    signer: Ed25519Signer
    next: int = 0
    previous: bytes = NO_PREVIOUS

    def peek(self, records: list[bytes]) -> bytes:
        return build_batch(ORIGIN, self.signer, self.label, self.next, self.previous, records).body

    def take(self, records: list[bytes]) -> bytes:
        batch = build_batch(ORIGIN, self.signer, self.label, self.next, self.previous, records)
        self.next += len(records)
        self.previous = batch.leaf_hashes[-1]
        return batch.body


@dataclass
class Deployment:
    """A log and its three witnesses, in one folder."""

    folder: Path
    policy: Policy
    witnesses: list[processes.Process]
    log: processes.Process
    signer: Ed25519Signer
    cluster: "Cluster | None" = None
    streams: int = 0
    records: list[bytes] = field(default_factory=list)
    mirrors: list[MirrorFolder] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.log.url

    @property
    def config(self) -> Path:
        return self.folder / "log" / "log.toml"

    def stream(self) -> Stream:
        self.streams += 1
        return Stream(f"s{self.streams}", self.signer)

    def post(self, body: bytes, query: str = "") -> Answer:
        return ask(f"{self.url}/v1/batches{query}", body)

    def refuses(self, command: str, code: int, *words: str) -> None:
        """A process of the log that ends by itself says why, in its last line."""
        environment = None if self.cluster is None else self.cluster.bucket.environment
        argv = processes.muniment_log(command, "--config", self.config)
        with processes.Process(argv, environment=environment) as process:
            assert process.wait() == code, process.stderr
        last = process.stderr.strip().split("\n")[-1]
        for word in words:
            assert word in last

    def start_log(self) -> None:
        self.log = start_log(self.config, self.cluster)


def run(argv: list[str]) -> list[str]:
    return processes.run(argv, code=0).stdout.split()


@dataclass(frozen=True)
class Cluster:
    """An empty database and an empty bucket, for a log on PostgreSQL and an object store."""

    postgres: str
    bucket: engines.Bucket

    @property
    def table(self) -> str:
        """The log's configuration of it."""
        return (
            f'[cluster]\npostgres = "{self.postgres}"\nobject_store = "{self.bucket.url}"\n'
            'lease_seconds = 6.0\n[index]\ndatabase = "index.db"\n'
        )


def cluster_for(request: pytest.FixtureRequest) -> Cluster | None:
    """What a fixture deploys on whose parameter is "sqlite", "workers" or "cluster"."""
    if request.param != "cluster":
        return None
    postgres: engines.PostgreSQL = request.getfixturevalue("postgres_server")
    store: engines.SeaweedFS = request.getfixturevalue("s3_server")
    return Cluster(postgres.create_database(), store.create_bucket())


def workers_for(request: pytest.FixtureRequest) -> int:
    """How many workers a log has whose fixture has the parameter "workers", or another one."""
    return 2 if request.param == "workers" else WORKERS


def start_log(config: Path, cluster: Cluster | None, *command: str) -> processes.Process:
    """Starts `muniment-log serve`, or the command of a cluster."""
    return processes.start(
        processes.muniment_log(*(command or ("serve",)), "--config", config),
        environment=None if cluster is None else cluster.bucket.environment,
    )


def deployed(
    folder: Path,
    cluster: Cluster | None = None,
    *,
    mirrors: int = 0,
    complete: str = "",
    workers: int = WORKERS,
) -> "Deployed":
    """`complete` has lines of the table `[complete]`: then the log has an index log, too."""
    return Deployed(folder, cluster, mirrors, complete, workers)


@dataclass(frozen=True)
class _Initialized:
    """A log and its witnesses as their `init` leaves them, and the keys that it says."""

    folder: Path
    log_keys: list[str]
    witness_keys: list[list[str]]


@functools.cache
def _initialized(complete: str) -> _Initialized:
    """Made once in each process that runs tests, as it takes longer than to start them all."""
    temporary = tempfile.TemporaryDirectory(prefix="muniment-test-")
    atexit.register(temporary.cleanup)
    folder = Path(temporary.name)
    config = folder / "log" / "log.toml"
    init = ("init", folder / "log", "--origin", ORIGIN, "--listen", "127.0.0.1:0")
    log_keys = run(processes.muniment_log(*init))
    witnessed = list(log_keys)
    if complete:
        config.write_text(f"{config.read_text()}\n[complete]\n{complete}")
        witnessed += run(processes.muniment_log("new-index-log", "--config", config))
    logs = [word for key in witnessed for word in ("--log", key)]
    witness_keys = [
        run(
            processes.muniment_witness(
                "init", folder / f"w{number}", "--name", f"witness.example/w{number}",
                "--listen", "127.0.0.1:0", "--algorithm", algorithm, *logs,
            )
        )
        for number, algorithm in enumerate(["ed25519", "mldsa44", "both"])
    ]  # fmt: skip
    return _Initialized(folder, log_keys, witness_keys)


class Deployed:
    """Starts everything on entering, ends everything on leaving."""

    def __init__(
        self,
        folder: Path,
        cluster: Cluster | None = None,
        mirrors: int = 0,
        complete: str = "",
        workers: int = WORKERS,
    ) -> None:
        self.workers = workers if cluster is None else 1
        self.folder = folder
        self.cluster = cluster
        self.complete = complete
        self.made: Deployment | None = None
        self.witnesses: list[processes.Process] = []
        self.mirrors = [MirrorFolder(folder / f"m{number}") for number in range(mirrors)]

    def __enter__(self) -> Deployment:
        try:
            self.made = self._make()
        except BaseException:
            self._stop()
            raise
        return self.made

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _make(self) -> Deployment:
        folder = self.folder
        made = _initialized(self.complete)
        shutil.copytree(made.folder, folder, dirs_exist_ok=True)
        config = folder / "log" / "log.toml"
        policy = "".join(f"log {key}\n" for key in made.log_keys)
        groups = []
        for number, keys in enumerate(made.witness_keys):
            witness = processes.start(
                processes.muniment_witness(
                    "serve", "--config", folder / f"w{number}" / "witness.toml"
                )
            )
            self.witnesses.append(witness)
            names = [f"w{number}k{place}" for place in range(len(keys))]
            policy += "".join(
                f"witness {name} {key} {witness.url}\n"
                for name, key in zip(names, keys, strict=True)
            )
            policy += f"group w{number} any {' '.join(names)}\n"
            groups.append(f"w{number}")
        for mirror in self.mirrors:
            mirror.make(made.log_keys)
            policy += mirror.start()
        if self.mirrors:
            policy += f"group mirrors any {' '.join(each.name for each in self.mirrors)}\n"
        policy += f"group quorum2of3 2 {' '.join(groups)}\nquorum quorum2of3\n"
        (folder / "log" / "witnesses.policy").write_text(policy)
        signer = signing.log_signer(GATEWAY)
        workers = "" if self.workers == 1 else f"workers = {self.workers}\n"
        config.write_text(
            workers
            + config.read_text().replace("# policy =", "policy =")
            + f'\n[[gateway]]\nvkey = "{signer.vkey}"\n'
            + f'[[token]]\nproducer = "{PRODUCER}"\n'
            + f'sha256 = "{hashlib.sha256(TOKEN.encode()).hexdigest()}"\n'
            + "[limits]\nparked_seconds = 0.3\n"
        )
        if self.cluster is not None:
            text = config.read_text().replace('database = "log.db"', "")
            config.write_text(text + self.cluster.table)
            run(processes.muniment_log("migrate", "--config", config))
        log = start_log(config, self.cluster)
        return Deployment(
            folder,
            parse_policy(policy.encode()),
            self.witnesses,
            log,
            signer,
            self.cluster,
            mirrors=self.mirrors,
        )

    def _stop(self) -> None:
        if self.made is not None:
            self.made.log.kill()
        for process in (*self.witnesses, *(each.process for each in self.mirrors)):
            if process is not None:
                process.kill()


def start_fails(config: Path, code: int, *words: str) -> None:
    done = processes.run(processes.muniment_log("serve", "--config", config), code=code)
    assert done.stdout == ""
    last = done.stderr.strip().split("\n")[-1]
    assert last.startswith("muniment-log: ")
    for word in words:
        assert word in last


def erase(made: Deployment, *arguments: object) -> processes.Done:
    """Erases by command, beside the log that runs."""
    return processes.run(processes.muniment_log("erase", "--config", made.config, *arguments))


def send(made: Deployment, pairs: Sequence[tuple[bytes, bytes]]) -> tuple[int, bytes]:
    """Publishes records with an addendum each.

    Returns the index of the first, and the body that was sent.
    """
    body = join_body(made.stream().take([one for one, _ in pairs]), [data for _, data in pairs])
    answer = made.post(body, PUBLISHED)
    assert answer.status == 200, answer.body
    return answer.json["first"], body


def audit_addenda(made: Deployment) -> processes.Done:
    policy = made.folder / "log" / "witnesses.policy"
    where = ("--log", made.url, "--policy", policy, "--gateway", made.signer.vkey)
    return processes.run(processes.muniment("audit", *where, "--addenda"))


def is_integrating(process: processes.Process) -> bool:
    return bool(ask(f"{process.url}/readyz").json["integrating"])
