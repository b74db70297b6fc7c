"""A cluster whose database or bucket is not the one it had takes nothing, and says so."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import engines
import processes
from decisions import decisions
from log_deployment import GATEWAY, PUBLISHED, Cluster, Deployment, Stream, ask, deployed, start_log
from muniment_log.cli.exits import EXIT_ROLLED_BACK
from muniment_log.cluster.migrate import migrations
from muniment_service.exits import EXIT_DATABASE

RECORDS = decisions(3, producer=GATEWAY)


@pytest.fixture
def log(database: str, bucket: engines.Bucket, tmp_path: Path) -> Iterator[Deployment]:
    with deployed(tmp_path, Cluster(database, bucket)) as made:
        yield made


def begin_anew(made: Deployment, server: engines.PostgreSQL) -> None:
    """Its keys, with an empty schema."""
    text = made.config.read_text()
    made.config.write_text(text.replace(made.cluster.postgres, server.create_database()))
    done = processes.run(processes.muniment_log("migrate", "--config", made.config), code=0)
    assert "of a log that has no leaves" in done.stderr


def move_away(made: Deployment, server: engines.SeaweedFS) -> None:
    """Its keys and its database, with an empty bucket."""
    text = made.config.read_text()
    made.config.write_text(text.replace(made.cluster.bucket.url, server.create_bucket().url))


def post(made: Deployment, url: str) -> tuple[int, str]:
    body = Stream("fresh", made.signer).take(RECORDS)
    answer = ask(f"{url}/v1/batches", body)
    return answer.status, answer.json.get("detail", "")


def test_a_database_made_anew_is_refused_by_every_process(
    log: Deployment, postgres_server: engines.PostgreSQL
) -> None:
    assert log.post(log.stream().take(RECORDS), PUBLISHED).status == 200
    assert log.log.terminate() == 0
    begin_anew(log, postgres_server)
    for command in ("frontend", "serve"):
        log.refuses(command, EXIT_ROLLED_BACK, "was rolled back, or made anew")
    log.refuses("integrator", EXIT_ROLLED_BACK, "was rolled back")


def test_nothing_is_taken_before_the_witnesses_were_heard(
    log: Deployment,
    postgres_server: engines.PostgreSQL,
    s3_server: engines.SeaweedFS,
) -> None:
    """Database and bucket are both new ones, and no witness answers: nobody can know better."""
    with contextlib.ExitStack() as stack:
        assert log.post(log.stream().take(RECORDS), PUBLISHED).status == 200
        status = processes.muniment_log("status", "--config", log.config)
        told = json.loads(processes.run(status, code=0).stdout)
        (process,) = told.values()
        assert process["database"]["by"] == "migrate"
        assert process["database"]["made"]
        assert log.log.terminate() == 0
        begin_anew(log, postgres_server)
        move_away(log, s3_server)
        for witness in log.witnesses:
            witness.pause()
        frontend = stack.enter_context(start_log(log.config, log.cluster, "frontend"))
        status_code, detail = post(log, frontend.url)
        assert (status_code, "no integrator has compared" in detail) == (503, True)
        integrator = stack.enter_context(start_log(log.config, log.cluster, "integrator"))
        status_code, detail = post(log, frontend.url)
        assert (status_code, "this log is empty" in detail) == (503, True)
        for witness in log.witnesses:
            witness.resume()
        assert integrator.wait() == EXIT_ROLLED_BACK
        assert post(log, frontend.url)[0] == 503


def test_an_emptied_bucket_stops_a_frontend(log: Deployment, s3_server: engines.SeaweedFS) -> None:
    assert log.post(log.stream().take(RECORDS), PUBLISHED).status == 200
    assert log.log.terminate() == 0
    move_away(log, s3_server)
    for command in ("frontend", "serve"):
        log.refuses(command, EXIT_DATABASE, "is it the right bucket, and complete?")


def test_a_schema_that_is_absent_is_not_made_by_a_start(
    log: Deployment, postgres_server: engines.PostgreSQL
) -> None:
    assert log.log.terminate() == 0
    text = log.config.read_text()
    log.config.write_text(text.replace(log.cluster.postgres, postgres_server.create_database()))
    for command in ("frontend", "integrator", "serve"):
        log.refuses(command, EXIT_DATABASE, f"needs {len(migrations())}")
