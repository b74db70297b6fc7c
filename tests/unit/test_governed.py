"""Governed callables and the blocking gateway: permit first, then the run, then its outcome."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from bench import AGENT, spooled, yes
from logsim import GATEWAY_SIGNER, POLICY, LogSim, lines, records_of
from muniment.errors import Denied, GatewayClosed, Unreachable
from muniment.gateway import blocking
from muniment.gateway.governed import governed
from muniment.gateway.runs import current_run

pytestmark = pytest.mark.usefixtures("fast_retries")


async def test_a_call_runs_with_a_permit_and_leaves_its_outcome(tmp_path: Path) -> None:
    sim = LogSim()
    seen: list[str | None] = []
    async with spooled(sim, tmp_path) as gateway:

        @governed(
            gateway,
            decide=yes,
            subject={"type": "agent", "id": "sub"},
            resource=lambda query: {"type": "table", "id": query},
            delegator="planner",
        )
        async def search(query: str) -> list[str]:
            seen.append(current_run())
            assert len(records_of(sim, "decision")) == 2  # logged before it runs
            return [query]

        @governed(gateway, decide=yes, subject=AGENT)
        async def plan() -> int:
            seen.append(current_run())
            return len(await search("a"))

        assert await plan() == 1
        assert plan.__name__ == "plan"
        await gateway.spool.drained()
    outer, inner = records_of(sim, "decision")
    assert seen == [outer["execution"], inner["execution"]]
    assert outer["request"]["resource"] == {"type": "tool", "id": "plan"}
    assert inner["request"]["resource"] == {"type": "table", "id": "a"}
    relations = {
        (one["relation"], one["from"]["id"], one["to"]["id"]) for one in records_of(sim, "edge")
    }
    assert relations == {
        ("performed_by", outer["execution"], "planner"),
        ("performed_by", inner["execution"], "sub"),
        ("delegated_by", "sub", "planner"),
        ("triggered_by", inner["execution"], outer["execution"]),
    }
    done = {one["execution"]: one for one in records_of(sim, "outcome")}
    assert [done[run]["status"] for run in seen if run] == ["completed", "completed"]
    assert done[inner["execution"]]["outputs"]["result"].startswith("sha256:")


async def test_failed_and_aborted_runs_say_so(tmp_path: Path) -> None:
    sim = LogSim()
    began = asyncio.Event()
    async with spooled(sim, tmp_path) as gateway:

        @governed(gateway, decide=yes, subject=AGENT)
        async def fails(value: object) -> None:
            raise KeyError(value)

        @governed(gateway, decide=yes, subject=AGENT)
        async def hangs() -> None:
            began.set()
            await asyncio.sleep(60)

        with pytest.raises(KeyError):
            await fails(7)
        task = asyncio.create_task(hangs())
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await gateway.spool.drained()
    outcomes = records_of(sim, "outcome")
    assert [one["status"] for one in outcomes] == ["failed", "aborted"]
    assert all("denial" not in one for one in outcomes)  # they began


async def test_blocking_gateway_serves_many_threads(tmp_path: Path) -> None:
    sim = LogSim()

    def work(url: str) -> list[str]:
        found: list[str] = []
        with blocking.Gateway(url, GATEWAY_SIGNER, policy=POLICY, spool=tmp_path / "s") as gateway:
            assert gateway.origin == "log.example/sim"

            @governed(gateway, decide=yes, subject=AGENT)
            def act(value: int) -> int:
                if value == 3:
                    raise ValueError(value)
                return value * 2

            async def asks(_: Any) -> dict[str, Any]:
                return {"decision": False}

            @governed(gateway, decide=asks, subject=AGENT)
            def never() -> None:
                found.append("ran")

            def one(value: int) -> None:
                found.append(f"{value}:{act(value)}")

            threads = [threading.Thread(target=one, args=(n,)) for n in (0, 1, 2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            with pytest.raises(ValueError, match="3"):
                act(3)
            with pytest.raises(Denied):
                never()
            assert len(gateway.submit(lines(2))) == 2
            with pytest.raises(GatewayClosed):
                gateway.__enter__()
        gateway.close()
        with pytest.raises(GatewayClosed):
            gateway.submit(lines(1))
        return found

    async with sim.serve() as url:
        found = await asyncio.to_thread(work, url)
    assert sorted(found) == ["0:0", "1:2", "2:4"]
    statuses = [one["status"] for one in records_of(sim, "outcome")]
    assert sorted(statuses) == ["completed"] * 3 + ["failed"]


def test_blocking_gateway_without_a_log() -> None:
    with pytest.raises(Unreachable), blocking.Gateway("http://127.0.0.1:1", GATEWAY_SIGNER):
        pass
