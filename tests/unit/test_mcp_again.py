"""A request that brings what the server wanted to know goes on by the first permit."""

import json
from typing import Any

import pytest

from clocks import Clock
from mcp_policy import Policy
from muniment.adapters.used import Used
from muniment.errors import Denied
from muniment.permit.meta import META_KEY
from muniment_gateway.deciding.decisions import RequestDetails
from muniment_gateway.mcp.again import KEPT_SECONDS, MOST_KEPT
from muniment_gateway.mcp.gate import McpGate, McpRules
from muniment_gateway.mcp.mapping import DECLARED, Caller, Declared
from muniment_gateway.mcp.messages import VERSION_KEY, Message, encode, read_message
from muniment_gateway.mcp.passage import PassedMessage

ALICE = Caller({"sub": "alice", "aud": "tests"})
ANSWERS = {"user": {"action": "accept"}}


def call(arguments: Any = None, name: str = "ask", **params: Any) -> Message:
    params = {
        "name": name, "arguments": arguments or {}, "_meta": {VERSION_KEY: "2026-07-28"}, **params,
    }  # fmt: skip
    value = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return read_message(encode(value))


def answer(**result: Any) -> Message:
    return read_message(encode({"jsonrpc": "2.0", "id": 1, "result": result}))


def runs(passage: PassedMessage | bytes) -> list[str]:
    """The runs whose permits go on to the server."""
    assert isinstance(passage, PassedMessage)
    meta = json.loads(passage.data)["params"]["_meta"]
    return [one["execution"] for one in meta[META_KEY]["permits"]]


class Asked:
    """A gate whose server has asked for input in a first call."""

    def __init__(self, rules: McpRules | None = None) -> None:
        self.policy, self.clock = Policy(), Clock(1000.0)
        self.gate = McpGate(self.policy, self.policy, rules or McpRules(), self.clock)

    async def say(
        self, message: Message, caller: Caller = ALICE, client: str = "alice"
    ) -> PassedMessage | bytes:
        return await self.gate.judge(message, caller, RequestDetails(client, "mcp"))

    async def begin(self, state: Any = "s-1", message: Message | None = None) -> list[str]:
        first = await self.say(message or call())
        assert isinstance(first, PassedMessage)
        more = {} if state is None else {"requestState": state}
        asks = answer(resultType="input_required", inputRequests={}, **more)
        assert await self.gate.answered(first, asks) == asks.data
        assert self.policy.outcomes == []
        await first.end("unknown")  # as transports do: it changes nothing
        assert self.policy.outcomes == []
        return runs(first)


@pytest.mark.parametrize("state", ["s-1", None])
async def test_who_brings_what_was_asked_for_has_the_first_permit_and_one_outcome(
    state: str | None,
) -> None:
    asked = Asked()
    first = await asked.begin(state)
    brought = {"inputResponses": ANSWERS} | ({} if state is None else {"requestState": state})
    again = await asked.say(call(**brought))
    assert runs(again) == first
    assert isinstance(again, PassedMessage)
    passed = json.loads(again.data)["params"]
    assert {name: passed[name] for name in brought} == brought
    assert len(asked.policy.asked) == 1
    await asked.gate.answered(again, answer(content=[]))
    assert asked.policy.outcomes == ["completed"]


async def test_each_question_is_good_for_one_request() -> None:
    asked = Asked()
    first = await asked.begin()
    again = await asked.say(call(requestState="s-1"))
    assert runs(again) == first
    assert isinstance(again, PassedMessage)
    await asked.gate.answered(again, answer(resultType="input_required", requestState="s-2"))
    assert runs(await asked.say(call(requestState="s-2"))) == first
    assert len(asked.policy.asked) == 1
    for state in ("s-1", "s-2"):
        assert runs(await asked.say(call(requestState=state))) != first
    assert len(asked.policy.asked) == 3


@pytest.mark.parametrize(
    ("message", "caller", "client"),
    [
        (call({"to": "eve"}, requestState="s-1"), ALICE, "alice"),
        (call(name="other", requestState="s-1"), ALICE, "alice"),
        (call(requestState="s-2", inputResponses=ANSWERS), ALICE, "alice"),
        (call(inputResponses=ANSWERS), ALICE, "alice"),
        (call(), ALICE, "alice"),
        (call(requestState="s-1"), ALICE, "bob"),
        (call(requestState="s-1"), Caller({"sub": "bob", "aud": "tests"}), "alice"),
        (call(requestState="s-1"), Caller(ALICE.claims, "session"), "alice"),
        (call(requestState="s-1", _meta={}), ALICE, "alice"),
    ],
)
async def test_what_differs_is_decided_anew(message: Message, caller: Caller, client: str) -> None:
    asked = Asked()
    first = await asked.begin()
    assert runs(await asked.say(message, caller, client)) != first
    assert len(asked.policy.asked) == 2


async def test_a_mapping_that_looks_at_the_answers_is_asked_again() -> None:
    declared = Declared()
    template = {
        "action": {"name": "ask"},
        "resource": {"type": "tool", "id": "ask"},
        "context": {"answers": "$params.?inputResponses"},
    }
    schema = {DECLARED: {"evaluation": template}}
    declared.learn({"tools": [{"name": "ask", "inputSchema": schema}]})
    asked = Asked(McpRules(declared=declared))
    first = await asked.begin()
    assert runs(await asked.say(call(requestState="s-1", inputResponses=ANSWERS))) != first
    assert asked.policy.asked[1]["context"]["answers"] == ANSWERS


async def test_what_takes_too_long_is_decided_anew_and_its_end_is_unknown() -> None:
    asked = Asked()
    first = await asked.begin()
    asked.clock.now += KEPT_SECONDS
    assert runs(await asked.say(call(requestState="s-1"))) != first
    assert asked.policy.outcomes == ["unknown"]


async def test_of_too_many_the_oldest_is_decided_anew() -> None:
    asked = Asked()
    first = await asked.begin("s-0")
    for number in range(MOST_KEPT):
        await asked.begin(f"t-{number}")
    asked.policy.outcomes.clear()
    assert runs(await asked.say(call(requestState="s-0"))) != first
    assert asked.policy.outcomes == ["unknown"]
    assert len(asked.policy.asked) == MOST_KEPT + 2


async def test_permits_that_are_kept_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    each = len("permit of run-") + 24
    monkeypatch.setattr("muniment_gateway.mcp.again.MOST_BYTES", 3 * each)
    asked = Asked()
    runs_of = [await asked.begin(f"s-{number}") for number in range(4)]
    first, *_, last = [
        runs(await asked.say(call(requestState=f"s-{number}"))) for number in range(4)
    ]
    assert (first != runs_of[0], last == runs_of[3]) == (True, True)


async def test_a_gate_that_ends_says_that_nobody_saw_the_end() -> None:
    asked = Asked()
    await asked.begin()
    await asked.gate.close()
    assert asked.policy.outcomes == ["unknown"]


async def test_what_is_taken_back_after_it_has_asked_did_not_not_run() -> None:
    asked = Asked()
    await asked.begin()
    again = await asked.say(call(requestState="s-1"))
    assert isinstance(again, PassedMessage)
    await again.end("not_run")
    assert asked.policy.outcomes == ["unknown"]


async def test_a_denied_call_begins_nothing() -> None:
    asked = Asked()
    assert isinstance(await asked.say(call(name="deny")), bytes)
    assert isinstance(await asked.say(call(name="deny", requestState="s-1")), bytes)
    assert len(asked.policy.asked) == 2


class Permit:
    """As much of one as is looked at."""

    decision = None


def test_the_tool_takes_a_permit_once_more_for_what_it_asked() -> None:
    used: Any = Used()
    permit: Any = Permit()
    used.use("run-1", permit, 0)
    for state in (None, "", "s-1"):
        with pytest.raises(Denied, match="used already"):
            used.use("run-1", permit, 0, state)
    used.ask("run-1", "s-1")
    for state in (None, "", "s-2"):
        with pytest.raises(Denied, match="used already"):
            used.use("run-1", permit, 0, state)
    used.use("run-1", permit, 0, "s-1")
    with pytest.raises(Denied, match="used already"):
        used.use("run-1", permit, 0, "s-1")
