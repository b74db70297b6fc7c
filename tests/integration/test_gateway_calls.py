"""Calls of tools through a real log and its witnesses: permits, outcomes, audits, and no log."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from commands import online
from log_deployment import ORIGIN, Deployment, deployed
from muniment.errors import Denied
from muniment.gateway.gateway import Gateway
from muniment.gateway.process import ProcessGateway
from muniment.permit import Context, Trust, verify_permit
from muniment.records.kinds import Entity
from waiting import SECONDS, until

ARGUMENTS = {"to": "ada@mail.example", "cents": 2**60, "when": b"\0"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed(tmp_path_factory.mktemp("calls")) as made:
        yield made


def gateway_to(made: Deployment, path: Path, **options: Any) -> ProcessGateway:
    return ProcessGateway(
        made.url,
        made.signer,
        policy=made.policy,
        spools=path / "spools",
        decide=lambda request: {"decision": request["resource"]["id"] == "send"},
        **options,
    )


async def audited(made: Deployment, path: Path) -> str:
    policy = made.folder / "log" / "witnesses.policy"
    where = ("--log", made.url, "--policy", str(policy), "--gateway", str(made.signer.vkey))
    result = await online("audit", *where, "--state", str(path / "state"))
    return result.stdout


async def test_permits_bind_the_arguments_and_the_audit_is_clean(
    made: Deployment, tmp_path: Path
) -> None:
    async with gateway_to(made, tmp_path, keep="log") as gateway:
        async with gateway.call(
            "send", ARGUMENTS, agent="Triage agent", ids={"call": "c-1"}, timeout=30
        ) as run:
            permit = run.permit.disclose(["/request/context/arguments"])
            run.result({"sent": 1})
        with pytest.raises(Denied, match="false"):
            async with gateway.call("erase", agent="Triage agent", timeout=30):
                raise AssertionError

        def in_thread() -> None:
            with gateway.call("send", agent="Triage agent", timeout=30) as inner:
                inner.not_run()

        await asyncio.gather(*[asyncio.to_thread(in_thread) for _ in range(4)])
    trust = Trust(
        policy=made.policy,
        require_artifact=False,
        require_binding=False,
        require_policy=False,
        require_facts=False,
        require_arguments=True,
    )
    wanted: dict[str, Any] = {
        "now": int(time.time()),
        "action": "call",
        "resource": Entity("tool", "send"),
        "execution": run.execution,
    }
    assert verify_permit(permit, Context(arguments=run.arguments, **wanted), trust).permitted
    other = Context(arguments={**run.arguments, "to": "eve"}, **wanted)
    assert verify_permit(permit, other, trust).codes == ("authorization_discontinuity",)
    told = await audited(made, tmp_path)
    assert "Verdict: clean" in told
    assert ORIGIN in told


async def test_a_log_that_is_killed_denies_and_comes_back(
    made: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # After the usual half a second, a call on a busy machine would ask the log again.
    monkeypatch.setattr("muniment.gateway.breaker.FIRST_PAUSE", SECONDS)
    config = made.config.read_text()
    made.config.write_text(config.replace("127.0.0.1:0", made.url.removeprefix("http://")))

    async def call(timeout: float = 30, once: str | None = None) -> None:  # noqa: ASYNC109
        async with gateway.call("send", agent="planner", timeout=timeout, once=once) as run:
            run.result(None)

    async with gateway_to(made, tmp_path) as gateway:
        await call(once="a")
        made.log.kill()
        with pytest.raises(Denied, match="no receipt"):
            await call(timeout=1)
        with pytest.raises(Denied, match="has been away") as caught:
            await call(timeout=1)
        assert "in the spool" in str(caught.value)
        await call(once="a")  # it has its permit
        made.start_log()
        inner = gateway.find()
        assert isinstance(inner, Gateway)
        await until(lambda: not inner.breaker.is_away)  # the batch of before has its answer
        await call()
    assert "Verdict: clean" in await audited(made, tmp_path)
