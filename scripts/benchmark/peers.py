"""Muniment beside Tessera and litewitness: the same work in turn, with one client if possible.

The peers are built from the Go module proxy at the versions that `peer/go.mod` pins. `peer` has
Tessera's POSIX log, at settings of one's choice where its conformance server fixes them, and the
client. Rounds alternate; a row is told by its medians and by the median of the rounds' ratios.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection
from itertools import islice
from pathlib import Path
from typing import Any, Final

from deployment import BIN, WITNESSES, Deployment, cpu_seconds

from benchmark.beside import in_turn
from benchmark.load import endless
from benchmark.options import Options
from benchmark.peerprograms import BUILT, RUN_SECONDS, build, rate_of, run_peer, timed, used_by
from benchmark.peertable import Row, Table
from benchmark.receipts import check_receipts
from benchmark.rig import PRODUCER, BenchError, Rig
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.policy import parse_policy
from muniment.tlog.tiles import ENTRIES, TILE_WIDTH, Tile
from muniment.tlog.tlogproof import parse_tlog_proof, verify_tlog_proof

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))
from byzantine import View as History  # pyright: ignore[reportMissingImports]  # of the tests
from foreign import Litewitness  # pyright: ignore[reportMissingImports]

INGEST: Final = ("-batch", "1024", "-age", "50ms")
"""Tessera's fastest settings for many writers here; larger batches gain nothing."""
SINGLE: Final = ("-batch", "64", "-age", "5ms")
"""Its fastest for 64 writers: the batch is full when all of them wait."""
LONE: Final = ("-batch", "1", "-age", "1ms", "-interval", "100ms")
"""Its fastest for one writer: a shorter interval is refused."""


def peers(options: Options) -> dict[str, Any]:
    """All rows, alternated; needs Go."""
    build()
    with tempfile.TemporaryDirectory(prefix="muniment-peers-") as place:
        table = Table()
        rounds = Rounds(Path(place), table, options)
        try:
            for measure in (
                rounds.starting,
                rounds.ingesting,
                rounds.single,
                rounds.lone,
                rounds.reading,
                rounds.auditing,
                rounds.witnessing,
                rounds.verifying,
            ):
                for number in range(2 if options.quick else 3):
                    measure(number)
        finally:
            rounds.close()
        return table.figures()


class Rounds:
    """The rounds of one run; each measures both sides, which take turns to be first."""

    def __init__(self, place: Path, table: Table, options: Options) -> None:
        self._place = place
        self._table = table
        self._quick = options.quick
        self._seed = options.seed
        self._made = 0
        self._full: Rig | None = None
        self._size = 0
        key = run_peer("key", "tessera.example/log")
        self._private, self._public = str(key["private"]), str(key["public"])

    def close(self) -> None:
        if self._full is not None:
            self._full.close()

    def _new(self, name: str) -> Path:
        self._made += 1
        path = self._place / f"{name}-{self._made}"
        path.mkdir()
        return path

    def _records(self, count: int) -> str:
        """A file of records that no log has had, each behind its length of two bytes."""
        path = self._new("records") / "records"
        stream = endless(PRODUCER, self._seed * 1000 + self._made, count)
        with path.open("wb") as file:
            for record in islice(stream, count):
                file.write(len(record).to_bytes(2, "big") + record)
        return str(path)

    @contextmanager
    def _tessera(self, *settings: str) -> Iterator[tuple[Deployment, str]]:
        """Tessera's log over HTTP; its process is the deployment's "peer"."""
        deployment = Deployment(self._new("tessera"))
        argv = [BUILT / "peer", "serve", "-folder", "tree", "-private", self._private, *settings]
        try:
            yield deployment, deployment.start("peer", *argv)
        finally:
            deployment.stop()

    def starting(self, number: int) -> None:
        """From the command to the line that says ready; memory then; a command's own start."""

        def ours() -> None:
            with Rig(witnesses=False) as rig:
                rig.deployment.end("log")
                began = time.perf_counter()
                rig.deployment.start_log()
                self._table.ours(Row.START, (time.perf_counter() - began) * 1e3)
                self._table.ours(Row.READY_MEMORY, rig.deployment.rss("log") / 1e6)
            self._table.ours(Row.COMMAND, used_by(BIN / "muniment", "--version") * 1e3)

        def theirs() -> None:
            began = time.perf_counter()
            with self._tessera() as (deployment, _):
                self._table.theirs(Row.START, (time.perf_counter() - began) * 1e3)
                self._table.theirs(Row.READY_MEMORY, deployment.rss("peer") / 1e6)
            self._table.theirs(Row.COMMAND, used_by(BUILT / "fsck", "-help") * 1e3)

        in_turn(number, ours, theirs)

    def ingesting(self, number: int) -> None:
        """Durable entries: Muniment takes signed batches over HTTP, Tessera one a request."""
        count = 60_000 if self._quick else 200_000

        def ours() -> None:
            with Rig(witnesses=False) as rig:
                rate = _fill(rig, count, self._seed + number)
                self._table.ours(Row.OVER_HTTP, rate)
                self._table.ours(Row.IN_PROCESS, rate)
                self._table.ours(Row.INGEST_MEMORY, rig.deployment.rss("log") / 1e6)

        def theirs() -> None:
            file = self._records(count // 4)
            with self._tessera(*INGEST) as (deployment, url):
                argv = ("-url", f"{url}/add", "-records", file, "-connections", "2048")
                self._table.theirs(Row.OVER_HTTP, rate_of(run_peer("post", *argv)))
                self._table.theirs(Row.INGEST_MEMORY, deployment.rss("peer") / 1e6)
            argv = ("-folder", str(self._new("fill")), "-private", self._private, "-batch", "4096")
            found = run_peer("fill", *argv, "-records", self._records(count))
            self._table.theirs(Row.IN_PROCESS, rate_of(found))

        in_turn(number, ours, theirs)

    def single(self, number: int) -> None:
        """One record a request, 64 connections, the same client."""
        count = 10_000 if self._quick else 30_000

        def measure(
            note: Callable[[Row, float], None], deployment: Deployment, server: str, *argv: str
        ) -> None:
            file = self._records(count)
            before = deployment.cpu_seconds(server)
            note(Row.SINGLE_RATE, rate_of(run_peer("post", "-records", file, *argv)))
            note(Row.SINGLE_CPU, (deployment.cpu_seconds(server) - before) / count * 1e6)
            note(Row.SINGLE_MEMORY, deployment.rss(server) / 1e6)

        def ours() -> None:
            with Rig(witnesses=False) as rig:
                argv = ("-token", rig.token, "-type", "application/json")
                url = f"{rig.url}/v1/records"
                measure(self._table.ours, rig.deployment, "log", "-url", url, *argv)

        def theirs() -> None:
            with self._tessera(*SINGLE) as (deployment, url):
                measure(self._table.theirs, deployment, "peer", "-url", f"{url}/add")

        in_turn(number, ours, theirs)

    def lone(self, number: int) -> None:
        """One record at a time to its verified proof; Muniment's witnesses on both sides."""
        count = 40 if self._quick else 150

        def ours() -> None:
            with Rig(witnesses=True) as rig:
                job = rig.worker("lone", seed=self._seed, count=5 * count, warm_up=20, rate=0)
                job.go()
                latencies = job.result()["latencies"]
                self._table.ours(Row.LONE_TIME, statistics.median(latencies) * 1e3)

        def theirs() -> None:
            deployment = Deployment(self._new("witnesses"))
            try:
                lines = []
                for name in WITNESSES:
                    (key,) = deployment.make_witness(name, "ed25519", [self._public])
                    lines.append(f"witness {name} {key} {deployment.start_witness(name)}")
                policy = deployment.place / "witnesses"
                quorum = f"group cosigners 2 {' '.join(WITNESSES)}\nquorum cosigners\n"
                policy.write_text("\n".join([*lines, quorum]))
                with self._tessera(*LONE, "-policy", str(policy)) as (_, url):
                    argv = ("-url", url, "-public", self._public, "-policy", str(policy))
                    run_peer("lone", *argv, "-records", self._records(5))  # to get warm
                    found = run_peer("lone", *argv, "-records", self._records(count))
                    self._table.theirs(Row.LONE_TIME, float(found["p50_ms"]))
            finally:
                deployment.stop()

        in_turn(number, ours, theirs)

    def _filled(self) -> Rig:
        """A full log, its static export in the folder `export`, and the server of that."""
        if self._full is None:
            self._full = Rig(witnesses=False)
            _fill(self._full, 100_000 if self._quick else 500_000, self._seed)
            deployment = self._full.deployment
            argv = ("muniment-log", "export", "--config", "log/log.toml", "export")
            deployment.command(*argv, within=RUN_SECONDS)
            deployment.start("files", BUILT / "peer", "files", "export")
            head = parse_signed_checkpoint(
                (self._full.place / "export" / "checkpoint").read_bytes()
            )
            self._size = head.checkpoint.size
        return self._full

    def reading(self, number: int) -> None:
        """Processor time of the server for what clients read, from the log and from a file."""
        rig = self._filled()
        deployment, count = rig.deployment, 1_000 if self._quick else 4_000
        places = [n * 7919 % (self._size // TILE_WIDTH) for n in range(100)]
        bundles = [f"/{Tile(ENTRIES, n, TILE_WIDTH).path}" for n in places]
        paths = {
            Row.BUNDLE: bundles,
            Row.BUNDLE_GZIP: bundles,
            Row.TILE: [f"/{Tile(0, n, TILE_WIDTH).path}" for n in places],
            Row.INCLUSION: [f"/v1/proofs/inclusion?index={n * TILE_WIDTH}" for n in places],
        }

        def measure(note: Callable[[Row, float], None], server: str, row: Row) -> None:
            urls = [deployment.urls[server] + path for path in paths[row]]
            more = ("-encoding", "gzip") if row == Row.BUNDLE_GZIP else ()
            run_peer("get", "-count", str(len(urls)), *more, *urls)  # to get warm
            before = deployment.cpu_seconds(server)
            run_peer("get", "-count", str(count), *more, *urls)
            note(row, (deployment.cpu_seconds(server) - before) / count * 1e6)

        def ours() -> None:
            for row in paths:
                measure(self._table.ours, "log", row)

        def theirs() -> None:
            for row in (Row.BUNDLE, Row.BUNDLE_GZIP, Row.TILE):
                measure(self._table.theirs, "files", row)

        in_turn(number, ours, theirs)

    def auditing(self, number: int) -> None:
        """The whole tree read from the same static files."""
        rig = self._filled()
        place, url = rig.place, rig.deployment.urls["files"]
        (place / "log.vkey").write_text((place / "trust.policy").read_text().split()[1])

        def ours() -> None:
            argv = ("muniment", "audit", "--log", url, "--policy", "trust.policy", "--json")
            for row, more in ((Row.AUDIT, ()), (Row.AUDIT_TREE, ("--tree",))):
                seconds, used = timed(place, BIN / argv[0], *argv[1:], *more)
                self._table.ours(row, self._size / seconds)
                if row == Row.AUDIT:
                    self._table.ours(Row.AUDIT_CPU, used / self._size * 1e6)

        def theirs() -> None:
            argv = ("-storage_url", f"{url}/", "-public_key", "log.vkey", "-ui=false", "-N", "2")
            seconds, used = timed(place, BUILT / "fsck", *argv)
            for row in (Row.AUDIT, Row.AUDIT_TREE):
                self._table.theirs(row, self._size / seconds)
            self._table.theirs(Row.AUDIT_CPU, used / self._size * 1e6)

        in_turn(number, ours, theirs)

    def witnessing(self, number: int) -> None:
        """Ed25519 on both sides: what a checkpoint costs, one after the other and many at once."""
        logs = [History(f"log-{n}.example/bench") for n in range(4)]
        one_by_one = _requests(logs, 50 if self._quick else 250)
        many = [History(f"log-{n}.example/many") for n in range(64)]
        at_once = [_requests([log], 5 if self._quick else 20) for log in many]

        def cosign(url: str, used: Callable[[], float], tell: Callable[[Row, float], None]) -> None:
            before = used()
            _cosign(url, one_by_one)
            between = used()
            tell(Row.WITNESS, (between - before) / len(one_by_one) * 1e6)
            with ThreadPoolExecutor(len(many)) as clients:
                for _ in clients.map(partial(_cosign, url), at_once):
                    pass
            tell(Row.WITNESS_MANY, (used() - between) / sum(map(len, at_once)) * 1e6)

        def ours() -> None:
            deployment = Deployment(self._new("witness"))
            try:
                deployment.make_witness("w", "ed25519", [log.vkeys[0] for log in (*logs, *many)])
                url = deployment.start_witness("w")
                cosign(url, lambda: deployment.cpu_seconds("w"), self._table.ours)
            finally:
                deployment.stop()

        def theirs() -> None:
            folder = self._new("lite") / "witness"
            peer = Litewitness(folder, *((log.origin, log.vkeys[0]) for log in (*logs, *many)))
            with peer.running() as process:
                cosign(peer.url, lambda: cpu_seconds(process.pid), self._table.theirs)

        in_turn(number, ours, theirs)

    def verifying(self, number: int) -> None:
        """One proof of the full log, read and verified again and again; one Ed25519 signature."""
        rig, count = self._filled(), 1_000 if self._quick else 5_000
        entry, proof = rig.get("/v1/entries/1000"), rig.get("/v1/proofs/inclusion?index=1000")
        (rig.place / "entry").write_bytes(entry)
        # Of the log's keys the first, as the peer wants a signature of each key that it is told.
        text = (rig.place / "trust.policy").read_text().splitlines()
        policy = f"{text[0]}\nquorum none\n"
        (rig.place / "one.policy").write_text(policy)
        (rig.place / "proof").write_bytes(proof)

        def ours() -> None:
            trusted = parse_policy(policy.encode())
            began = time.perf_counter()
            for _ in range(count):
                verify_tlog_proof(parse_tlog_proof(proof), entry, trusted)
            self._table.ours(Row.VERIFY, (time.perf_counter() - began) / count * 1e6)

        def theirs() -> None:
            argv = [str(rig.place / name) for name in ("one.policy", "entry", "proof")]
            found = run_peer("verify", "-count", str(count), *argv)
            self._table.theirs(Row.VERIFY, found["seconds"] / count * 1e6)

        in_turn(number, ours, theirs)


def _fill(rig: Rig, count: int, seed: int) -> float:
    """Puts so many records into a log by signed batches of 1,000; records a second."""
    job = rig.worker("ingest", seed=seed, count=count, batch=1000, window=4)
    job.go()
    result = job.result()
    check_receipts(rig, result["checks"])
    return float(result["count"] / result["seconds"])


def _requests(logs: Sequence[History], rounds: int) -> list[bytes]:
    """What the logs ask a witness in turn, each time grown by three leaves."""
    bodies = []
    for _ in range(rounds):
        for log in logs:
            old = log.size
            bodies.append(log.append(3).add_checkpoint(old).encode())
    return bodies


def _cosign(url: str, bodies: Sequence[bytes]) -> None:
    """Sends checkpoints one after the other over one connection; each must be cosigned."""
    host = url.removeprefix("http://").removesuffix("/")
    with closing(HTTPConnection(host, timeout=30)) as connection:
        for body in bodies:
            connection.request("POST", "/add-checkpoint", body)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != HTTPStatus.OK:
                raise BenchError(f"{url} answered {answer.status}: {text[:200]!r}")
