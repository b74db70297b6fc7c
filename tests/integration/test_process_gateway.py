"""One gateway for a whole program: forks, spawned workers, kill -9, and what these leave behind."""

import json
from pathlib import Path

import processes
from commands import online
from logsim import GATEWAY, GATEWAY_SIGNER, LogSim, logged_records, private
from muniment.local.keyfiles import KeyFile, write_key_file

PROGRAMS = processes.Programs("""
import asyncio, gc, multiprocessing, os, signal, sys, threading, time
from logsim import GATEWAY_SIGNER, POLICY
from muniment import Denied, ProcessGateway

url, path = sys.argv[1:]
gateway = ProcessGateway(
    url, GATEWAY_SIGNER, policy=POLICY, spools=path, decide=lambda _: {"decision": True})

def blocking(name, **options):
    with gateway.call("tool", {"name": name}, agent="planner", timeout=20, **options) as run:
        return run.result(run.execution)

async def awaiting(name):
    async with gateway.call("tool", {"name": name}, agent="planner", timeout=20) as run:
        return run.result(run.execution)
""")

WORKERS = """
def child(name):
    gc.collect()  # of what it has inherited
    blocking(name)
    threads = [threading.Thread(target=blocking, args=(f"{name} thread",)) for _ in range(3)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    asyncio.run(awaiting(f"{name} loop"))
    gateway.close()

if __name__ == "__main__":
    blocking("parent")
    workers = [multiprocessing.get_context("fork").Process(target=child, args=(n,)) for n in "ab"]
    for one in workers:
        one.start()
    asyncio.run(awaiting("parent loop"))
    asyncio.run(awaiting("another loop"))
    for one in workers:
        one.join(60)
    print([one.exitcode for one in workers], flush=True)
"""

FORKED = """
blocking("before")
if os.fork() == 0:
    gc.collect()
    sys.exit()
os.wait()
print(blocking("after"), flush=True)
"""

KILLED = """
with gateway.call("tool", agent="planner", timeout=20, once="k") as run:
    print(run.execution, flush=True)
    time.sleep(60)
"""

RESUMED = """
print(blocking("x", once="other"), flush=True)
with gateway.call("tool", agent="planner", timeout=20, once="k") as run:
    print(run.result(run.execution), flush=True)
"""

ABSENT = """
for _ in range(3):
    try:
        with gateway.call("tool", agent="planner") as run:
            print("ran")
    except Denied as denied:
        print(*denied.codes, flush=True)
"""


def outcomes(sim: LogSim) -> list[tuple[str, str]]:
    records = map(json.loads, logged_records(sim))
    return [(one["execution"], one["status"]) for one in records if one["kind"] == "outcome"]


async def test_each_process_has_a_stream_and_a_spool_of_its_own(tmp_path: Path) -> None:
    sim = LogSim()
    path = tmp_path / "spools"
    async with sim.serve() as url:
        for _ in range(2):
            assert await PROGRAMS.run(WORKERS, url, path) == ["[0, 0]"]
        found = sorted(path.glob("*.spool"))
        listed = await online("spool", "list", "--json", str(path))
        states = [json.loads(line) for line in listed.stdout.splitlines()]
        assert [one["path"] for one in states] == [str(one) for one in found]
        assert not any(one["in_use"] or one["refused"] for one in states)
    assert len(found) == 3  # those of the first run are taken over by the second
    assert len(outcomes(sim)) == 2 * (3 + 2 * 5)
    assert {status for _, status in outcomes(sim)} == {"completed"}


async def test_a_fork_that_ends_takes_no_connection_along(tmp_path: Path) -> None:
    sim = LogSim()
    async with sim.serve() as url:
        assert len(await PROGRAMS.run(FORKED, url, tmp_path / "spools")) == 1
    assert len(outcomes(sim)) == 2


async def test_what_a_killed_process_left_is_found_and_resumed(tmp_path: Path) -> None:
    sim = LogSim()
    path = tmp_path / "spools"
    async with sim.serve() as url:
        async with processes.piped(PROGRAMS.argv(KILLED, url, path)) as process:
            first = await processes.first_line(process)
            listed = await online("spool", "list", str(path))
            assert "in use, 0 records to deliver, 1 outcome to come" in listed.stdout
        assert "orphaned" in (await online("spool", "list", str(path))).stdout
        _, resumed = await PROGRAMS.run(RESUMED, url, path)
    assert resumed == first
    assert [status for run_, status in outcomes(sim) if run_ == first] == ["unknown", "completed"]


async def test_what_a_killed_process_left_is_delivered_by_the_command(tmp_path: Path) -> None:
    sim = LogSim()
    path, key = tmp_path / "spools", tmp_path / "key.pem"
    write_key_file(key, KeyFile(private(GATEWAY), GATEWAY_SIGNER.vkey), None)
    async with sim.serve() as url:
        deliver = ("spool", "deliver", str(path), "--log", url, "--key", str(key))
        async with processes.piped(PROGRAMS.argv(KILLED, url, path)) as process:
            run_id = await processes.first_line(process)
            assert "in use, passed over" in (await online(*deliver)).stderr
            assert outcomes(sim) == []
        assert "1 record delivered, 0 refused" in (await online(*deliver)).stdout
        assert (await online(*deliver)).stdout == ""
        assert ": empty, 0 records" in (await online("spool", "list", str(path))).stdout
    assert outcomes(sim) == [(run_id, "unknown")]
    assert "no such file" in (await online("spool", "list", str(key) + "x", code=7)).stderr
    assert "key.pem" in (await online("spool", "list", str(key), code=1)).stderr


async def test_a_log_that_is_away_at_the_start_denies_at_once(tmp_path: Path) -> None:
    told = await PROGRAMS.run(ABSENT, "http://127.0.0.1:1", tmp_path / "spools")
    assert told == ["governance_mesh_discontinuity"] * 3
