"""A cluster as real processes: frontends and integrators that come and go, over real engines."""

import contextlib
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import decisions
import engines
import processes
import rfc6962
from log_deployment import (
    GATEWAY,
    ORIGIN,
    PUBLISHED,
    Cluster,
    Deployment,
    ask,
    deployed,
    is_integrating,
    run,
    start_log,
)
from muniment.tlog.encoding import parse_base64
from muniment.tlog.proofs import verify_inclusion
from muniment_log.cluster.migrate import migrations
from waiting import eventual, eventually

RECORDS = decisions.decisions(300, producer=GATEWAY)


@pytest.fixture
def made(database: str, bucket: engines.Bucket, tmp_path: Path) -> Iterator[Deployment]:
    """A cluster in one process, with its witnesses."""
    with deployed(tmp_path, Cluster(database, bucket)) as deployment:
        yield deployment


def published_of(url: str) -> int:
    return int(ask(f"{url}/readyz").json["published"])


def test_frontends_share_streams_and_another_integrator_takes_over(made: Deployment) -> None:
    assert made.log.terminate() == 0
    # One index file cannot be two frontends'.
    made.config.write_text(made.config.read_text().replace('database = "index.db"', ""))
    with contextlib.ExitStack() as stack:
        frontends = [
            stack.enter_context(start_log(made.config, made.cluster, "frontend")) for _ in range(2)
        ]
        integrators = [
            stack.enter_context(start_log(made.config, made.cluster, "integrator"))
            for _ in range(2)
        ]
        eventually(lambda: sum(map(is_integrating, integrators)) == 1)
        stream, turns = made.stream(), itertools.cycle(frontends)
        receipts = []
        for number in range(12):
            body = stream.take(RECORDS[number * 20 : number * 20 + 20])
            if number == 6:
                leader = eventual(lambda: next(filter(is_integrating, integrators), None))
                leader.kill()
                integrators.remove(leader)
            answers = [ask(f"{next(turns).url}/v1/batches", body) for _ in range(3)]
            assert {answer.status for answer in answers} == {200}, answers
            assert len({answer.body for answer in answers}) == 1
            receipts.append(answers[0].json)
        assert [one["first"] for one in receipts] == [number * 21 for number in range(12)]
        size = receipts[-1]["size"]
        eventually(lambda: all(published_of(one.url) == size for one in frontends))
        for frontend in frontends:
            checkpoint = ask(f"{frontend.url}/checkpoint").body
            cosigned = made.policy.verify(checkpoint, origin=ORIGIN)
            for number, receipt in enumerate(receipts):
                proof = ask(
                    f"{frontend.url}/v1/proofs/inclusion?index={receipt['first']}",
                    headers={"Accept": "application/json"},
                ).json
                nodes = [parse_base64(text, "proof") for text in proof["proof"]]
                leaf = rfc6962.HASH(b"\x00" + RECORDS[number * 20])
                verify_inclusion(leaf, receipt["first"], cosigned.size, nodes, cosigned.root)
        assert [one.terminate() for one in (*frontends, *integrators)] == [0, 0, 0]


def test_a_restored_database_is_refused(
    made: Deployment, postgres_server: engines.PostgreSQL, tmp_path: Path
) -> None:
    stream = made.stream()
    made.post(stream.take(RECORDS[:5]), PUBLISHED)
    name = made.cluster.postgres.rpartition("/")[2]
    dump = postgres_server.run("pg_dump", "--clean", name, connect=True)
    made.post(stream.take(RECORDS[:5]), PUBLISHED)
    assert made.log.terminate() == 0
    saved = postgres_server.folder / "dump.sql"
    saved.write_bytes(dump)
    saved.chmod(0o644)
    postgres_server.run("psql", "--quiet", "--file", saved, name, connect=True)
    made.refuses("integrator", 7, "rolled back", "6 leaves", "12")


def test_an_emptied_bucket_is_noticed_whatever_the_size(
    made: Deployment, s3_server: engines.SeaweedFS
) -> None:
    made.post(made.stream().take(RECORDS[:4]), PUBLISHED)
    assert made.log.terminate() == 0
    made.config.write_text(
        made.config.read_text().replace(made.cluster.bucket.url, s3_server.create_bucket().url)
    )
    made.refuses("integrator", 1, "000.p/5 is missing")


def test_a_frontend_notices_what_has_rotted_in_the_bucket(
    made: Deployment, s3_server: engines.SeaweedFS
) -> None:
    assert made.post(made.stream().take(RECORDS), PUBLISHED).status == 200
    assert made.log.terminate() == 0
    place = f"buckets/{made.cluster.bucket.name}/tile/0/000"
    assert s3_server.filer("PUT", place, bytes(8192))
    made.config.write_text(made.config.read_text().replace('database = "index.db"', ""))
    with start_log(made.config, made.cluster, "frontend") as frontend:
        for what in ("tile/0/000", "v1/proofs/inclusion?index=3"):
            answer = ask(f"{frontend.url}/{what}")
            assert answer.status == 500
            assert "tile/0/000 is damaged" in answer.json["detail"]
        found = re.search(
            r"^muniment_log_damaged_tiles_total (\S+)$",
            ask(f"{frontend.url}/metrics").body.decode(),
            re.MULTILINE,
        )
        assert float(found[1]) == 2
        assert ask(f"{frontend.url}/tile/0/001.p/45").status == 200


def test_what_contradicts_is_refused(
    made: Deployment, postgres_server: engines.PostgreSQL, s3_server: engines.SeaweedFS
) -> None:
    made.post(made.stream().take(RECORDS), PUBLISHED)
    assert made.log.terminate() == 0
    name = made.cluster.postgres.rpartition("/")[2]

    def sql(statement: str) -> None:
        postgres_server.run("psql", "--quiet", "--command", statement, name, connect=True)

    sql("INSERT INTO muniment_schema VALUES (999)")
    made.refuses("serve", 4, "version 999", "newer")
    sql("DELETE FROM muniment_schema")
    made.refuses("frontend", 4, "version 0", f"needs {len(migrations())}", "migrate")
    sql(f"INSERT INTO muniment_schema SELECT generate_series(1, {len(migrations())})")
    assert run(processes.muniment_log("migrate", "--config", made.config)) == []
    # The bucket of another log, or an emptied one.
    config = made.config.read_text()
    made.config.write_text(config.replace(made.cluster.bucket.url, s3_server.create_bucket().url))
    made.refuses("integrator", 1, "tile/0/000 is missing")
    made.config.write_text(config)
    made.start_log()
    made.post(made.stream().take(RECORDS[:3]), PUBLISHED)
    assert made.log.terminate() == 0
    assert s3_server.filer("PUT", f"buckets/{made.cluster.bucket.name}/tile/0/000", bytes(8192))
    made.refuses("integrator", 1, "do not make the root")
