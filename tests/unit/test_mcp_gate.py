"""The gate between two ends in memory: what passes, what is held back, and what is refused."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_policy import Policy
from muniment.errors import SpoolFull
from muniment.gateway.outcomes import PendingOutcome
from muniment.permit.meta import META_KEY
from muniment_gateway.deciding.decisions import RequestDetails
from muniment_gateway.mcp.events import Events, EventTooLongError, data_of, with_data
from muniment_gateway.mcp.gate import McpGate, McpRules
from muniment_gateway.mcp.mapping import Caller, Declared
from muniment_gateway.mcp.messages import VERSION_KEY, encode, read_message
from muniment_gateway.mcp.passage import PassedMessage
from muniment_gateway.mcp.stdio import MessageLines, StdioGate
from waiting import SECONDS, close_writer

ALICE = Caller({"sub": "alice", "aud": "tests"})
PLAIN = McpRules()


class End:
    """One end of the gate, as a client or a server has it."""

    def __init__(self, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self.reader, self.writer = streams

    def say(self, value: object) -> None:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.writer.write(data + b"\n")

    async def hear(self) -> Any:
        async with asyncio.timeout(SECONDS):
            return json.loads(await self.reader.readline())


async def pair() -> tuple[Any, End]:
    ours, theirs = socket.socketpair()
    return (
        await asyncio.open_connection(sock=ours, limit=1 << 24),
        End(await asyncio.open_connection(sock=theirs, limit=1 << 24)),
    )


@asynccontextmanager
async def gated(policy: Policy, rules: McpRules = PLAIN) -> AsyncIterator[tuple[End, End]]:
    to_client, client = await pair()
    to_server, server = await pair()
    gate = StdioGate(
        McpGate(policy, policy, rules), ALICE, RequestDetails("alice", "mcp"), to_client, to_server
    )
    running = asyncio.create_task(gate.run())
    try:
        yield client, server
    finally:
        await close_writer(client.writer)
        try:
            async with asyncio.timeout(SECONDS):
                await running
        finally:
            for one in (to_client[1], to_server[1], server.writer):
                await close_writer(one)


def call(name: str, id_: Any = 1, **arguments: Any) -> dict[str, Any]:
    params = {"name": name, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": id_, "method": "tools/call", "params": params}


def result(id_: Any = 1, **members: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id_, "result": members}


async def test_an_allowed_call_has_its_permit_and_its_arguments_were_decided_on() -> None:
    policy = Policy()
    async with gated(policy) as (client, server):
        client.say(call("add", "7", a=2**70))
        heard = await server.hear()
        [permit] = heard["params"].pop("_meta")[META_KEY]["permits"]
        assert permit["permit"] == f"permit of {permit['execution']}"
        assert heard == call("add", "7", a=2**70)
        [asked] = policy.asked
        assert asked["context"]["arguments"] == {"a": {"$integer": str(2**70)}}
        assert asked["context"]["ids"] == {"call": "7"}
        server.say(result("7", content=[]))
        assert await client.hear() == result("7", content=[])
    assert policy.outcomes == ["completed"]


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"content": []}, "completed"),
        ({"content": [], "isError": True}, "failed"),
        ({"task": {"taskId": "t-1", "status": "working"}}, "unknown"),
        ({"resultType": "task", "taskId": "t-1", "status": "working"}, "unknown"),
    ],
)
async def test_how_a_call_ends_is_what_its_answer_says(said: dict[str, Any], status: str) -> None:
    policy = Policy()
    async with gated(policy) as (client, server):
        client.say(call("add"))
        await server.hear()
        server.say(result(**said))
        assert await client.hear() == result(**said)
    assert policy.outcomes == [status]


async def test_what_is_denied_is_answered_and_never_reaches_the_server() -> None:
    policy = Policy()
    async with gated(policy) as (client, server):
        client.say(call("deny"))
        assert (await client.hear())["result"]["isError"] is True
        client.say({"jsonrpc": "2.0", "id": 2, "method": "tools/explode"})
        assert (await client.hear())["error"]["code"] == -32001
        modern = {"_meta": {VERSION_KEY: "2026-07-28"}}
        client.say({"jsonrpc": "2.0", "id": 2, "method": "initialize", "params": modern})
        error = (await client.hear())["error"]
        assert error["code"] == -32601
        assert error["data"] == {META_KEY: {"codes": ["could_not_evaluate"]}}
        client.say({**call("add", 3), "params": {"name": "add", "arguments": [1]}})
        assert (await client.hear())["result"]["isError"] is True
        client.say(call("add", 4))
        assert (await server.hear())["id"] == 4
    assert [reason for _, reason in policy.refused] == [
        "method 'tools/explode': there is no mapping for it",
        "method 'initialize': there is no mapping for it",
        "params.arguments: expected an object",
    ]
    assert policy.outcomes == ["unknown"]  # of what passed; no room was taken for the other


@pytest.mark.parametrize(
    ("said", "code"),
    [(b"{", -32700), (b"[]", -32600), (b'{"jsonrpc":"1.0"}', -32600), (b"x" * (5 << 20), -32600)],
)
async def test_what_is_no_message_is_one_error_and_the_next_one_is_heard(
    said: bytes, code: int
) -> None:
    async with gated(Policy()) as (client, server):
        client.say(said)
        assert (await client.hear())["error"]["code"] == code
        client.say({"jsonrpc": "2.0", "id": 1, "method": "ping"})
        assert (await server.hear())["method"] == "ping"


@pytest.mark.parametrize("method", ["tools/call", "tools/explode", "initialize"])
async def test_a_request_without_an_id_does_not_pass_as_a_notification(method: str) -> None:
    """Libraries of JSON-RPC run a method all the same, and answer nothing."""
    policy = Policy()
    async with gated(policy) as (client, server):
        client.say({"jsonrpc": "2.0", "method": method, "params": {"name": "add"}})
        assert (await client.hear())["error"]["code"] == -32600
        client.say({"jsonrpc": "2.0", "method": "notifications/x"})
        assert (await server.hear())["method"] == "notifications/x"
    [(shown, reason)] = policy.refused
    assert (shown["action"]["name"], reason) == (method, f"method {method!r}: without an id")
    assert policy.asked == []


async def test_what_passes_anyway_passes_without_an_id_too() -> None:
    async with gated(Policy(), McpRules(passed=frozenset({"x/told"}))) as (client, server):
        for method in ("x/told", "ping"):
            client.say({"jsonrpc": "2.0", "method": method})
            assert (await server.hear())["method"] == method


async def test_a_cancellation_of_what_is_being_decided_is_held_back_with_it() -> None:
    policy = Policy()
    async with gated(policy) as (client, server):
        client.say(call("wait"))
        cancel = {"method": "notifications/cancelled", "params": {"requestId": 1}}
        client.say({"jsonrpc": "2.0", **cancel})
        client.say(call("add", 2))
        assert (await server.hear())["id"] == 2  # the cancellation was read before
        policy.go.set()
        # Of what runs already it goes on, and the late answer comes back.
        client.say({"jsonrpc": "2.0", **cancel, "params": {"requestId": 2}})
        assert (await server.hear())["params"] == {"requestId": 2}
        server.say({"jsonrpc": "2.0", "id": 2, "error": {"code": 0, "message": "cancelled"}})
        assert (await client.hear())["error"]["message"] == "cancelled"
    assert sorted(policy.outcomes) == ["not_run", "unknown"]


async def test_nothing_runs_whose_outcome_cannot_be_kept() -> None:
    class Full(Policy):
        async def begin_outcome(self, execution: str) -> PendingOutcome | None:
            raise SpoolFull("no room")

    policy = Full()
    async with gated(policy) as (client, server):
        client.say(call("add"))
        assert (await client.hear())["result"]["isError"] is True
        client.say({"jsonrpc": "2.0", "id": 2, "method": "ping"})
        assert (await server.hear())["method"] == "ping"
    assert [reason for _, reason in policy.refused] == ["no room"]
    assert policy.outcomes == []


async def test_room_that_comes_after_the_decision_is_waited_for() -> None:
    class Slow(Policy):
        async def begin_outcome(self, execution: str) -> PendingOutcome | None:
            await self.go.wait()
            return await super().begin_outcome(execution)

    policy = Slow()
    async with gated(policy) as (client, server):
        client.say(call("deny"))
        assert (await client.hear())["result"]["isError"] is True  # that waits for nothing
        client.say(call("add", 2))
        client.say({"jsonrpc": "2.0", "id": 3, "method": "ping"})
        assert (await server.hear())["method"] == "ping"
        policy.go.set()
        assert (await server.hear())["method"] == "tools/call"
    assert policy.outcomes == ["unknown"]


async def test_who_only_observes_is_answered_before_the_outcome_is_on_disk() -> None:
    class SlowEnd(Policy):
        async def begin_outcome(self, execution: str) -> PendingOutcome | None:
            outcome: Any = await super().begin_outcome(execution)
            policy, keep = self, outcome.keep

            async def keep_slowly(status: Any, **told: Any) -> None:
                await policy.go.wait()
                await keep(status, **told)

            outcome.keep = keep_slowly
            return outcome  # type: ignore[no-any-return]

    policy = SlowEnd()
    gate = McpGate(policy, policy, McpRules(answers_at_once=True))
    message = read_message(encode(call("add")))
    passage = await gate.judge(message, ALICE, RequestDetails("alice", "mcp"))
    assert isinstance(passage, PassedMessage)
    answer = read_message(encode(result(1)))
    assert await gate.answered(passage, answer) == answer.data
    closing = asyncio.create_task(gate.close())
    await asyncio.sleep(0)
    assert policy.outcomes == []
    policy.go.set()
    await closing
    assert policy.outcomes == ["completed"]


async def test_an_id_of_a_request_under_way_is_refused() -> None:
    policy = Policy()
    async with gated(policy) as (client, server):
        client.say(call("add", 1))
        await server.hear()
        client.say(call("other", 1))
        assert (await client.hear())["error"]["code"] == -32600
        client.say(call("other", "1"))
        assert (await server.hear())["id"] == "1"


async def test_the_answer_to_a_call_that_was_cancelled_is_not_taken_for_another_calls() -> None:
    """Else a client says how its next call of that id ends before the server has seen it."""
    policy = Policy()
    cancel = {"method": "notifications/cancelled", "params": {"requestId": 1}}
    async with gated(policy) as (client, server):
        client.say(call("add"))
        assert (await server.hear())["method"] == "tools/call"
        client.say({"jsonrpc": "2.0", **cancel})
        assert (await server.hear())["method"] == "notifications/cancelled"
        client.say(call("fails"))
        assert (await client.hear())["error"]["message"] == "id: that of a request under way"
        assert policy.outcomes == ["unknown"]
        server.say(result(content=[]))
        assert await client.hear() == result(content=[])
        client.say(call("fails"))
        assert (await server.hear())["params"]["name"] == "fails"
        server.say(result(content=[], isError=True))
        assert (await client.hear())["result"]["isError"] is True
    assert policy.outcomes == ["unknown", "failed"]


async def test_what_servers_send_passes_and_what_is_no_message_does_not() -> None:
    async with gated(Policy()) as (client, server):
        server.say(b"starting up")
        server.say(result(99))  # answers nobody
        asks = {"jsonrpc": "2.0", "id": 1, "method": "elicitation/create", "params": {}}
        progress = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"p": 1}}
        server.say(asks)
        server.say(progress)
        assert [await client.hear(), await client.hear()] == [asks, progress]
        client.say(result(1, action="accept"))
        assert await server.hear() == result(1, action="accept")


async def test_a_listing_is_filtered_and_teaches_mappings() -> None:
    policy = Policy()
    rules = McpRules(filters=True, declared=Declared())
    mapping = {"evaluation": {
        "action": {"name": "read"}, "resource": {"type": "file", "id": "$params.arguments.path"},
    }}  # fmt: skip
    tools = [
        {"name": "read", "inputSchema": {"x-authzen-mapping": mapping}},
        {"name": "deny", "inputSchema": {}},
    ]
    async with gated(policy, rules) as (client, server):
        client.say(call("read", 1, path="/a"))
        assert (await client.hear())["error"]["code"] == -32602
        client.say({"jsonrpc": "2.0", "id": 2, "method": "tools/list"})
        await server.hear()
        server.say(result(2, tools=tools))
        assert [one["name"] for one in (await client.hear())["result"]["tools"]] == ["read"]
        client.say(call("read", 3, path="/a"))
        await server.hear()
        assert policy.asked[-1]["resource"] == {"type": "file", "id": "/a"}
        client.say(call("read", 4, path="/deny"))
        assert (await client.hear())["result"]["isError"] is True


@given(st.lists(st.binary(max_size=12)), st.integers(1, 7))
async def test_lines_are_those_that_were_written_however_they_come(
    lines: list[bytes], size: int
) -> None:
    lines = [one.replace(b"\n", b"") for one in lines]
    data = b"".join(one + b"\n" for one in lines) + b"no end"
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    found = []
    read = MessageLines(reader, most=8)
    original = reader.read
    reader.read = lambda n=-1: original(size)  # type: ignore[method-assign]
    while True:
        try:
            found.append(await read.next())
        except EOFError:
            break
    wanted = [None if len(one) > 8 else one.strip() for one in lines]
    assert found == [one for one in wanted if one is None or one]


@given(st.lists(st.sampled_from([b"data: x\n", b"\n", b"id: 1\r\n", b"\r\n", b": ping\n", b"\r"])),
       st.integers(1, 9))  # fmt: skip
def test_events_pass_byte_for_byte(lines: list[bytes], size: int) -> None:
    stream = b"".join(lines)
    events = Events()
    passed = [
        one for at in range(0, len(stream), size) for one in events.feed(stream[at : at + size])
    ]
    assert b"".join(passed) + events.rest() == stream
    assert all(one.endswith((b"\n", b"\r")) for one in passed)


def test_an_event_has_its_data_and_may_get_others() -> None:
    event = b"event: message\r\nid: 7\r\ndata: a\r\ndata:b\r\n\r\n"
    assert data_of(event) == b"a\nb"
    assert with_data(event, b"c") == b"event: message\nid: 7\ndata: c\n\n"
    with pytest.raises(EventTooLongError):
        Events(most=8).feed(b"data: 123456")
