"""Governed calls that withhold: arguments, results and denials tell no secrets."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from bench import spooled
from logsim import GATEWAY_SIGNER, POLICY, LogSim, lacking_addenda, records_of
from muniment import Decision, Denied, sign_decision
from muniment.gateway import blocking
from muniment.gateway.governed import Call, governed
from muniment.permit import Permit
from muniment.records.addenda import ARGUMENTS
from muniment.records.api import parse_record
from muniment.records.commitments import read_addendum
from secretive import AGENT, PAIR, POINTERS, files_of, is_withheld, secretive, tells_secrets
from signing import ed25519

pytestmark = pytest.mark.usefixtures("fast_retries")


async def test_a_governed_call_withholds_arguments_and_result(tmp_path: Path) -> None:
    sim = LogSim()
    asked: list[Any] = []
    permits: list[tuple[Permit, Call]] = []

    def decide(request: Any) -> dict[str, Any]:
        asked.append(request)
        return secretive(request)

    def check(permit: Permit, call: Call) -> None:
        permits.append((permit, call))

    async with spooled(sim, tmp_path, keep="log") as gateway:

        @governed(gateway, decide=decide, subject=AGENT, check=check)
        async def send(to: str, *, text: str) -> dict[str, str]:
            return {"sent": "secret"}

        await send("ada", text="a secret")
        await gateway.spool.drained()
    assert not tells_secrets(sim)
    value = {"to": "ada", "text": "a secret"}
    assert asked[0]["context"] == {"arguments": value}  # the policy sees what is decided on
    [decision] = records_of(sim, "decision")
    [outcome] = records_of(sim, "outcome")
    assert set(decision["addenda"]) == (POINTERS - {"/request/context"}) | {ARGUMENTS}
    assert decision["request"]["context"] == {}
    # One addendum is that of the arguments, for decision and outcome alike.
    assert outcome["inputs"]["arguments"] == f"sha256:{decision['addenda'][ARGUMENTS]}"
    assert lacking_addenda(sim) == set()
    assert outcome["kept"] == "log"
    result = outcome["outputs"]["result"].removeprefix("sha256:")
    assert read_addendum(sim.addenda[result], "it") == {"sent": "secret"}
    [(permit, call)] = permits
    assert call.arguments == value
    assert permit.disclose([ARGUMENTS]).disclosed == {ARGUMENTS: value}
    assert b"secret" not in files_of(tmp_path)  # what was sent is wiped


async def test_arguments_stay_out_unless_they_are_withheld_as_a_whole(tmp_path: Path) -> None:
    sim = LogSim()
    patterns = ["/request/context/arguments/*", "/request/*/properties"]
    async with spooled(sim, tmp_path, withhold=patterns) as gateway:

        @governed(gateway, decide=lambda _: {"decision": True}, subject=AGENT)
        async def send(text: str) -> str:
            return "secret"

        await send("a secret")
        await gateway.spool.drained()
    [decision] = records_of(sim, "decision")
    assert "context" not in decision["request"]
    assert set(decision["addenda"]) == {"/request/subject/properties"}
    assert not tells_secrets(sim)
    assert len(sim.addenda) == 1  # arguments and results are committed to, as ever


async def test_complete_gets_what_is_logged_and_may_sign_it(tmp_path: Path) -> None:
    sim = LogSim()

    def complete(call: Call, members: dict[str, Any]) -> Decision:
        assert call.arguments == {"text": "secret"}
        assert "secret" not in json.dumps(members)
        typed = parse_record(json.dumps(members, sort_keys=True, separators=(",", ":")).encode())
        assert isinstance(typed, Decision)
        return sign_decision(typed, "pdp.example", ed25519("authority"))

    def meddle(call: Call, members: dict[str, Any]) -> dict[str, Any]:
        return {**members, "request": {**call.request, "context": {"arguments": "others"}}}

    async with spooled(sim, tmp_path, keep="log") as gateway:
        rules: dict[str, Any] = {"decide": secretive, "subject": AGENT}

        @governed(gateway, complete=complete, **rules)
        async def send(text: str) -> str:
            return text

        @governed(gateway, complete=meddle, **rules)
        async def other(text: str) -> str:
            raise AssertionError

        assert await send("secret") == "secret"
        with pytest.raises(Denied):
            await other("secret")
        await gateway.spool.drained()
    assert is_withheld(sim)


async def test_calls_that_do_not_run_tell_no_secrets_either(tmp_path: Path) -> None:
    sim = LogSim()

    def broken(_: Any) -> Any:
        raise RuntimeError("no engine")

    async with spooled(sim, tmp_path, keep="log") as gateway:
        for decide, check in (
            (broken, None),
            (lambda _: {"decision": False}, None),
            (secretive, lambda *_: 1 / 0),
        ):

            @governed(gateway, decide=decide, subject=AGENT, check=check)  # type: ignore[arg-type]
            async def send(text: Any) -> str:
                raise AssertionError

            with pytest.raises(Denied):
                await send("a secret")
            with pytest.raises(Denied):
                await send(lambda: "a secret")
        await gateway.spool.drained()
    assert len(records_of(sim, "decision")) == 6
    assert len(records_of(sim, "outcome")) == 1
    assert is_withheld(sim)


async def test_a_result_without_a_form_or_too_long(tmp_path: Path) -> None:
    sim = LogSim()
    async with spooled(sim, tmp_path, keep="log") as gateway:
        for result in (object(), "x" * 17_000_000):

            @governed(gateway, decide=secretive, subject=AGENT)
            async def send(result: Any = result) -> Any:
                return result

            await send()
        await gateway.spool.drained()
        other, long = records_of(sim, "outcome")
        assert other["unbound"] == ["outputs.result"]
        digest = long["outputs"]["result"]
        assert gateway.salts.commit(long["execution"], "outputs.result", "x" * 17_000_000) == digest
    assert lacking_addenda(sim) == {digest.removeprefix("sha256:")}


def test_threads_withhold_as_well(tmp_path: Path) -> None:
    sim = LogSim()

    def work(url: str) -> None:
        with blocking.Gateway(
            url, GATEWAY_SIGNER, policy=POLICY, spool=tmp_path / "spool", keep="log"
        ) as gateway:

            @governed(gateway, decide=secretive, subject=AGENT)
            def send(text: str) -> str:
                return "secret"

            assert send("a secret") == "secret"
            gateway.submit([PAIR])
            permit = gateway.authorize(PAIR)
            assert permit.disclose([*POINTERS]).withheld == ()
            gateway.put([PAIR])

    async def main() -> None:
        async with sim.serve() as url:
            await asyncio.to_thread(work, url)

    asyncio.run(main())
    assert len(records_of(sim, "decision")) == 4
    assert is_withheld(sim)
