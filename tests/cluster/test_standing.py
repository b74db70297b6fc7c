"""What a cluster's processes say of it: who leads, how far it is, and what does not work."""

import contextlib
import os
import re
import socket
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import decisions
import engines
import processes
from log_deployment import GATEWAY, PUBLISHED, Cluster, ask, deployed, start_log
from waiting import eventually

RECORDS = decisions.decisions(20, producer=GATEWAY)


def cluster_of(process: processes.Process) -> dict[str, Any]:
    answer = ask(f"{process.url}/readyz")
    assert answer.status == 200, answer.body
    told = answer.json["cluster"]
    assert isinstance(told, dict)
    return told


def metric(process: processes.Process, name: str) -> float:
    found = re.search(rf"^muniment_log_{name} (\S+)$", ask(f"{process.url}/metrics").body.decode(),
                      re.MULTILINE)  # fmt: skip
    assert found is not None, name
    return float(found[1])


def test_a_frontend_without_a_leader_takes_records_and_says_so(
    database: str, bucket: engines.Bucket, tmp_path: Path
) -> None:
    cluster = Cluster(database, bucket)
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(deployed(tmp_path, cluster))
        first = cluster_of(made.log)["epoch"]
        stream = made.stream()
        began = time.time()
        assert made.post(stream.take(RECORDS[:4]), PUBLISHED).status == 200
        eventually(lambda: cluster_of(made.log)["ordered"] == 5)
        told = cluster_of(made.log)
        assert (told["led"], told["lag_leaves"], told["lag_seconds"]) == (True, 0, 0)
        assert "notice" not in told
        assert datetime.fromisoformat(told["published_at"]).timestamp() >= int(began)
        assert metric(made.log, "leads") == metric(made.log, "led") == 1
        assert metric(made.log, "published_time_seconds") >= int(began)
        assert made.log.terminate() == 0
        text = made.config.read_text()
        lease = "lease_seconds = 6.0\n"
        made.config.write_text(text.replace(lease, f"{lease}backlog_leaves = 10\n"))

        # A busy machine may be late to renew a short lease, and then another one leads.
        text = made.config.read_text()
        made.config.write_text(text.replace("lease_seconds = 6.0", "lease_seconds = 300.0"))
        frontend = stack.enter_context(start_log(made.config, cluster, "frontend"))
        answer = ask(f"{frontend.url}/v1/batches", stream.take(RECORDS[4:10]))
        assert (answer.status, answer.json["first"]) == (200, 5)
        eventually(lambda: cluster_of(frontend)["lag_seconds"] > 0.4)
        told = cluster_of(frontend)
        assert (told["led"], told["ordered"], told["lag_leaves"]) == (False, 12, 7)
        assert "accepted" in told["notice"]
        assert "nothing is published" in told["notice"]
        assert metric(frontend, "led") == metric(frontend, "leads") == 0
        assert metric(frontend, "ordered_size") == 12
        assert metric(frontend, "integration_lag_leaves") == 7
        assert metric(frontend, "integration_lag_seconds") > 0.4
        assert ask(f"{frontend.url}/v1/batches", stream.take(RECORDS[10:12])).status == 200
        late = stream.take(RECORDS[12:14])
        ask(f"{frontend.url}/v1/batches", late).problem(503, "overloaded")
        eventually(lambda: "accepted" not in cluster_of(frontend)["notice"])
        assert "no integrator leads" in (notice := cluster_of(frontend)["notice"])
        assert "answered with 503" in notice

        leader, standby = (
            stack.enter_context(start_log(made.config, cluster, "integrator")) for _ in range(2)
        )
        eventually(lambda: cluster_of(frontend)["lag_leaves"] == 0)
        if metric(standby, "leads"):
            leader, standby = standby, leader
        for process in (frontend, leader, standby):
            eventually(lambda process=process: cluster_of(process)["epoch"] > first)
            told = cluster_of(process)
            assert (told["led"], "notice" in told) == (True, False)
            assert metric(process, "lease_epoch") == told["epoch"]
            assert metric(process, "leads") == (process is leader)
        assert ask(f"{frontend.url}/v1/batches", late).status == 200
        assert ask(f"{leader.url}/readyz").json["integrating"] is True
        assert ask(f"{standby.url}/readyz").json["integrating"] is False
        # Who it is, by machine and process: in the database, and not for everybody.
        assert socket.gethostname() not in ask(f"{frontend.url}/readyz").body.decode()
        assert f"{socket.gethostname()}/{leader.pid}/" in holder(database)
        assert os.getpid() != leader.pid


def holder(database: str) -> str:
    import asyncio

    import asyncpg

    async def read() -> str:
        connection = await asyncpg.connect(database)
        try:
            return str(await connection.fetchval("SELECT holder FROM lease"))
        finally:
            await connection.close()

    return asyncio.run(read())


def test_who_cannot_see_the_database_is_not_ready(bucket: engines.Bucket, tmp_path: Path) -> None:
    with engines.started(engines.PostgreSQL) as server:
        cluster = Cluster(server.create_database(), bucket)
        with (
            deployed(tmp_path, cluster) as made,
            start_log(made.config, cluster, "integrator") as integrator,
        ):
            assert made.post(made.stream().take(RECORDS[:4]), PUBLISHED).status == 200
            for process in (made.log, integrator):
                eventually(lambda process=process: cluster_of(process)["ordered"] == 5)
            server.kill()
            for process in (made.log, integrator):
                eventually(lambda process=process: ask(f"{process.url}/readyz").status == 503)
                problem = ask(f"{process.url}/readyz").problem(503, "database-unseen")
                assert problem["cluster"]["ordered"] == 5
                assert metric(process, "database_unseen") == 1
            server.start()
            for process in (made.log, integrator):
                eventually(lambda process=process: ask(f"{process.url}/readyz").status == 200)
                assert metric(process, "database_unseen") == 0
