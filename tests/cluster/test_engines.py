"""The servers of the other tests themselves: what they have confirmed survives a kill."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import pytest

import engines


async def test_a_killed_database_keeps_what_it_has_committed() -> None:
    with engines.started(engines.PostgreSQL) as server:
        url = server.create_database()
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SHOW fsync") == "on"
        await connection.execute("CREATE TABLE kept (number int)")
        await connection.execute("INSERT INTO kept VALUES (7)")
        server.kill()
        connection.terminate()
        server.start()
        assert server.url(url.rpartition("/")[2]) == url
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SELECT number FROM kept") == 7
        await connection.close()


async def test_each_test_gets_a_database_of_its_own(
    database: str, postgres_server: engines.PostgreSQL
) -> None:
    other = postgres_server.create_database()
    assert other != database
    for url in (database, other):
        connection = await asyncpg.connect(url)
        await connection.execute("CREATE TABLE mine (number int)")
        await connection.close()
    postgres_server.drop_database(other)


@pytest.mark.parametrize("kind", [engines.PostgreSQL, engines.SeaweedFS])
def test_servers_end_with_the_process_of_the_tests(kind: type[engines.Engine]) -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv (util-linux) is not installed")
    reason = kind.missing()
    if reason is not None:
        pytest.skip(reason)
    script = (
        "import sys, engines\n"
        f"with engines.started(engines.{kind.__name__}) as server:\n"
        "    print(server.pid, server.folder, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        pid, folder = process.stdout.readline().split()
        process.kill()
    deadline = time.monotonic() + 30
    with contextlib.suppress(ProcessLookupError):
        while True:  # the group: children of the server, too
            os.killpg(int(pid), 0)
            assert time.monotonic() < deadline, "it outlived who started it"
            time.sleep(0.05)
    shutil.rmtree(folder)
