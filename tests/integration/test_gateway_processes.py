"""Gateways in real processes: forks, kill -9 in the middle of a call, and a disk that gets full."""

import json
from pathlib import Path

import processes
from logsim import LogSim, logged_records

PROGRAMS = processes.Programs("""
import asyncio, multiprocessing, os, resource, signal, sys, time
import processes
from logsim import GATEWAY_SIGNER, POLICY
from muniment import Denied, Gateway, GatewayClosed, blocking, governed

url, path = sys.argv[1:]
AGENT = {"type": "agent", "id": "planner"}
gateway = blocking.Gateway(url, GATEWAY_SIGNER, policy=POLICY, spool=path)
TOOL = {"type": "tool", "id": "tool"}
rules = {"decide": lambda _: {"decision": True}, "subject": AGENT, "resource": TOOL}

def attempt(name, work):
    try:
        print(name, work(), flush=True)
    except Exception as error:
        print(name, type(error).__name__, flush=True)
""")

FORKS = """
tool = governed(gateway, **rules)(lambda: "ran")

def child():
    attempt("call", tool)
    attempt("submit", lambda: gateway.submit([]))
    attempt("put", lambda: gateway.put([]))
    attempt("enter", gateway.__enter__)
    attempt("close", gateway.close)
    attempt("exit", lambda: gateway.__exit__(None, None, None))

async def other_loop(asynchronous):
    for name, work in (
        ("async submit", lambda: asynchronous.submit([])),
        ("async put", lambda: asynchronous.spool.put([])),
        ("async close", asynchronous.close),
    ):
        try:
            print(name, await work(), flush=True)
        except Exception as error:
            print(name, type(error).__name__, flush=True)

async def main():
    async with Gateway(url, GATEWAY_SIGNER, policy=POLICY, stream="b", spool=path + "b") as one:
        work = lambda: asyncio.run(other_loop(one))
        process = multiprocessing.get_context("fork").Process(target=work)
        process.start()
        await asyncio.to_thread(process.join, 60)
        print("async child", process.exitcode, flush=True)

with gateway:
    attempt("parent", tool)
    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(60)
    print("child", process.exitcode, flush=True)
    attempt("parent", tool)
    asyncio.run(main())
    read, write = os.pipe()
    if os.fork() == 0:  # a child that outlives its parent keeps nothing of the spool
        os.close(write)
        os.read(read, 1)
        os._exit(0)
os.close(read)
with blocking.Gateway(url, GATEWAY_SIGNER, policy=POLICY, spool=path) as gateway:
    attempt("parent's next gateway", governed(gateway, **rules)(lambda: "ran"))
"""

KILLED = """
@governed(gateway, **rules)
def tool():
    print("running", flush=True)
    time.sleep(60)

with gateway:
    tool()
"""

OPENED = """
with gateway:
    gateway.run(gateway.asynchronous.spool.drained())
"""

FULL = """
ran = []
tool = governed(gateway, **rules)(ran.append)
largest = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with gateway:
    tool(0)
    # From here on no file of this process grows: as on a full disk, writes fail.
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, largest))
    denied = 0
    for number in range(1, 5):
        try:
            tool(number)
        except Denied:
            denied += 1
    print("denied", denied, "ran", len(ran), flush=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    tool(5)
    print("ran", ran[-1], flush=True)
"""


def outcomes(sim: LogSim) -> list[str]:
    records = map(json.loads, logged_records(sim))
    return [one["status"] for one in records if one["kind"] == "outcome"]


async def test_a_fork_is_told_at_once_and_leaves_its_parent_alone(tmp_path: Path) -> None:
    sim = LogSim()
    async with sim.serve() as url:
        told = await PROGRAMS.run(FORKS, url, tmp_path / "spool")
    assert told == [
        "parent ran",
        "call Denied",
        "submit GatewayClosed",
        "put GatewayClosed",
        "enter GatewayClosed",
        "close None",
        "exit None",
        "child 0",
        "parent ran",
        "async submit GatewayClosed",
        "async put GatewayClosed",
        "async close None",
        "async child 0",
        "parent's next gateway ran",
    ]
    assert outcomes(sim) == ["completed"] * 3


async def test_a_call_that_is_killed_has_an_unknown_outcome(tmp_path: Path) -> None:
    sim = LogSim()
    path = tmp_path / "spool"
    async with sim.serve() as url:
        async with processes.piped(PROGRAMS.argv(KILLED, url, path)) as process:
            assert await processes.first_line(process) == "running"
        assert outcomes(sim) == []
        for _ in range(2):
            await PROGRAMS.run(OPENED, url, path)
    assert outcomes(sim) == ["unknown"]


async def test_nothing_runs_while_the_disk_is_full_and_all_is_well_again_afterwards(
    tmp_path: Path,
) -> None:
    sim = LogSim()
    async with sim.serve() as url:
        told = await PROGRAMS.run(FULL, url, tmp_path / "spool")
    assert told == ["denied 4 ran 1", "ran 5"]
    assert outcomes(sim) == ["completed"] * 2
