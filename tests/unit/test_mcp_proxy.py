"""The gate on HTTP before a server that says what a test has it say: what passes is untouched."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from mcp_policy import Policy
from muniment.permit.meta import META_KEY
from muniment_gateway.mcp.gate import McpGate, McpRules
from muniment_gateway.mcp.mapping import Caller
from muniment_gateway.mcp.messages import VERSION_KEY, encode
from muniment_gateway.mcp.proxy import McpProxy
from muniment_gateway.mcp.unanswered import MOST

SESSION = "Mcp-Session-Id"
SAID = [
    b'{ "jsonrpc" : "2.0","id":1 , "result":{"b":1.0,"a":1e2,"t":"\\u00e9\\/","n":[ ]} }\n',
    b'{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"no"}}',
    b"no JSON at all",
    b"",
]
STREAM = (
    b": a comment\r\n\r\nid: 7\r\nevent: message\r\ndata: \r\n\r\nretry: 100\n\n"
    b'event: message\nid:8\ndata: {"jsonrpc":"2.0",\ndata:  "method":"notifications/progress"}\n\n'
    b'data: {"jsonrpc":"2.0","id":"s-1","method":"sampling/createMessage","params":{}}\n\n'
    b'unknown: x\ndata: { "jsonrpc" : "2.0", "id":1, "result":{"x":1.0} }\n\n'
)


class Server:
    """Answers with what it is given, and keeps what it was sent."""

    def __init__(self) -> None:
        self.status, self.kind, self.body = 200, "application/json", b"{}"
        self.heard: list[tuple[str, dict[str, str], bytes]] = []
        self.policy = Policy()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        heard = {name.lower(): value for name, value in request.headers.items()}
        self.heard.append((request.method, heard, await request.read()))
        headers = {"Content-Type": self.kind, SESSION: "session-1", "X-Else": "stays here"}
        if "event-stream" not in self.kind:
            return web.Response(status=self.status, body=self.body, headers=headers)
        sent = web.StreamResponse(status=self.status, headers=headers)
        await sent.prepare(request)
        for at in range(0, len(self.body), 11):
            await sent.write(self.body[at : at + 11])
        return sent


@asynccontextmanager
async def proxied(
    server: Server, rules: McpRules | None = None
) -> AsyncIterator[tuple[McpProxy, aiohttp.ClientSession]]:
    """A gate before the server, and a client of it."""
    upstream = web.Application()
    upstream.router.add_route("*", "/mcp", server.handle)
    async with TestServer(upstream) as there, aiohttp.ClientSession() as http:
        hosts: set[str] = set()
        proxy = McpProxy(
            McpGate(server.policy, server.policy, rules or McpRules()),
            str(there.make_url("/mcp")),
            http,
            named=lambda request: request.headers.get("Authorization", "alice"),
            caller=lambda client: Caller({"sub": client, "aud": "tests"}),
            hosts=hosts,  # type: ignore[arg-type]  # known once it listens
            withheld=(),
        )
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", proxy.handle)
        async with (
            TestServer(app) as gate,
            aiohttp.ClientSession(gate.make_url("/"), auto_decompress=False) as client,
        ):
            hosts.add(f"{gate.host}:{gate.port}")
            yield proxy, client


def asked(method: str = "tools/call", id_: Any = 1, **params: Any) -> bytes:
    params = {"name": "add", "arguments": {}, **params} if method == "tools/call" else params
    return encode({"jsonrpc": "2.0", "id": id_, "method": method, "params": params})


async def post(
    client: aiohttp.ClientSession, body: bytes, **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    sent = {
        "Content-Type": "application/json",
        **{k.replace("_", "-"): v for k, v in headers.items()},
    }
    async with client.post("/mcp", data=body, headers=sent) as answer:
        return answer.status, await answer.read(), dict(answer.headers)


async def get(client: aiohttp.ClientSession, method: str = "GET", **headers: str) -> bytes:
    sent = {SESSION: "session-1", **headers}
    async with client.request(method, "/mcp", headers=sent) as answer:
        assert answer.status == 200
        return await answer.read()


@pytest.mark.parametrize("body", SAID)
@pytest.mark.parametrize("status", [200, 400, 404, 500])
async def test_an_answer_passes_byte_for_byte_with_its_status(body: bytes, status: int) -> None:
    server = Server()
    server.body, server.status = body, status
    async with proxied(server) as (_, client):
        found = await post(client, asked())
        assert found[:2] == (status, body)
        assert found[2][SESSION] == "session-1"
        assert "X-Else" not in found[2]


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_a_stream_passes_byte_for_byte(method: str) -> None:
    server = Server()
    async with proxied(server) as (_, client):
        await post(client, asked("initialize", protocolVersion="2025-11-25"))
        server.kind, server.body = "text/event-stream", STREAM
        if method == "POST":
            assert (await post(client, asked(), Mcp_Session_Id="session-1"))[1] == STREAM
            assert server.policy.outcomes == ["unknown", "completed"]
        else:
            assert await get(client, **{"Last-Event-ID": "6", "traceparent": "00-1"}) == STREAM
            _, headers, _ = server.heard[-1]
            assert (headers["last-event-id"], headers["traceparent"]) == ("6", "00-1")


async def test_a_request_goes_on_with_its_permit_and_nobodys_token() -> None:
    server = Server()
    async with proxied(server) as (_, client):
        body = asked(_meta={"progressToken": 7, "other": [1.5, None]}, arguments={"z": 1, "a": 2})
        await post(client, body, Authorization="alice", Cookie="c=1", Mcp_Param_Region="eu")
        _, headers, heard = server.heard[0]
        passed = json.loads(heard)
        permit = passed["params"]["_meta"].pop(META_KEY)
        assert [*permit] == ["permits"]
        assert encode(passed) == body
        assert headers["mcp-param-region"] == "eu"
        assert not headers.keys() & {"authorization", "cookie"}


async def test_a_body_is_for_the_server_in_the_encoding_that_it_was_decided_in() -> None:
    """Some servers read a body in the charset of its type, and the gate in UTF-8."""
    ping, server = b'{"jsonrpc":"2.0","id":1,"method":"ping"}', Server()
    async with proxied(server) as (_, client):
        for named in ("utf-7", '"UTF-16"', "latin1"):
            kind = {"Content_Type": f"application/json; charset={named}"}
            status, told, _ = await post(client, ping, **kind)
            assert (status, json.loads(told)["error"]["code"]) == (400, -32600)
        assert server.heard == []
        for kind in ("application/json; charset=utf-8", 'application/json;charset="UTF-8"; x=y'):
            await post(client, ping, Content_Type=kind)
    assert [(heard["content-type"], body) for _, heard, body in server.heard] == [
        ("application/json", ping)
    ] * 2


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
@pytest.mark.parametrize("mine", ["session-1", ""])
async def test_nobody_names_a_session_beside_their_own(method: str, mine: str) -> None:
    """What the gate looks at is the first; a server may take the last, or both."""
    server = Server()
    async with proxied(server) as (_, client):
        await post(client, asked("initialize", protocolVersion="2025-11-25"))
        server.heard.clear()
        sent = [(SESSION, mine), (SESSION, "session-2"), ("Content-Type", "application/json")]
        body = asked() if method == "POST" else None
        async with client.request(method, "/mcp", data=body, headers=sent) as answer:
            assert answer.status == 400
    assert server.heard == []


async def test_what_a_revision_does_not_know_is_not_found() -> None:
    server = Server()
    async with proxied(server) as (_, client):
        body = asked("tools/explode", _meta={VERSION_KEY: "2026-07-28"})
        headers = {"MCP_Protocol_Version": "2026-07-28", "Mcp_Method": "tools/explode"}
        status, told, _ = await post(client, body, **headers)
        assert (status, json.loads(told)["error"]["code"]) == (404, -32601)
        status, told, _ = await post(client, asked("tools/explode"))
        assert (status, json.loads(told)["error"]["code"]) == (200, -32001)
    assert server.heard == []
    assert [reason for _, reason in server.policy.refused] == [
        "method 'tools/explode': there is no mapping for it"
    ] * 2


CUT = b"id: 1\ndata: \n\n"
ANSWER = (
    b'id: 2\ndata: {"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"deny"},{"name":"add"}]}}\n\n'
)


async def _cut(server: Server, client: aiohttp.ClientSession, body: bytes | None = None) -> None:
    """A call whose stream ends before its answer."""
    await post(client, asked("initialize", protocolVersion="2025-11-25"))
    server.policy.outcomes.clear()
    server.kind, server.body = "text/event-stream", CUT
    await post(client, body or asked(), Mcp_Session_Id="session-1")
    assert server.policy.outcomes == []
    server.body = ANSWER


async def test_an_answer_on_another_stream_ends_the_call_once() -> None:
    server = Server()
    async with proxied(server) as (proxy, client):
        await _cut(server, client)
        assert await get(client) == ANSWER
        assert server.policy.outcomes == ["completed"]
        assert await get(client) == ANSWER
        await proxy.close()
    assert server.policy.outcomes == ["completed"]


@pytest.mark.parametrize("is_cancelled", [True, False])
async def test_an_id_is_taken_until_its_answer_came_on_whatever_stream(is_cancelled: bool) -> None:
    """Else a client says how its next call of that id ends before the server has seen it."""
    server = Server()
    async with proxied(server) as (_, client):
        await _cut(server, client)
        if is_cancelled:
            params = {"requestId": 1}
            told = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
            server.kind, server.body = "application/json", b""
            await post(client, encode(told), Mcp_Session_Id="session-1")
            server.kind, server.body = "text/event-stream", ANSWER
        sent = len(server.heard)
        status, told_twice, _ = await post(client, asked(), Mcp_Session_Id="session-1")
        assert (status, json.loads(told_twice)["error"]["code"]) == (400, -32600)
        assert len(server.heard) == sent
        assert await get(client) == ANSWER
        assert (await post(client, asked(), Mcp_Session_Id="session-1"))[0] == 200
    first = "unknown" if is_cancelled else "completed"
    assert server.policy.outcomes == [first, "completed"]


async def test_a_stream_that_cannot_be_resumed_ends_the_call() -> None:
    server = Server()
    async with proxied(server) as (_, client):
        await post(client, asked("initialize", protocolVersion="2025-11-25"))
        server.kind, server.body = "text/event-stream", b": nothing\n\n"
        await post(client, asked(), Mcp_Session_Id="session-1")
        assert server.policy.outcomes == ["unknown", "unknown"]


async def test_a_listing_is_filtered_on_any_stream_also_when_it_comes_again() -> None:
    server = Server()
    async with proxied(server, McpRules(filters=True)) as (_, client):
        await _cut(server, client, asked("tools/list"))
        for _ in range(2):
            shown = await get(client)
            assert b"add" in shown
            assert b"deny" not in shown
            assert shown.startswith(b"id: 2\n")


@pytest.mark.parametrize("how", ["cancelled", "deleted", "closed", "many"])
async def test_a_call_that_nobody_waits_for_has_an_end(how: str) -> None:
    server = Server()
    async with proxied(server) as (proxy, client):
        await _cut(server, client)
        server.kind, server.body = "application/json", b""
        if how == "cancelled":
            params = {"requestId": 1}
            told = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
            await post(client, encode(told), Mcp_Session_Id="session-1")
        elif how == "deleted":
            await get(client, "DELETE")
        elif how == "closed":
            await proxy.close()
        else:
            server.kind, server.body = "text/event-stream", CUT
            for id_ in range(2, MOST + 2):
                await post(client, asked(id_=id_), Mcp_Session_Id="session-1")
        assert server.policy.outcomes == ["unknown"]
