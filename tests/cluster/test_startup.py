"""A start waits for engines that are not there yet, and for nothing that does not pass."""

from pathlib import Path

import pytest

import engines
import processes
from commands import change_file
from log_deployment import Cluster, Deployment, ask, deployed
from muniment.tlog.encoding import FormatError
from muniment_log.cluster.objects import ObjectStore
from waiting import eventually


def integrator(made: Deployment, environment: dict[str, str] | None = None) -> processes.Process:
    return processes.Process(
        processes.muniment_log("integrator", "--config", made.config),
        environment={**made.cluster.bucket.environment, **(environment or {})},
    )


def told(process: processes.Process, words: str) -> None:
    eventually(
        lambda: words in process.stderr or process.returncode is not None, lambda: process.stderr
    )
    assert words in process.stderr, process.stderr


def test_a_start_waits_for_the_engines_and_not_for_what_does_not_pass(tmp_path: Path) -> None:
    with (
        engines.started(engines.PostgreSQL) as postgres,
        engines.started(engines.SeaweedFS) as store,
    ):
        url = postgres.create_database()
        with deployed(tmp_path, Cluster(url, store.create_bucket())) as made:
            assert made.log.terminate() == 0
            postgres.stop()
            store.kill()  # its own end takes up to a minute
            with integrator(made) as process:
                told(process, "waiting for PostgreSQL")
                postgres.start()
                told(process, "waiting for the object store")
                store.start()
                assert ask(f"{process.wait_ready().url}/healthz").status == 200
                assert process.terminate() == 0
                assert "Traceback" not in process.stderr
            # What nobody can wait for.
            for wrong, word in (
                (url.replace(":of", ":not"), "password authentication failed"),
                (f"{url}-else", "does not exist"),
            ):
                change_file(made.config, f'"{url}"', f'"{wrong}"')
                with integrator(made) as process:
                    assert process.wait() == 4
                    assert word in process.stderr.strip().split("\n")[-1]
                    assert "waiting" not in process.stderr
                change_file(made.config, f'"{wrong}"', f'"{url}"')
            # In the end it says what was missing.
            store.kill()
            change_file(made.config, "\n[cluster]", "\n[cluster]\nengine_seconds = 1.0")
            with integrator(made) as process:
                assert process.wait() == 1
                assert str(made.cluster and made.cluster.bucket.url) in process.stderr
            with integrator(made, {"AWS_SECRET_ACCESS_KEY": ""}) as process:
                assert process.wait() == 3
                assert "AWS_SECRET_ACCESS_KEY are not both set" in process.stderr


@pytest.mark.parametrize("missing", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_without_keys_nobody_is_asked_for_them(missing: str) -> None:
    given = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
    }
    ObjectStore.open("s3://b", environment=given)
    del given[missing]
    with pytest.raises(FormatError, match="not both set"):
        ObjectStore.open("s3://b", environment=given)
    ObjectStore.open("s3://b", environment={**given, "MUNIMENT_AWS_CREDENTIALS": "role"})
