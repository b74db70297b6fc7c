"""Answers that leave nothing out, of a real log with witnesses: SDK and commands."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

import gateway_service
from commands import muniment, online
from decisions import request
from gateway_service import evaluation
from governed import RUNTIME, artifact, runtime
from log_deployment import ORIGIN, Deployment, deployed
from muniment import Context, Denied, Entity, Gateway, LogClient, Trust, refresh_status
from muniment.index.reader import IndexReader
from muniment.index.replica import Watched, follow_once
from muniment.index.replicafacts import ReplicaFacts
from muniment.permit import ExpectedPolicy, Permit, parse_permit, verify_permit
from muniment.records.artifact import Validity
from muniment.tlog.policy import format_policy

COMPLETE = "enabled = true\npace_seconds = 0.05\n"
RUNS = ("root", "plan", "call")
AGENTS = ("boss", "orch", "sub")


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed(tmp_path_factory.mktemp("deployment"), complete=COMPLETE) as made:
        yield made


def put(name: str, data: bytes) -> None:
    Path(name).write_bytes(data)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deployment: Deployment) -> Path:
    monkeypatch.chdir(tmp_path)
    put("policy", format_policy(deployment.policy))
    return tmp_path


def decision(run: str, agent: str) -> dict[str, Any]:
    now = int(time.time())
    return {
        "kind": "decision",
        "id": f"d-{run}",
        "request": request(agent, "read", ("document", "7")),
        "response": {"decision": True},
        "execution": run,
        "artifact": msgspec.to_builtins(
            artifact(validity=Validity(not_before=now - 60, not_after=now + 3600))
        ),
    }


def edges(name: str, number: int) -> list[dict[str, Any]]:
    def edge(relation: str, from_: tuple[str, str], to: tuple[str, str]) -> dict[str, Any]:
        ends = [dict(zip(("type", "id"), one, strict=True)) for one in (from_, to)]
        return {"kind": "edge", "relation": relation, "from": ends[0], "to": ends[1]}

    run, agent = ("run", f"{name}-{RUNS[number]}"), ("agent", AGENTS[number])
    found = [
        edge("authorized_by", run, ("decision", f"d-{run[1]}")),
        edge("performed_by", run, agent),
    ]
    if number:
        found.append(edge("triggered_by", run, ("run", f"{name}-{RUNS[number - 1]}")))
        found.append(edge("delegated_by", agent, ("agent", AGENTS[number - 1])))
    return found


async def chain(gateway: Gateway, name: str) -> Permit:
    """A run that descends from two others; the last one's permit, with its status."""
    permits = [
        await gateway.authorize(
            decision(f"{name}-{run}", AGENTS[number]),
            edges=edges(name, number),
            timeout=60,
            with_status=number == 2,
        )
        for number, run in enumerate(RUNS)
    ]
    return permits[-1]


def context(name: str) -> Context:
    return runtime(
        now=int(time.time()),
        execution=f"{name}-call",
        parent=f"{name}-plan",
        policy=ExpectedPolicy(id="main"),
    )


def revocation(run: str) -> dict[str, Any]:
    return {
        "kind": "revocation",
        "target": {"execution": run},
        "since": int(time.time()) - 5,
        "reason": "a drill",
    }


async def test_a_permit_with_a_status_is_judged_as_by_a_replica(
    deployment: Deployment, tmp_path: Path
) -> None:
    trust = Trust(policy=deployment.policy)
    async with Gateway(deployment.url, deployment.signer, policy=deployment.policy) as gateway:
        permit = parse_permit((await chain(gateway, "one")).encode())
        about = context("one")
        by_status = verify_permit(permit, about, trust)
        assert by_status.permitted, by_status.findings
        watched = Watched(deployment.url, deployment.policy, ORIGIN)
        await follow_once(watched, tmp_path / "replica", progress=lambda _done, _total: None)
        with IndexReader(tmp_path / "replica") as reader:
            facts = ReplicaFacts(reader)
            by_replica = verify_permit(permit, replace(about, facts=facts), trust)
        assert by_replica.findings == by_status.findings

        [receipt] = await gateway.submit([revocation("one-root")], published=True)
        assert verify_permit(permit, about, trust).permitted  # it knows of nothing newer
        async with LogClient(deployment.url) as log:
            for only_revocations in (False, True):
                size = 0
                fresh = permit
                while size <= receipt.index:
                    now = int(time.time())
                    fresh = await refresh_status(
                        fresh, log, trust, now=now, only_revocations=only_revocations
                    )
                    size = fresh.status[-1].log.checkpoint.size
                verdict = verify_permit(fresh, about, trust)
                assert verdict.codes == ("revoked_authorization",), verdict.findings


async def test_the_commands(deployment: Deployment, place: Path) -> None:
    asked = ("--log", deployment.url, "--policy", "policy")
    async with Gateway(deployment.url, deployment.signer, policy=deployment.policy) as gateway:
        permit = await chain(gateway, "two")
        put("call.permit", permit.with_status().encode())
        about = RUNTIME | {"execution": "two-call", "policy": {"id": "main"}}
        del about["now"]
        put("context.json", json.dumps(about).encode())
        judge = (
            "permit",
            "verify",
            "call.permit",
            "--policy",
            "policy",
            "--context",
            "context.json",
        )
        await online(*judge, code=2)
        said = (await online("permit", "refresh", "call.permit", *asked, "--json")).stdout
        assert json.loads(said)["index"] == permit.index
        assert "PERMITTED" in muniment(*judge).stdout
        said = (
            await online("permit", "refresh", "call.permit", *asked, "--only-revocations", "--json")
        ).stdout
        assert json.loads(said)["keys"] == 8
        assert "PERMITTED" in muniment(*judge, "--max-index-age", "3600").stdout

        trace = await online("lineage", "trace", "two-call", *asked, "--complete",
                             "--proof-out", "trace.complete")  # fmt: skip
        assert "run two-call: continuous" in trace.stdout
        assert "agent boss: no edge leads on from it as of size" in trace.stdout
        assert "run two-plan: no further edge exists beside #" in trace.stdout
        assert (
            "records about run two-root" in muniment("verify", "trace.complete", *asked[2:]).stdout
        )

        [receipt] = await gateway.submit([revocation("two-plan")], published=True)
        size = 0
        while size <= receipt.index:
            told = await online(
                "prove-complete", *asked, "--revocations-of", "run:two-plan", "--revocations-of",
                "decision:d-two-plan", "--thing", "agent:sub", "--subject", "agent:orch",
                "--execution", "two-plan", "--records", "--out", "plan.complete", "--json",
            )  # fmt: skip
            size = json.loads(told.stdout)["size"]
        words = muniment("verify", "plan.complete", "--policy", "policy").stdout
        stated = (
            f"This 1 is all revocations of run two-plan as of size {size}: leaf {receipt.index}."
        )
        assert stated in words
        assert f"There are no revocations of decision d-two-plan as of size {size}." in words
        await online("permit", "refresh", "call.permit", *asked)
        assert "DENIED: revoked_authorization" in muniment(*judge, code=4).stdout


def test_the_gateway_service_gives_permits_out_with_their_status(
    deployment: Deployment, tmp_path: Path
) -> None:
    """The gate and proxies hand on what it gives."""
    service = gateway_service.made(deployment, tmp_path / "gateway")
    with service.config.open("a") as config:
        config.write("\n[permit]\nstatus = true\n")
    with service.running():
        own = service.evaluate(evaluation())["context"]["muniment"]
    permit = parse_permit(own["permit"].encode())
    decision = permit.decision
    about = Context(
        now=int(time.time()),
        action="read",
        resource=Entity("record", "record-1"),
        execution=decision.execution,
    )
    trust = Trust(policy=deployment.policy, require_binding=False, require_policy=False)
    verdict = verify_permit(permit, about, trust)
    assert verdict.permitted, verdict.findings
    assert not verify_permit(permit.with_status(), about, trust).permitted


async def test_a_log_without_an_index_log(
    place: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with deployed(tmp_path_factory.mktemp("plain")) as plain:
        put("policy", format_policy(plain.policy))
        failed = await online(
            "prove-complete", "--log", plain.url, "--policy", "policy", "--execution", "x", "--out",
            "x.complete", code=6,
        )  # fmt: skip
        assert "index log" in failed.stderr
        async with Gateway(
            plain.url, plain.signer, policy=plain.policy, spool=place / "spool"
        ) as gateway:
            with pytest.raises(Denied) as denied:
                await gateway.authorize(decision("x", "sub"), with_status=True, timeout=30)
            assert denied.value.codes == ("governance_mesh_discontinuity",)
            assert "index log" in str(denied.value)
            permit = await gateway.authorize(decision("y", "sub"), timeout=30)
    verdict = verify_permit(permit, context("y"), Trust(policy=plain.policy))
    assert "governance_mesh_discontinuity" in verdict.codes
