"""Addenda of a log that becomes a cluster: copied, checked, exported."""

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]  # it ships no types
import pytest

import engines
import processes
from log_deployment import Cluster, Deployment, ask, deployed, send, start_log
from muniment.records.addenda import addendum_path
from muniment_log.cli.exits import EXIT_DAMAGED
from muniment_log.cluster.addendaobjects import GONE
from muniment_service.exits import EXIT_DATABASE
from processes import muniment_log
from waiting import eventually
from withholding import digest_of, withheld


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Deployment]:
    """A log in one file that gives addenda to everybody."""
    with deployed(tmp_path) as made:
        text = made.config.read_text()
        made.config.write_text(f"{text}\n[read]\nopen_addenda = true\n")
        processes.run(muniment_log("reload", "--config", made.config), code=0)
        yield made


def read(url: str, data: bytes) -> tuple[int, bytes]:
    answer = ask(f"{url}/{addendum_path(digest_of(data))}")
    return answer.status, answer.body if answer.status == 200 else b""


def sql(database: str, statement: str, *values: object) -> None:
    async def work() -> None:
        connection = await asyncpg.connect(database)
        try:
            await connection.execute(statement, *values)
        finally:
            await connection.close()

    asyncio.run(work())


def test_addenda_move_with_their_log_and_are_checked_and_exported(
    log: Deployment,
    database: str,
    bucket: engines.Bucket,
    postgres_server: engines.PostgreSQL,
    s3_server: engines.SeaweedFS,
    tmp_path: Path,
) -> None:
    cluster = Cluster(database, bucket)
    pairs = [withheld(number, kept="log") for number in range(6)]
    pairs.append(withheld(6, "bob", "domain=hr", kept="log"))
    first, _ = send(log, pairs)
    assert (
        processes.run(
            muniment_log("erase", "--config", log.config, "--record", first, "--yes")
        ).returncode
        == 0
    )
    erased, *kept = [data for _, data in pairs]
    log.log.terminate()
    config = log.config.with_name("cluster.toml")
    text = log.config.read_text().replace('database = "log.db"', "")
    config.write_text(text + cluster.table.replace('database = "index.db"', "enabled = false"))
    processes.run(muniment_log("migrate", "--config", config), code=0)

    def do(*command: object) -> processes.Done:
        return processes.run(muniment_log(*command), environment=bucket.environment)

    # Damaged ones are not taken along; nor can the file be another log's.
    source = log.folder / "log" / "log.db"
    sound = source.with_name("addenda.db").read_bytes()
    rotten = sound.replace(kept[0], bytes(len(kept[0])))
    assert rotten != sound
    source.with_name("addenda.db").write_bytes(rotten)
    done = do("copy", "--from", source, "--to", config)
    assert (done.returncode, "is damaged" in done.stderr) == (EXIT_DATABASE, True), done.stderr
    source.with_name("addenda.db").write_bytes(sound)

    # Left behind when told to; then they are missing.
    other = Cluster(postgres_server.create_database(), s3_server.create_bucket())
    without = config.with_name("without.toml")
    without.write_text(text + other.table)
    processes.run(muniment_log("migrate", "--config", without), code=0)
    given = other.bucket.environment
    command = muniment_log("copy", "--from", source, "--to", without, "--without-addenda")
    done = processes.run(command, environment=given)
    assert (done.returncode, " addenda" in done.stderr) == (0, False), done.stderr
    check = processes.run(
        muniment_log("check", "--config", without), environment=given, code=EXIT_DAMAGED
    )
    assert check.stdout.count("says that the log has it") == len(pairs)

    with processes.Process(
        muniment_log("copy", "--from", source, "--to", config), environment=bucket.environment
    ) as killed:
        place = f"buckets/{bucket.name}/addenda/"
        eventually(lambda: s3_server.filer("GET", place) or killed.returncode is not None)
        killed.kill()
    done = do("copy", "--from", source, "--to", config)
    assert done.returncode == 0, done.stderr
    assert "6 addenda" in done.stderr or "copied already" in done.stderr
    assert "copied already" in do("copy", "--from", source, "--to", config).stderr
    sound = do("check", "--config", config, "--progress").stderr
    assert "sound" in sound
    assert " leaves" in sound.partition("\n")[0], sound  # how far it is

    folder = tmp_path / "exported"
    with start_log(config, cluster) as moved:
        log.cluster, log.log = cluster, moved
        for data in kept:
            assert read(moved.url, data) == (200, data)
        assert read(moved.url, erased) == (410, b"")
        assert do("export", "--config", config, folder, "--addenda").returncode == 0
        assert (folder / addendum_path(digest_of(kept[0]))).read_bytes() == kept[0]
        assert not (folder / addendum_path(digest_of(erased))).exists()
        # The subject's, and the time of the file's, came along.
        listed = do("erase", "--config", config, "--subject", "user", "bob", "--dry-run")
        assert digest_of(kept[-1]) in listed.stdout, listed.stderr
        assert f"record {first + 6}" in listed.stdout
        done = do("erase", "--config", config, "--subject", "user", "bob", "--yes")
        assert done.returncode == 0, done.stderr
        send(log, [withheld(9)])
        assert do("export", "--config", config, folder).returncode == 0
        assert not (folder / addendum_path(digest_of(kept[-1]))).exists()
        assert "sound" in do("check", "--config", config).stderr

        check = do("check", "--config", config)
        assert check.returncode == 0, check.stdout
        missing, changed, lost, back, *_ = kept
        for data, held in [(changed, b"something else"), (lost, GONE), (erased, erased)]:
            path = f"buckets/{bucket.name}/{addendum_path(digest_of(data))}"
            assert s3_server.filer("PUT", path, held)
        path = f"buckets/{bucket.name}/{addendum_path(digest_of(missing))}"
        assert s3_server.filer("DELETE", path)
        digest = hashlib.sha256(back).digest()
        sql(database, "DELETE FROM addendum WHERE digest = $1", digest)
        check = do("check", "--config", config)
        assert check.returncode == EXIT_DAMAGED
        for data, told in [
            (missing, "missing in the bucket"),
            (changed, "other bytes than those of its digest"),
            (lost, "erased in the bucket, and the database does not say so"),
            (erased, "erased, and the bucket still has it"),
            (back, f"missing; leaf {first + 4} says that the log has it"),
        ]:
            assert f"damaged addendum: {digest_of(data)}: {told}" in check.stdout
        assert len(check.stdout.splitlines()) == 5
        assert do("check", "--quick", "--config", config).returncode == 0
