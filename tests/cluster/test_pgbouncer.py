"""A cluster behind PgBouncer, with the settings that docs/scale.md gives."""

import re
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

import engines
import processes
from log_deployment import PUBLISHED, Cluster, Deployment, ask, deployed, start_log
from muniment.local.sqlitefile import DatabaseError
from muniment_log.cluster.database import Database
from muniment_log.errors import StorageError

PAGE = (Path(__file__).parents[2] / "docs" / "scale.md").read_text()


def block(language: str) -> str:
    found = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(found) == 1
    return found[0]


SETTINGS = [line for line in block("ini").splitlines() if not line.startswith("pool_mode")]
STATEMENTS = block("sql").splitlines()
RECORD = (
    b'{"execution":"e","id":"%d","kind":"outcome","producer":"gw.example/edge",'
    b'"status":"completed","time":1790000000000,"v":1}'
)


@pytest.fixture(scope="module")
def server() -> Iterator[engines.PostgreSQL]:
    with engines.started(engines.PostgreSQL) as server:
        yield server


@pytest.fixture
def role_settings(server: engines.PostgreSQL) -> Iterator[None]:
    for statement in STATEMENTS:
        server.query(statement)
    yield
    server.query("ALTER ROLE muniment RESET ALL")


async def test_the_settings_are_missed_until_the_role_has_them(
    server: engines.PostgreSQL, request: pytest.FixtureRequest
) -> None:
    url = server.create_database()
    with engines.started(engines.PgBouncer, server, "session", "\n".join(SETTINGS)) as pooler:
        database = await Database.open(pooler.url(url))
        assert await database.lacks() == ["idle_in_transaction_session_timeout", "lock_timeout"]
        await database.close()
    direct = await Database.open(url)
    assert await direct.lacks() == []
    await direct.close()
    request.getfixturevalue("role_settings")
    with engines.started(engines.PgBouncer, server, "session", "\n".join(SETTINGS)) as pooler:
        database = await Database.open(pooler.url(url))
        assert await database.lacks() == []
        await database.close()


async def test_what_will_not_pass_ends_the_start_at_once(
    server: engines.PostgreSQL, tmp_path: Path
) -> None:
    url = server.create_database()
    with engines.started(engines.PgBouncer, server, "session") as pooler:
        words = "unsupported startup parameter.*PgBouncer, set ignore_startup_parameters"
        with pytest.raises(DatabaseError, match=words):
            await Database.open(pooler.url(url))
        home = tmp_path / "log"
        processes.run(processes.muniment_log("init", home, "--origin", "log.example/x"), code=0)
        config = home / "log.toml"
        text = re.sub("(?m)^database.*$", "", config.read_text())
        table = f'[cluster]\npostgres = "{pooler.url(url)}"\nobject_store = "s3://unused"\n'
        config.write_text(text + table)
        done = processes.run(processes.muniment_log("migrate", "--config", config), code=4)
        assert "ignore_startup_parameters" in done.stderr
        assert "waiting" not in done.stderr
    with engines.started(engines.PgBouncer, server, "session", "\n".join(SETTINGS)) as pooler:
        through = pooler.url(url)
        for wrong, match in (
            (through.replace(":of", ":not"), "authentication failed"),
            (f"{through}-else", "does not exist"),
        ):
            with pytest.raises(DatabaseError, match=match):
                await Database.open(wrong)


async def test_a_session_that_is_shared_says_what_to_change(
    server: engines.PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before 1.21, in transaction mode: two processes meet each other's prepared statements."""
    url = server.create_database()
    with engines.started(engines.PgBouncer, server, "transaction", "\n".join(SETTINGS)) as pooler:
        if engines.PgBouncer.version() >= (1, 21):
            pytest.skip("PgBouncer 1.21 and newer can share prepared statements")

        async def process(number: int) -> None:
            # Each process counts its statements from one.
            monkeypatch.setattr(asyncpg.connection, "_uid", 0)
            database = await Database.open(pooler.url(url))
            try:
                await database.read(lambda db: db.fetch(f"SELECT {number}, $1::int", 1), "reading")
            finally:
                await database.close()

        await process(0)
        with pytest.raises(StorageError, match=r"PgBouncer needs pool_mode = session, or 1\.21"):
            await process(1)


@pytest.fixture(params=["session", "transaction"])
def behind(
    request: pytest.FixtureRequest,
    server: engines.PostgreSQL,
    role_settings: None,
    bucket: engines.Bucket,
    tmp_path: Path,
) -> Iterator[Deployment]:
    settings = list(SETTINGS)
    if request.param == "transaction":
        if engines.PgBouncer.missing() is None and engines.PgBouncer.version() < (1, 21):
            pytest.skip("PgBouncer before 1.21 cannot share prepared statements")
        settings.append("max_prepared_statements = 100")
    with engines.started(engines.PgBouncer, server, request.param, "\n".join(settings)) as pooler:
        url = pooler.url(server.create_database())
        with deployed(tmp_path, Cluster(url, bucket)) as made:
            yield made


def test_a_cluster_behind_it(behind: Deployment) -> None:
    # A second process, with no index beside the first one's.
    config = behind.config.with_name("other.toml")
    config.write_text(behind.config.read_text().replace('database = "index.db"', "enabled = false"))
    other = start_log(config, behind.cluster, "frontend")
    try:
        stream = behind.stream()
        for number, url in enumerate((behind.url, other.url, behind.url, other.url)):
            body = stream.take([RECORD % number])
            answer = ask(f"{url}/v1/batches{PUBLISHED}", body)
            assert answer.status == 200, answer.body
            # A retry gets the same receipt, from whichever process.
            again = ask(f"{other.url}/v1/batches", body)
            assert (again.status, again.json["first"]) == (200, answer.json["first"])
    finally:
        other.kill()
