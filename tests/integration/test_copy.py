"""`muniment-log copy`: a log in one file becomes a cluster, and nobody outside can tell."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]  # it ships no types

import engines
import processes
from decisions import outcome
from log_deployment import PUBLISHED, TOKEN, Cluster, Deployment, ask, deployed, start_log
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.tiles import bundles_of, tiles_of
from waiting import eventually

PLAIN = b'{"kind":"outcome","execution":"x","status":"completed"}'


def cluster_config(log: Deployment, cluster: Cluster) -> Path:
    """A configuration of the same log on a cluster."""
    config = log.config.with_name("cluster.toml")
    config.write_text(log.config.read_text().replace('database = "log.db"', "") + cluster.table)
    migrate = processes.muniment_log("migrate", "--config", config)
    processes.run(migrate, code=0)
    return config


def copying(log: Deployment, config: Path, cluster: Cluster) -> processes.Process:
    database = log.folder / "log" / "log.db"
    command = processes.muniment_log("copy", "--from", database, "--to", config)
    return processes.Process(command, environment=cluster.bucket.environment)


def copy(log: Deployment, config: Path, cluster: Cluster) -> tuple[int, str]:
    with copying(log, config, cluster) as process:
        return process.wait(), process.stderr


def served(url: str, size: int) -> dict[str, bytes]:
    """Everything of a tree; of the checkpoint without signatures: late witnesses add theirs."""
    tiles = [*tiles_of(size), *bundles_of(0, size, size)]
    found = {tile.path: ask(f"{url}/{tile.path}").body for tile in tiles}
    return {**found, "checkpoint": ask(f"{url}/checkpoint").body.partition(b"\n\n")[0]}


def test_a_log_moves_to_a_cluster(
    tmp_path: Path, postgres_server: engines.PostgreSQL, s3_server: engines.SeaweedFS
) -> None:
    cluster = Cluster(postgres_server.create_database(), s3_server.create_bucket())
    with deployed(tmp_path) as log:
        streams = [log.stream(), log.stream()]
        batches, receipts = [], []
        for number, count in enumerate((1, 700, 9000, 3, 9000, 9000, 20)):
            stream = streams[number % 2]
            body = stream.take([outcome(f"{number}-{i}") for i in range(count)])
            batches.append(body)
            receipts.append(log.post(body, PUBLISHED).json)
        plain = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        keyed = {**plain, "Idempotency-Key": "sent before the log was moved"}
        kept = ask(f"{log.url}/v1/records", PLAIN, keyed).json
        ask(f"{log.url}/v1/records{PUBLISHED}", PLAIN, plain).json["first"]
        size = int(ask(f"{log.url}/checkpoint").body.split(b"\n")[1])
        before = served(log.url, size)
        config = cluster_config(log, cluster)

        code, stderr = copy(log, config, cluster)
        assert code == 4, stderr  # the log runs
        assert "in use" in stderr
        log.log.terminate()

        # Killed in the middle, and while it is there nobody can log anything in the cluster.
        store = cluster.bucket
        with copying(log, config, cluster) as process:
            eventually(lambda: bool(objects_in(s3_server, store)) or process.returncode is not None)
            process.kill()
        with start_log(config, cluster, "frontend") as half:
            answer = ask(f"{half.url}/v1/records", PLAIN, plain)
            answer.problem(503, "overloaded")
        code, stderr = copy(log, config, cluster)
        assert (code, f"copied, {size} leaves" in stderr) == (0, True), stderr
        code, stderr = copy(log, config, cluster)
        assert (code, "was copied already" in stderr) == (0, True), stderr

        with start_log(config, cluster) as moved:
            assert served(moved.url, size) == before
            # Retries get their first receipts, and streams go on where they were.
            for body, receipt in zip(batches, receipts, strict=True):
                again = ask(f"{moved.url}/v1/batches", body)
                assert {k: again.json[k] for k in ("first", "count", "manifest", "size")} == {
                    k: receipt[k] for k in ("first", "count", "manifest", "size")
                }
            assert ask(f"{moved.url}/v1/records", PLAIN, keyed).json == kept
            more = ask(
                f"{moved.url}/v1/batches{PUBLISHED}",
                streams[0].take([outcome("more")]),
            )
            assert more.json["first"] == size
            note = ask(f"{moved.url}/checkpoint").body
            assert parse_signed_checkpoint(note).checkpoint.size == size + 2
            token = ask(f"{moved.url}/v1/records{PUBLISHED}", PLAIN, plain)
            assert token.json["first"] == size + 2
        # What the cluster has logged by itself is not copied over.
        code, stderr = copy(log, config, cluster)
        assert code == 7, stderr


def test_the_head_that_was_signed_last_can_be_read_when_it_is_published(
    tmp_path: Path, database: str, bucket: engines.Bucket, s3_server: engines.SeaweedFS
) -> None:
    cluster = Cluster(database, bucket)
    with deployed(tmp_path) as log:
        assert log.post(log.stream().take([outcome("a")]), PUBLISHED).status == 200
        for witness in log.witnesses:
            witness.kill()
        log.post(log.stream().take([outcome(f"b{i}") for i in range(5)]))
        path = log.folder / "log" / "log.db"

        def signed() -> int:
            with closing(sqlite3.connect(path)) as db:
                (note,) = db.execute("SELECT note FROM head WHERE kind = 'signed'").fetchone()
            return parse_signed_checkpoint(note).checkpoint.size

        eventually(lambda: signed() == 8)
        log.log.terminate()
        code, stderr = copy(log, cluster_config(log, cluster), cluster)
        assert (code, "8 leaves, 2 of them published" in stderr) == (0, True), stderr
        for size in (2, 8):
            partial = f"buckets/{bucket.name}/tile/entries/000.p/{size}"
            assert s3_server.filer("GET", partial)


def test_an_integrator_that_runs_meanwhile_begins_anew(
    tmp_path: Path, database: str, bucket: engines.Bucket
) -> None:
    """Without witnesses nothing tells it that the log is not empty."""
    cluster = Cluster(database, bucket)
    with deployed(tmp_path) as log:
        text = log.config.read_text()
        log.config.write_text(text.replace('policy = "witnesses.policy"', ""))
        log.log.terminate()
        log.start_log()
        stream = log.stream()
        size = 0
        for count in (400, 1):
            body = stream.take([outcome(f"{count}-{i}") for i in range(count)])
            size = log.post(body, PUBLISHED).json["size"]
        log.log.terminate()
        config = cluster_config(log, cluster)
        with start_log(config, cluster, "integrator") as integrator:
            eventually(lambda: bool(ask(f"{integrator.url}/readyz").json["integrating"]))
            code, stderr = copy(log, config, cluster)
            assert code == 0, stderr
            eventually(
                lambda: f"size={size}" in integrator.stderr or integrator.returncode is not None,
                lambda: integrator.stderr,
            )
            assert integrator.terminate() == 0, integrator.stderr
        assert "Traceback" not in integrator.stderr


def test_a_backups_copy_has_to_take_a_record_first(
    tmp_path: Path, database: str, bucket: engines.Bucket
) -> None:
    """The original may have gone on; a cluster would not wait for its witnesses."""
    cluster = Cluster(database, bucket)
    with deployed(tmp_path) as log:
        assert log.post(log.stream().take([outcome("a")]), PUBLISHED).status == 200
        kept = tmp_path / "copy.db"
        backup = processes.muniment_log("backup", "--config", log.config, kept)
        processes.run(backup, code=0)
        log.log.terminate()
        kept.rename(log.folder / "log" / "log.db")
        config = cluster_config(log, cluster)
        code, stderr = copy(log, config, cluster)
        assert (code, "until it has taken a record" in stderr) == (7, True), stderr
        log.start_log()
        assert log.post(log.stream().take([outcome("b")]), PUBLISHED).status == 200
        log.log.terminate()
        code, stderr = copy(log, config, cluster)
        assert code == 0, stderr


def objects_in(server: engines.SeaweedFS, bucket: engines.Bucket) -> bool:
    return server.filer("GET", f"buckets/{bucket.name}/tile/entries/")


def test_a_cluster_of_another_log_is_refused(
    tmp_path: Path, database: str, bucket: engines.Bucket
) -> None:
    cluster = Cluster(database, bucket)
    for name in ("one", "two"):
        init = processes.muniment_log(
            "init", tmp_path / name, "--origin", f"log.example/{name}", "--listen", "127.0.0.1:0"
        )
        processes.run(init, code=0)
    config = tmp_path / "one" / "cluster.toml"
    text = (tmp_path / "one" / "log.toml").read_text().replace('database = "log.db"', "")
    config.write_text(text + cluster.table)
    migrate = processes.muniment_log("migrate", "--config", config)
    processes.run(migrate, code=0)
    with processes.start(
        processes.muniment_log("serve", "--config", tmp_path / "two" / "log.toml")
    ) as other:
        other.terminate()
    command = processes.muniment_log("copy", "--from", tmp_path / "two" / "log.db", "--to", config)
    processes.run(command, environment=bucket.environment, code=6)
    assert asyncio.run(identities(database)) == 0


async def identities(database: str) -> int:
    connection = await asyncpg.connect(database)
    try:
        found = await connection.fetchval("SELECT count(*) FROM identity")
        assert isinstance(found, int)
        return found
    finally:
        await connection.close()
