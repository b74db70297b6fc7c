"""Calls that could only wait for ever raise at once and say what to do; all waits end."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import gateway_of, yes
from logsim import GATEWAY_SIGNER, NOW, POLICY, LogSim, lines
from muniment.errors import Denied, GatewayClosed, Undelivered, WrongLoop
from muniment.gateway import blocking, governing, guard, outcomekeeping, reach
from muniment.gateway.gateway import Gateway
from muniment.gateway.governed import governed
from muniment.gateway.guard import Guard
from muniment.permit import Context, Permit, Trust
from muniment.records.kinds import Entity
from waiting import eventually

AGENT = {"type": "agent", "id": "planner"}
TOOL = {"type": "tool", "id": "tool"}
DECISION = {
    "request": {
        "subject": AGENT,
        "action": {"name": "call"},
        "resource": {"type": "tool", "id": "search"},
    },
    "response": {"decision": True},
}


async def in_thread(work: Callable[[Any], Any], path: Path, **options: Any) -> Any:
    """Runs work with a blocking gateway of a log, in a thread of its own."""

    def run() -> Any:
        with blocking.Gateway(url, GATEWAY_SIGNER, policy=POLICY, spool=path, **options) as gateway:
            return work(gateway)

    async with LogSim().serve() as url:
        return await asyncio.wait_for(asyncio.to_thread(run), 60)


async def test_a_gateways_own_loop_is_not_made_to_wait_for_itself(tmp_path: Path) -> None:
    def work(gateway: blocking.Gateway) -> list[str]:
        said: list[str] = []

        @governed(gateway, decide=yes, subject=AGENT)
        def lookup() -> None:
            said.append("ran")

        async def decide(_: Any) -> dict[str, Any]:
            attempts: list[Callable[[], Any]] = [
                lambda: gateway.submit(lines(1)),
                lambda: gateway.put(lines(1)),
                gateway.close,
            ]
            for attempt in attempts:
                with pytest.raises(WrongLoop, match=r"asyncio\.to_thread"):
                    attempt()
            denials: list[Callable[[], Any]] = [lookup, lambda: gateway.authorize(DECISION)]
            for attempt in denials:
                with pytest.raises(Denied, match=r"asyncio\.to_thread"):
                    attempt()
            await asyncio.to_thread(lookup)  # as it says
            return {"decision": True}

        governed(gateway, decide=decide, subject=AGENT, resource=TOOL)(
            lambda: said.append("tool")
        )()
        return said

    assert await in_thread(work, tmp_path / "spool") == ["ran", "tool"]


async def test_another_loop_is_told_where_the_gateway_belongs(tmp_path: Path) -> None:
    async def elsewhere() -> None:
        for work in (
            gateway.submit(lines(1)),
            gateway.spool.put(lines(1)),
            gateway.spool.drained(),
            gateway.spool.refused(),
            gateway.close(),
        ):
            with pytest.raises(WrongLoop, match="in each loop"):
                await work
        for denied in (gateway.authorize(DECISION), tool()):
            with pytest.raises(Denied, match="in each loop"):
                await denied

    async with (
        LogSim().serve() as url,
        Gateway(url, GATEWAY_SIGNER, policy=POLICY, spool=tmp_path / "spool") as gateway,
    ):

        @governed(gateway, decide=yes, subject=AGENT)
        async def tool() -> str:
            return "ran"

        await asyncio.to_thread(lambda: asyncio.run(elsewhere()))
        assert await tool() == "ran"


async def test_a_gateway_that_is_used_in_a_second_run(tmp_path: Path) -> None:
    def twice(url: str) -> None:
        gateway = Gateway(url, GATEWAY_SIGNER, policy=POLICY)

        async def first() -> None:
            await gateway.__aenter__()
            await gateway.submit(lines(1))
            await gateway.log.client.close()  # its connection, which Python would warn of

        asyncio.run(first())
        with pytest.raises(WrongLoop):
            asyncio.run(gateway.submit(lines(1)))

    async with LogSim().serve() as url:
        await asyncio.to_thread(twice, url)


async def test_a_loop_that_gives_no_answer_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "GRACE", 0.05)
    for module in (governing, outcomekeeping):
        monkeypatch.setattr(module, "KEEPING", 0.05)
    free = threading.Event()

    async def blocks(_: Any) -> dict[str, Any]:
        free.wait(30)
        return {"decision": True}

    def work(gateway: blocking.Gateway) -> None:
        tool = governed(gateway, decide=blocks, subject=AGENT, resource=TOOL)(lambda: "ran")
        try:
            with pytest.raises(Denied, match="gave no answer within"):
                tool()
            with pytest.raises(Undelivered, match="gave no answer within"):
                gateway.submit(lines(1), timeout=0.05)
        finally:
            free.set()
        monkeypatch.undo()
        assert len(gateway.submit(lines(1))) == 1

    await in_thread(work, tmp_path / "spool", deadline=0.1)


async def test_closing_a_gateway_whose_loop_gives_no_answer_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GRACE", "KEEPING", "DRAIN"):
        monkeypatch.setattr(blocking, name, 0.05)
    free = threading.Event()

    async def blocks() -> None:
        free.wait(30)

    def work(url: str) -> None:
        gateway = blocking.Gateway(url, GATEWAY_SIGNER, deadline=0.05)
        monkeypatch.setattr(reach, "GRACE", 30.0)
        gateway.__enter__()
        monkeypatch.setattr(reach, "GRACE", 0.05)
        try:
            with pytest.raises(Undelivered):
                gateway.run(blocks())
            with pytest.raises(Undelivered, match="thread does not end"):
                gateway.close()
            with pytest.raises(GatewayClosed):
                gateway.submit(lines(1))
        finally:
            free.set()
        eventually(lambda: "muniment-gateway" not in {one.name for one in threading.enumerate()})

    async with LogSim().serve() as url:
        await asyncio.wait_for(asyncio.to_thread(work, url), 60)


async def _permit() -> Permit:
    async with gateway_of(LogSim(), policy=POLICY) as gateway:
        return await gateway.authorize({**DECISION, "execution": "run-1"})


CONTEXT = Context(now=NOW, action="call", resource=Entity("tool", "search"), execution="run-1")
ANY: dict[str, Any] = {
    "policy": POLICY,
    "require_facts": False,
    "require_artifact": False,
    "require_binding": False,
    "require_policy": False,
}


async def test_a_blocking_check_in_a_loop_is_denied_at_once() -> None:
    permit = await _permit()
    judge = Guard(Trust(**ANY))
    with pytest.raises(Denied, match=r"await check\(\)"):
        judge.check_blocking(permit, CONTEXT)
    assert (await asyncio.to_thread(judge.check_blocking, permit, CONTEXT)).permitted


@pytest.mark.parametrize("is_blocking", [True, False])
async def test_a_replica_that_gives_no_answer_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_blocking: bool
) -> None:
    permit = await _permit()
    free = threading.Event()

    def hang(*_: Any, **__: Any) -> None:
        free.wait(30)

    monkeypatch.setattr(guard, "LOOKING", 0.05)
    monkeypatch.setattr(guard, "IndexReader", hang)
    judge = Guard(Trust(**ANY), tmp_path / "replica.db", catch_up=0.05)
    try:
        checking = (
            asyncio.to_thread(judge.check_blocking, permit, CONTEXT)
            if is_blocking
            else judge.check(permit, CONTEXT)
        )
        with pytest.raises(Denied, match=r"could not be read within 0\.05 s"):
            await checking
    finally:
        free.set()
