"""Calls that somebody else makes: one gateway for tasks and threads, on its loop and on others."""

import asyncio
import json
from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest

from bench import Bench, yes
from logsim import GATEWAY_SIGNER, POLICY
from muniment.errors import Denied
from muniment.gateway.gateway import Gateway
from muniment.gateway.runs import current_run
from muniment.gateway.valueform import canonical_form
from muniment.records.commitments import addendum

pytestmark = pytest.mark.usefixtures("fast_retries")

ARGUMENTS = {"to": "ada@mail.example", "cents": 2**60, "blob": b"\0", "tags": {"b", "a"}}


async def in_task(gateway: Any, value: Any = 1, **rules: Any) -> Any:
    async with gateway.call("send", **{"agent": "planner", "decide": yes, **rules}) as run:
        assert current_run() == run.execution
        return run.result(value)


def in_thread(gateway: Any, value: Any = 1, **rules: Any) -> Any:
    with gateway.call("send", **{"agent": "planner", "decide": yes, **rules}) as run:
        assert current_run() == run.execution
        return run.result(value)


async def blocks_its_loop(gateway: Any) -> None:
    in_thread(gateway, "d")


async def test_one_gateway_serves_tasks_threads_and_other_loops(bench: Bench) -> None:
    async with bench.opened():
        gateway = bench.gateway
        assert await in_task(gateway, "a") == "a"
        assert await asyncio.to_thread(in_thread, gateway, "b") == "b"
        assert await asyncio.to_thread(lambda: asyncio.run(in_task(gateway, "c"))) == "c"
        with pytest.raises(Denied):
            await asyncio.to_thread(
                lambda: asyncio.run(in_task(gateway, decide=lambda _: {"decision": False}))
            )
        if bench.kind == "event loop":
            with pytest.raises(Denied, match="would wait for itself"):
                in_thread(gateway)
        else:
            # In a loop of the caller's, which it blocks; the gateway's is another one.
            await asyncio.to_thread(lambda: asyncio.run(blocks_its_loop(gateway)))
        outcomes = await bench.outcomes()
    assert {one["status"] for one in outcomes} == {"completed"}
    assert len(outcomes) == 3 + (bench.kind == "threads")
    assert current_run() is None


async def test_the_decision_binds_the_arguments_and_has_the_ids(bench: Bench) -> None:
    asked: list[Any] = []

    def decide(request: Any) -> Any:
        asked.append(request)
        return {"decision": True}

    ids = {"call": "call_7", "session": UUID(int=1), "turn": 3, "user": None}
    async with bench.opened():
        await in_task(bench.gateway, {1, 2}, arguments=ARGUMENTS, ids=ids, decide=decide)
        [outcome] = await bench.outcomes()
    [decision] = bench.records("decision")
    form = canonical_form(ARGUMENTS)
    told = {"call": "call_7", "session": str(UUID(int=1)), "turn": "3"}
    assert asked[0]["context"] == {"arguments": form, "ids": told}
    assert decision["request"]["context"] == {"ids": told}
    assert decision["request"]["resource"] == {"type": "tool", "id": "send"}
    nonce = bench.inner.salts.nonce(decision["execution"], "inputs.arguments")
    digest = sha256(addendum(nonce, form)).hexdigest()
    assert decision["addenda"] == {"/request/context/arguments": digest}
    assert outcome["inputs"] == {"arguments": f"sha256:{digest}"}
    nonce = bench.inner.salts.nonce(decision["execution"], "outputs.result")
    assert outcome["outputs"]["result"] == (f"sha256:{sha256(addendum(nonce, [1, 2])).hexdigest()}")
    assert b"ada@" not in b"".join(bench.sim.entries)


async def test_a_gateway_that_withholds_keeps_the_arguments(bench: Bench) -> None:
    async with bench.opened(keep="gateway"):
        scope = bench.gateway.call(
            "send", ARGUMENTS, agent="planner", decide=yes, ids={"user": "ada"}
        )
        async with scope as run:
            shown = run.permit.disclose(["/request/context/arguments", "/request/context/ids"])
            assert shown.disclosed["/request/context/arguments"] == canonical_form(ARGUMENTS)
            run.result(None)
        [outcome] = await bench.outcomes()
    [decision] = bench.records("decision")
    assert "ids" not in decision["request"]["context"]
    digest = decision["addenda"]["/request/context/arguments"]
    assert outcome["inputs"] == {"arguments": f"sha256:{digest}"}


async def test_how_a_block_ends_is_how_the_run_ends(bench: Bench) -> None:
    async def run(say: str, error: type[BaseException] | None = None) -> None:
        async with bench.gateway.call("send", agent="planner", decide=yes) as one:
            if say:
                getattr(one, say)()
            if error is not None:
                raise error

    async with bench.opened():
        await run("")
        await run("not_run")
        await run("unknown")
        await run("failed")
        for error, say in ((KeyError, ""), (asyncio.CancelledError, ""), (KeyError, "not_run")):
            with pytest.raises(error):
                await run(say, error)
        async with bench.gateway.call("send", agent="planner", decide=yes) as one:
            one.result(object())
        outcomes = await bench.outcomes()
    assert [(one["status"], one.get("unbound")) for one in outcomes] == [
        ("completed", ["outputs.result"]),
        ("not_run", None),
        ("unknown", None),
        ("failed", None),
        ("failed", None),
        ("aborted", None),
        ("not_run", None),
        ("completed", ["outputs.result"]),
    ]


async def test_what_cannot_be_bound_or_changes_does_not_run(bench: Bench) -> None:
    arguments = {"to": ["ada"]}

    def change(_: Any) -> Any:
        arguments["to"].append("eve")
        return {"decision": True}

    deep: Any = 1
    for _ in range(70):
        deep = [deep]
    async with bench.opened():
        for given, rules, words in (
            (arguments, {"decide": change}, "changed between"),
            ({"to": object()}, {}, "to: object has no canonical JSON form"),
            ({"to": deep}, {}, "levels deep"),
        ):
            with pytest.raises(Denied, match=words):
                await in_task(bench.gateway, arguments=given, **rules)
        # A large one is no trouble, and neither is text that is no UTF-8.
        await in_task(bench.gateway, arguments={"content": "\udcff" + 70_000 * "x"})
        outcomes = await bench.outcomes()
    assert [one["status"] for one in outcomes] == ["aborted", "completed"]
    codes = [one["denial"]["codes"] for one in bench.records("decision") if "denial" in one]
    assert codes == [["authorization_discontinuity"]] * 2


async def test_a_denial_on_record_tells_nothing_of_the_arguments(bench: Bench) -> None:
    def fail(_: Any) -> Any:
        raise ValueError("no engine")

    async with bench.opened():
        with pytest.raises(Denied, match="no engine") as caught:
            await in_task(bench.gateway, arguments={"to": "ada@mail"}, decide=fail)
    assert caught.value.codes == ("could_not_evaluate",)
    [decision] = bench.records("decision")
    assert "arguments" not in json.dumps(decision["request"])
    note = decision["denial"]["reduced"]["request.context.arguments"]
    assert note["digest"].startswith("sha256:")
    assert b"ada@mail" not in b"".join(bench.sim.entries)


async def test_wrong_options_are_told_before_anything_is_decided(bench: Bench) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"colour": 1}, "unexpected argument 'colour'"),
        ({"ids": {"callId": "1"}}, "'callId' is none; the ids of a call are approval, call"),
        ({"ids": {"call": 1.5}}, "call: expected text, got float"),
        ({"decide": None}, "no policy engine"),
        ({"timeout": -1}, "timeout"),
    ]
    for given, words in cases:
        rules: dict[str, Any] = {"agent": "planner", "decide": yes, **given}
        with pytest.raises(TypeError, match=words):
            Gateway(bench.url, GATEWAY_SIGNER, policy=POLICY).call("send", **rules)
    gateway = Gateway(bench.url, GATEWAY_SIGNER, policy=POLICY, decide=yes)
    with pytest.raises(Denied, match="not open"):
        await in_task(gateway)


async def test_an_outcome_that_cannot_be_kept_costs_no_result(bench: Bench) -> None:
    async with bench.opened():
        async with bench.gateway.call("send", agent="planner", decide=yes) as run:
            run.result(1)
            await bench.on_loop(bench.inner.spool.close(drain=0))
        assert "closed" in str(run.lost)
