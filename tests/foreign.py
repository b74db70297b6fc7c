"""Programs of others, as `scripts/foreign` has them; tests skip without them."""

import contextlib
import hashlib
import json
import shutil
import socket
import sqlite3
import struct
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import engines
import processes
import signing
from muniment.tlog.encoding import format_base64
from muniment.tlog.merkle import EMPTY_ROOT
from muniment.tlog.note import COSIGNATURE_ED25519, ED25519, VKey, parse_vkey
from ports import free_port

BUILT: Final = Path(__file__).parent.parent / ".venv" / "foreign"
_SOURCES: Final = Path(__file__).parent / "foreign" / "makelogs"
READY_SECONDS: Final = 60.0

CERBOS_LOGIN: Final = "muniment:of the tests"
"""User and password of Cerbos' Admin API."""
CERBOS_HASH: Final = (
    "JDJiJDA0JDZnc0t2MUVFNi5rUnhiSS5jMDROcy40YlJlajhUeDdaUE5Zd29ienZyektSVEtLQnA2YUNL"
)
"""The bcrypt hash of that password, in base64."""


def program(name: str) -> Path:
    """The path of a foreign program; skips the test when there is none."""
    path = BUILT / name
    if not path.exists():
        pytest.skip(f"{name} is not there: scripts/foreign has it, with Go and npm")
    return path


def built(folder: Path, package: str) -> Path:
    """Builds a program of ``tests/foreign/makelogs`` into a folder; skips where that cannot be."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("no Go toolchain, which builds the program")
    path = folder / "program"
    done = subprocess.run(
        [go, "build", "-C", str(_SOURCES), "-mod=readonly", "-o", str(path), package],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and "main.go" not in done.stderr:
        pytest.skip(f"the Go modules cannot be had: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return path


def note_key(vkey: VKey, private: Ed25519PrivateKey) -> str:
    """A private key as Go's notes have it."""
    secret = format_base64(bytes([ED25519]) + private.private_bytes_raw())
    return f"PRIVATE+KEY+{vkey.name}+{vkey.key_id:08x}+{secret}"


class Litewitness:
    """The witness of filippo.io/torchwood: no monitoring endpoint, requests of at most 10 KiB.

    Attributes:
        vkey: its key.
        url: where it listens while it runs.
    """

    def __init__(self, folder: Path, *logs: tuple[str, str]) -> None:
        """Of a new witness that knows these logs: of each the origin, and its key."""
        self._program = program("litewitness")
        folder.mkdir()
        self._folder = folder
        self._private = signing.ed25519("litewitness")
        self._public = self._private.public_key().public_bytes_raw()
        self.vkey = VKey.of("witness.example/lite", COSIGNATURE_ED25519, self._public)
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        # As `witnessctl add-log` does; that program needs modules that the proxy may not have.
        database = sqlite3.connect(folder / "litewitness.db")
        with contextlib.closing(database), database:
            database.execute(
                "CREATE TABLE log (origin TEXT PRIMARY KEY, tree_size INTEGER NOT NULL, "
                "tree_hash TEXT NOT NULL)"
            )
            database.execute(
                "CREATE TABLE key (origin TEXT NOT NULL, key TEXT NOT NULL, "
                "FOREIGN KEY(origin) REFERENCES log(origin))"
            )
            for origin, log_vkey in logs:
                database.execute(
                    "INSERT INTO log VALUES (?, 0, ?)", (origin, format_base64(EMPTY_ROOT))
                )
                database.execute("INSERT INTO key VALUES (?, ?)", (origin, log_vkey))

    @contextlib.contextmanager
    def running(self) -> "Iterator[subprocess.Popen[bytes]]":
        with self._agent() as agent, (self._folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    self._program, "-name", self.vkey.name, "-db", "litewitness.db",
                    "-ssh-agent", agent, "-listen", f"127.0.0.1:{self._port}",
                    "-key", hashlib.sha256(self._public).hexdigest(),
                ],
                cwd=self._folder, stdout=log, stderr=log,
            )  # fmt: skip
            try:
                self._wait(process)
                yield process
            finally:
                process.kill()
                process.wait(processes.STOP_SECONDS)

    def _wait(self, process: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port), 1).close()
            except OSError:
                assert process.poll() is None, (self._folder / "log").read_text()
                assert time.monotonic() < deadline, (self._folder / "log").read_text()
                time.sleep(0.05)
            else:
                return

    @contextlib.contextmanager
    def _agent(self) -> Iterator[Path]:
        """What litewitness has its key in: an SSH agent, of two requests."""
        path = self._folder / "agent"
        path.unlink(missing_ok=True)
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
        server.listen()
        threading.Thread(target=self._serve, args=(server,), daemon=True).start()
        try:
            yield path
        finally:
            server.shutdown(socket.SHUT_RDWR)
            server.close()

    def _serve(self, server: socket.socket) -> None:
        blob = _string(b"ssh-ed25519") + _string(self._public)
        with contextlib.suppress(OSError, struct.error):
            connection, _ = server.accept()
            with connection, connection.makefile("rb") as asked:
                while True:
                    (length,) = struct.unpack(">I", asked.read(4))
                    message = asked.read(length)
                    if message[0] == 11:  # which keys?
                        answer = b"\x0c" + struct.pack(">I", 1) + _string(blob) + _string(b"")
                    else:  # sign
                        data = message[1 + 4 + len(blob) :]
                        (size,) = struct.unpack(">I", data[:4])
                        signature = self._private.sign(data[4 : 4 + size])
                        answer = b"\x0e" + _string(_string(b"ssh-ed25519") + _string(signature))
                    connection.sendall(_string(answer))


class Omniwitness:
    """The witness of transparency-dev: it learns of logs from lists, and may have a rate limit.

    Attributes:
        vkey: its key.
        url: where it listens while it runs.
    """

    def __init__(self, folder: Path, list_url: str, per_second: float) -> None:
        self._program = program("omniwitness")
        folder.mkdir()
        self._folder = folder
        private = signing.ed25519("omniwitness")
        public = private.public_key().public_bytes_raw()
        self.vkey = VKey.of("witness.example/omni", COSIGNATURE_ED25519, public)
        # A note's private key has the ID of its note key, not of its cosignature key.
        (folder / "key").write_text(note_key(VKey.of(self.vkey.name, ED25519, public), private))
        ports = (free_port(), free_port())
        self.url = f"http://127.0.0.1:{ports[0]}"
        self._metrics = f"http://127.0.0.1:{ports[1]}/metrics"
        self._argv = [
            self._program, "-private_key_path", folder / "key", "-db_file", folder / "omni.db",
            "-listen", f"127.0.0.1:{ports[0]}", "-metrics_listen", f"127.0.0.1:{ports[1]}",
            "-public_witness_config_url", list_url, "-rate_limit", per_second,
            "-public_witness_config_poll_interval", "1s",
        ]  # fmt: skip

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        with _serving(self._argv, partial(_answers, self._metrics), self._folder / "log"):
            yield


class AicsWitness:
    """The witness of aics-witness, in Python; it has a monitoring endpoint.

    Attributes:
        vkey: its key.
        url: where it listens while it runs.
    """

    def __init__(self, folder: Path, origin: str, log_vkey: str) -> None:
        command = program("aics") / "bin" / "aics-witness"
        folder.mkdir()
        self._folder = folder
        address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{address}"
        config = ("--config", folder / "witness.json")
        named = ("--name", "witness.example/aics", "--listen", address)
        made = processes.run([str(word) for word in (command, "init", *config, *named)], code=0)
        self.vkey = next(
            parse_vkey(word) for word in made.stdout.split() if word.startswith("witness.example/")
        )
        log = ("--origin", origin, "--vkey", log_vkey)
        processes.run([str(word) for word in (command, "add-log", *config, *log)], code=0)
        self._argv = [command, "serve", *config]

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        is_ready = partial(_answers, f"{self.url}/healthz")
        with _serving(self._argv, is_ready, self._folder / "log"):
            yield


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


@contextlib.contextmanager
def opa(*arguments: object, log: Path) -> Iterator[str]:
    """OPA's server, as long as the context is open; its URL. What it says goes to a file."""
    url = f"http://127.0.0.1:{free_port()}"
    argv = [program("opa"), "run", "--server", "--addr", url.partition("//")[2], *arguments]
    with _serving(argv, partial(_answers, f"{url}/health"), log):
        yield url


@contextlib.contextmanager
def cerbos(policies: Path, config: Path) -> Iterator[str]:
    """Cerbos with the policies of a folder, as long as the context is open; its URL.

    Its configuration is written to `config`, what it says goes beside that.
    """
    built = program("cerbos")
    http, grpc = (f"127.0.0.1:{free_port()}" for _ in range(2))
    user, _, _ = CERBOS_LOGIN.partition(":")
    tables = {
        "server": {
            "httpListenAddr": http,
            "grpcListenAddr": grpc,
            "adminAPI": {
                "enabled": True,
                "adminCredentials": {"username": user, "passwordHash": CERBOS_HASH},
            },
        },
        "storage": {"driver": "disk", "disk": {"directory": str(policies)}},
        "telemetry": {"disabled": True},
    }
    config.write_text(json.dumps(tables))  # which is YAML
    argv = [built, "server", "--config", config, "--log-level", "error"]
    with _serving(
        argv, partial(_answers, f"http://{http}/_cerbos/health"), config.with_suffix(".log")
    ):
        yield f"http://{http}"


@contextlib.contextmanager
def openfga(log: Path) -> Iterator[str]:
    """OpenFGA with an empty store, as long as the context is open; the URL of that store."""
    http, grpc = (f"127.0.0.1:{free_port()}" for _ in range(2))
    argv = [
        program("openfga"), "run", "--http-addr", http, "--grpc-addr", grpc,
        "--playground-enabled=false", "--metrics-enabled=false", "--experimentals=authzen",
    ]  # fmt: skip
    with _serving(argv, partial(_answers, f"http://{http}/healthz"), log):
        store = _post(f"http://{http}/stores", {"name": "muniment"})["id"]
        yield f"http://{http}/stores/{store}"


def openfga_write(
    store: str, types: Mapping[str, Sequence[str]], tuples: Sequence[tuple[str, str]], of: Any
) -> None:
    """Gives a store a model, of users and these types with their relations, and tuples.

    Tuples are users and their relations to one entity.
    """
    users = {"directly_related_user_types": [{"type": "user"}]}
    definitions: list[dict[str, Any]] = [{"type": "user"}]
    for name, relations in types.items():
        definitions.append(
            {
                "type": name,
                "relations": {one: {"this": {}} for one in relations},
                "metadata": {"relations": dict.fromkeys(relations, users)},
            }
        )
    model = {"schema_version": "1.1", "type_definitions": definitions}
    _post(f"{store}/authorization-models", model)
    keys = [
        {"user": f"user:{user}", "relation": relation, "object": f"{of['type']}:{of['id']}"}
        for user, relation in tuples
    ]
    _post(f"{store}/write", {"writes": {"tuple_keys": keys}})


def _post(url: str, value: object) -> Any:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(value).encode(), headers)
    with urllib.request.urlopen(request, timeout=READY_SECONDS) as answer:
        return json.load(answer)


@contextlib.contextmanager
def otelcol(backend: str, config: Path) -> Iterator[str]:
    """A collector of OpenTelemetry that sends what it takes on to a URL, at once; its own URL.

    Its configuration is written to `config`, what it says goes beside that.
    """
    built = program("otelcol")
    address = f"127.0.0.1:{free_port()}"
    exporter = {"endpoint": backend, "encoding": "json", "compression": "none"}
    tables = {
        "receivers": {"otlp": {"protocols": {"http": {"endpoint": address}}}},
        "exporters": {"otlphttp": exporter},
        "service": {
            "pipelines": {"logs": {"receivers": ["otlp"], "exporters": ["otlphttp"]}},
            "telemetry": {"metrics": {"level": "none"}},
        },
    }
    config.write_text(json.dumps(tables))  # which is YAML
    argv = [built, "--config", f"file:{config}"]

    def is_ready() -> bool:
        try:
            _post(f"http://{address}/v1/logs", {})
        except OSError:
            return False
        return True

    with _serving(argv, is_ready, config.with_suffix(".log")):
        yield f"http://{address}"


@contextlib.contextmanager
def _serving(argv: Sequence[object], is_ready: Callable[[], bool], log: Path) -> Iterator[None]:
    words = [*engines.bound_to_us(), *map(str, argv)]
    with log.open("wb") as out, subprocess.Popen(words, stdout=out, stderr=out) as process:
        try:
            deadline = time.monotonic() + READY_SECONDS
            while not is_ready():
                assert time.monotonic() < deadline, log.read_text()
                assert process.poll() is None, log.read_text()
                time.sleep(0.05)
            yield
        finally:
            process.terminate()
            process.wait(READY_SECONDS)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False
