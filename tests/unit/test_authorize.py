"""Authorizing: a permit for what a quorum has cosigned, a denial for everything else."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any, NoReturn

import pytest

from bench import gateway_of
from decisions import request
from logsim import GATEWAY_SIGNER, ORIGIN, POLICY, WITNESSES, LogSim, logged_records, records_of
from muniment.errors import Denied
from muniment.gateway.gateway import Gateway
from muniment.gateway.runs import current_run, run_edges, running
from muniment.permit import Context, ExpectedPolicy, Permit, Trust, parse_permit, verify_permit
from muniment.records.api import parse_record
from muniment.records.artifact import (
    Artifact,
    Attribution,
    PolicyRef,
    ResourceScope,
    Scope,
    Validity,
)
from muniment.records.kinds import Entity
from waiting import SECONDS, until

pytestmark = pytest.mark.usefixtures("fast_retries")

DIGEST = "sha256:" + "ab" * 32


def decision(number: int = 1, *, allow: bool = True, **members: Any) -> dict[str, Any]:
    return {
        "id": f"d-{number}",
        "execution": f"run-{number}",
        "request": request("sub", resource=("tool", "search")),
        "response": {"decision": allow},
        **members,
    }


async def denied(sim: LogSim, record: Any = None, **options: Any) -> Denied:
    async with gateway_of(sim, policy=POLICY, **options) as gateway:
        with pytest.raises(Denied) as caught:
            await gateway.authorize(decision() if record is None else record)
        await gateway.close(timeout=0)
    return caught.value


async def test_a_permit_verifies_offline_with_nothing_but_the_policy() -> None:
    sim = LogSim()
    artifact = Artifact(
        scope=Scope(actions=("call",), resources=(ResourceScope(type="tool", id="search"),)),
        policy=PolicyRef(id="main", revision="3", digest=DIGEST),
        validity=Validity(not_before=1_000_000_000, not_after=4_000_000_000),
        attribution=Attribution(authority="acme"),
    )
    members = json.loads(encode_of(artifact))
    async with gateway_of(sim, policy=POLICY) as gateway:
        permit = await gateway.authorize(
            decision(artifact=members), edges=run_edges("run-1", agent="sub", parent="plan")
        )
    again = parse_permit(permit.encode())
    assert again == permit
    context = Context(
        now=int(time.time()),
        action="call",
        resource=Entity("tool", "search"),
        execution="run-1",
        policy=ExpectedPolicy(id="main", revision="3"),
    )
    trust = Trust(policy=POLICY, require_binding=False, require_facts=False)
    assert verify_permit(again, context, trust).findings == ()
    kinds = [json.loads(entry)["kind"] for entry in logged_records(sim)]
    assert kinds == ["decision", "edge", "edge"]
    assert permit.index == 0


def encode_of(artifact: Artifact) -> bytes:
    import msgspec

    return msgspec.json.encode(artifact)


async def test_a_decision_of_false_is_logged_and_denied_with_its_codes() -> None:
    sim = LogSim()
    error = await denied(sim, decision(allow=False))
    assert error.codes == ("denied_by_policy",)
    assert error.index == 0
    assert parse_record(sim.entries[0]).id == "d-1"
    codes = ["policy_mismatch", "revoked_authorization"]
    error = await denied(sim, decision(2, allow=False, denial={"codes": codes}))
    assert error.codes == tuple(codes)
    assert error.index == 2


async def test_a_denial_that_cannot_be_logged_is_a_denial() -> None:
    sim = LogSim()
    sim.script.extend(["drop"] * 1000)
    error = await denied(sim, decision(allow=False), deadline=0.05)
    assert error.codes == ("denied_by_policy",)
    assert error.index is None
    assert "not recorded" in str(error)


async def test_without_a_policy_nothing_is_authorized() -> None:
    sim = LogSim()
    async with gateway_of(sim) as gateway:
        with pytest.raises(ValueError, match="without a policy"):
            await gateway.authorize(decision())
    assert sim.entries == []


MESH = ("governance_mesh_discontinuity",)
NONE = ("authorization_discontinuity",)


@pytest.mark.parametrize(
    ("script", "codes"),
    [
        (["drop"] * 1000, MESH),
        (["lose"] * 1000, MESH),
        ([(503, "overloaded")] * 1000, MESH),
        ([(403, "unknown-gateway")], NONE),
        ([(422, "bad-record", {"entry": 0})], NONE),
        ([(409, "stream-conflict", {"first": 0})], NONE),
        ([(409, "stream-gap", {"expected": 0})], NONE),
        (["garbage"] * 1000, MESH),
    ],
    ids=["gone", "lost", "busy", "unknown", "refused", "conflict", "gap", "garbage"],
)
async def test_whatever_the_log_does_instead_is_a_denial(
    script: list[object], codes: tuple[str, ...]
) -> None:
    sim = LogSim()
    sim.script.extend(script)
    deadline = 0.1 if codes == MESH else SECONDS  # what the log says for good is waited for
    assert (await denied(sim, deadline=deadline)).codes == codes


async def test_no_quorum_is_a_denial() -> None:
    sim = LogSim(witnesses=WITNESSES[:1])
    assert (await denied(sim)).codes == ("invalid_signature",)


async def test_not_published_in_time_is_a_denial() -> None:
    sim = LogSim(publishes=False)
    assert (await denied(sim, origin=ORIGIN)).codes == MESH


async def test_a_published_part_that_lies_is_a_denial(monkeypatch: pytest.MonkeyPatch) -> None:
    sim = LogSim()
    honest = sim.published

    def lie(receipt: dict[str, int]) -> dict[str, object]:
        part = honest(receipt)
        part["proofs"] = [["A" * 43 + "="] for _ in part["proofs"]]  # type: ignore[attr-defined]
        return part

    monkeypatch.setattr(sim, "published", lie)
    assert (await denied(sim)).codes == ("invalid_signature",)
    monkeypatch.setattr(sim, "published", lambda receipt: None)
    assert (await denied(sim, decision(2))).codes == MESH


async def test_what_is_no_decision_is_a_denial() -> None:
    sim = LogSim()
    outcome = {"kind": "outcome", "execution": "run-1", "status": "completed"}
    for record in (outcome, b"{}", {"request": 1}, b"no JSON", {**outcome, "request": {}}):
        assert (await denied(sim, record)).codes == NONE
    assert sim.entries == []


async def test_a_permit_is_not_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def again(_: bytes) -> NoReturn:
        raise AssertionError("the gateway has parsed it")

    monkeypatch.setattr("muniment.permit.permitfile.parse_record", again)
    async with gateway_of(LogSim(), policy=POLICY) as gateway:
        permit = await gateway.authorize(decision())
    assert permit.record == parse_record(permit.entry)


async def test_an_unexpected_error_is_a_denial(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> Permit:
        raise ZeroDivisionError

    monkeypatch.setattr("muniment.gateway.authorization.permit_of", broken)
    error = await denied(LogSim())
    assert error.codes == NONE
    assert isinstance(error.__cause__, ZeroDivisionError)


async def test_cancelling_gives_no_permit_and_is_not_swallowed() -> None:
    sim = LogSim(delay=lambda: 30.0)
    async with gateway_of(sim, policy=POLICY) as gateway:
        task = asyncio.create_task(gateway.authorize(decision()))
        await until(lambda: sim.posts > 0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await gateway.close(timeout=0)


async def test_a_closed_gateway_denies() -> None:
    sim = LogSim()
    async with sim.serve() as url:
        async with Gateway(url, GATEWAY_SIGNER, policy=POLICY) as gateway:
            pass
        with pytest.raises(Denied):
            await gateway.authorize(decision())


async def test_concurrent_authorizations_share_batches() -> None:
    sim = LogSim(delay=lambda: 0.01)
    async with gateway_of(sim, policy=POLICY) as gateway:
        permits = await asyncio.gather(*(gateway.authorize(decision(n)) for n in range(50)))
    assert sim.posts < 10
    assert [permit.decision.id for permit in permits if permit.decision] == [
        f"d-{n}" for n in range(50)
    ]
    for permit in permits:
        assert sim.entries[permit.index] == permit.entry


def test_the_current_run_nests() -> None:
    assert current_run() is None
    with running("a"):
        with running("b"):
            assert current_run() == "b"
        assert current_run() == "a"
    assert current_run() is None


def test_edges_of_a_run_are_records() -> None:
    edges = run_edges("r", decision="d", agent="a", parent="p", delegator="o")
    relations = [one["relation"] for one in edges]
    assert relations == ["authorized_by", "performed_by", "delegated_by", "triggered_by"]
    with pytest.raises(ValueError, match="delegator"):
        run_edges("r", delegator="o")


@pytest.mark.parametrize("how", ["late", "cancelled", "unverified"])
async def test_a_decision_that_may_be_logged_without_a_permit_has_an_outcome(
    tmp_path: Path, how: str
) -> None:
    sim = LogSim()
    if how == "unverified":
        sim.witnesses = ()
    async with gateway_of(sim, policy=POLICY, spool=tmp_path / "spool") as gateway:
        if how != "unverified":
            sim.script.extend(["lose", *["drop"] * 1000])
        asking = asyncio.create_task(gateway.authorize(decision(), timeout=0.2))
        if how == "cancelled":
            await until(lambda: bool(sim.entries))
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
        else:
            with pytest.raises(Denied):
                await asking
        sim.script.clear()
        await gateway.spool.drained()
    [outcome] = records_of(sim, "outcome")
    assert (outcome["execution"], outcome["status"]) == ("run-1", "aborted")
    assert outcome["denial"]["codes"] == {
        "late": ["governance_mesh_discontinuity"],
        "cancelled": ["authorization_discontinuity"],
        "unverified": ["invalid_signature"],
    }.get(how)


async def test_a_decision_that_no_run_or_no_log_has_leaves_no_outcome(tmp_path: Path) -> None:
    sim = LogSim()
    async with gateway_of(sim, policy=POLICY, spool=tmp_path / "spool") as gateway:
        sim.publishes = False
        for record in (decision(1, execution=None), decision(2, allow=False)):
            members = {name: value for name, value in record.items() if value is not None}
            with pytest.raises(Denied):
                await gateway.authorize(members)
        sim.script.append((422, "bad-record", {"entry": 0}))
        with pytest.raises(Denied):
            await gateway.authorize(decision(3))
        with pytest.raises(Denied):
            await gateway.authorize(decision(4), edges=[{"kind": "edge"}])
        await gateway.spool.drained()
    assert not records_of(sim, "outcome")
