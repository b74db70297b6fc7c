"""PostgreSQL, a standby of it, and PgBouncer, as tests run them."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from engine import (
    PASSWORD,
    READY_SECONDS,
    STOP_SECONDS,
    Engine,
    EngineError,
    as_user,
    numbers,
    unprivileged,
)


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
        if os.geteuid() == 0 and unprivileged() is None:
            return "PostgreSQL refuses to run as root, and there is no user postgres or nobody"
        return None

    def __init__(self, folder: Path) -> None:
        # It refuses to run as root.
        super().__init__(folder, 1, unprivileged() if os.geteuid() == 0 else None)
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
        name = f"test{next(numbers)}"
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
        if os.geteuid() == 0 and unprivileged() is None:
            return "PgBouncer refuses to run as root, and there is no user postgres or nobody"
        return None

    def __init__(self, folder: Path, server: PostgreSQL, mode: str, settings: str = "") -> None:
        super().__init__(folder, 1, unprivileged() if os.geteuid() == 0 else None)
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
