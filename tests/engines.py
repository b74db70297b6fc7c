"""Real PostgreSQL and S3 servers on loopback, for tests: started on demand, in temporary folders.

    def test_it(database: str, bucket: engines.Bucket) -> None:
        ...  # a fresh database by its URL, a fresh bucket by its URL and environment

The servers last for the session, databases and buckets for one test. A test that kills or stops a
server starts one of its own: ``with engines.started(engines.PostgreSQL) as server: …``. Where a
server cannot be had, the tests that need it are skipped and say why; .ci/run installs what is
missing.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from engine import PASSWORD, Engine, EngineError, bound_to_us
from postgresql import PgBouncer, PostgreSQL, Standby
from s3servers import Bucket, Rclone, S3Server, SeaweedFS

__all__ = [
    "PASSWORD",
    "Bucket",
    "Engine",
    "EngineError",
    "PgBouncer",
    "PostgreSQL",
    "Rclone",
    "S3Server",
    "SeaweedFS",
    "Standby",
    "bound_to_us",
    "started",
]

E = TypeVar("E", bound="Engine")


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
