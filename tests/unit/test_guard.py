"""The guard: no run before the replica has reached its permit, and none when it does not."""

import asyncio
import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import logsim
from decisions import request
from governed import artifact
from logsim import GATEWAY_SIGNER, POLICY, LogSim
from muniment.errors import Denied
from muniment.gateway.gateway import Gateway
from muniment.gateway.guard import Guard
from muniment.index.replica import Watched, follow_once
from muniment.permit import Context, ExpectedPolicy, Permit, Trust
from muniment.records.api import Decision
from muniment.records.artifact import Validity
from muniment.records.kinds import Entity
from waiting import until

CONTEXT = Context(
    now=logsim.NOW,
    action="read",
    resource=Entity("document", "7"),
    execution="call",
    spiffe_id="spiffe://example.org/agent/sub",
    policy=ExpectedPolicy(id="main"),
)
TRUST = Trust(policy=POLICY, allow_unlogged_delegation=True)


def replace_context(**members: Any) -> Context:
    return dataclasses.replace(CONTEXT, **members)


def decision(number: int) -> Decision:
    return Decision(
        v=1,
        id=f"d-{number}",
        time=logsim.NOW * 1000,
        producer=logsim.GATEWAY,
        request=request("sub", "read", ("document", "7")),
        response={"decision": True},
        execution="call",
        artifact=artifact(
            validity=Validity(not_before=1_000_000_000, not_after=4_000_000_000),
            environment=None,
            governance=None,
        ),
    )


async def authorized(url: str, number: int) -> Permit:
    async with Gateway(url, GATEWAY_SIGNER, policy=POLICY) as gateway:
        return await gateway.authorize(decision(number))


async def follow(url: str, path: Path) -> None:
    await follow_once(Watched(url, POLICY), path, progress=lambda _done, _total: None)


async def test_waits_for_the_replica_to_reach_the_permit(tmp_path: Path) -> None:
    sim, path = LogSim(), tmp_path / "replica.db"
    times: list[float] = []

    def clock() -> float:
        times.append(0.0)
        return 0.0

    guard = Guard(TRUST, path, clock=clock)
    async with sim.serve() as url:
        permit = await authorized(url, 1)
        judging = asyncio.create_task(guard.check(permit, CONTEXT))  # not even a file yet
        await until(lambda: len(times) > 3)  # it has looked, and looks again
        assert not judging.done()
        await follow(url, path)
        verdict = await judging
    assert verdict.permitted
    assert verdict.head.size == sim.size


async def test_denies_when_the_replica_stays_behind(tmp_path: Path) -> None:
    sim, path = LogSim(), tmp_path / "replica.db"
    seconds = itertools.count(step=6)
    guard = Guard(TRUST, path, catch_up=10.0, clock=lambda: float(next(seconds)))
    async with sim.serve() as url:
        permit = await authorized(url, 1)
        with pytest.raises(Denied) as caught:  # no replica at all
            await guard.check(permit, CONTEXT)
        assert caught.value.codes == ("governance_mesh_discontinuity",)
        await follow(url, path)
        late = await authorized(url, 2)
        with pytest.raises(Denied) as caught:
            await guard.check(late, CONTEXT)
    assert "governance_mesh_discontinuity" in caught.value.codes
    assert caught.value.index == late.index


async def test_tells_every_reason(tmp_path: Path) -> None:
    sim, path = LogSim(), tmp_path / "replica.db"
    async with sim.serve() as url:
        permit = await authorized(url, 1)
        await follow(url, path)
    other = Context(now=logsim.NOW, action="write", resource=Entity("document", "7"))
    with pytest.raises(Denied) as caught:
        await Guard(TRUST, path).check(permit, other)
    assert caught.value.codes == (
        "authorization_discontinuity",
        "runtime_identity_mismatch",
        "policy_mismatch",
    )
    verdict = await Guard(TRUST, path).verdict(permit, other)
    assert not verdict.permitted


def test_without_a_replica_and_without_a_loop(tmp_path: Path) -> None:
    async def permit() -> Permit:
        async with LogSim().serve() as url:
            return await authorized(url, 1)

    given: Any = {"policy": POLICY, "require_facts": False}
    found = asyncio.run(permit())
    assert Guard(Trust(**given)).check_blocking(found, CONTEXT).permitted

    def clock() -> float:
        raise AssertionError("without a replica there is nothing to wait for")

    with pytest.raises(Denied):
        Guard(TRUST, clock=clock).check_blocking(found, CONTEXT)


async def test_compares_the_arguments_that_the_runtime_wants(tmp_path: Path) -> None:
    sim, path = LogSim(), tmp_path / "replica.db"
    wanted = {"to": "ada", "amount": 100}
    guard = Guard(TRUST, path)
    async with sim.serve() as url:
        async with Gateway(url, GATEWAY_SIGNER, policy=POLICY, keep="log") as gateway:
            asked = request("sub", "read", ("document", "7")) | {"context": {"arguments": wanted}}
            stated = replace(decision(1), request=asked)
            withheld = await gateway.authorize(stated)
        await follow(url, path)
    shown = withheld.disclose(["/request/context"])
    verdict = await guard.check(shown, replace_context(arguments=wanted))
    assert verdict.withholding.disclosed == ("/request/context",)
    for permit, arguments in ((shown, {**wanted, "amount": 101}), (withheld, wanted)):
        with pytest.raises(Denied, match="arguments: expected /request/context") as denied:
            await guard.check(permit, replace_context(arguments=arguments))
        assert denied.value.codes == ("authorization_discontinuity",)
