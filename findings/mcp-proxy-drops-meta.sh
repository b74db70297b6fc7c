#!/usr/bin/env bash
# A proxy of MCP hands on `_meta` of a tool call, and drops that of a resource or a prompt.
#
# Packages: mcp-proxy 0.13.0, mcp 1.30.0 (PyPI).
# Seen: tools/call, resources/read and prompts/get with {"example.com/permit": "x"} in `_meta`, sent straight to
#   a server on stdio: it gets all three. With `mcp-proxy --port … -- server` between them the tool call has
#   it, and the two others come without. And a JSON-RPC error with code -32001 and `data` arrives behind
#   the proxy as an ordinary result with `isError` and the message: its code and data are gone.
# Not expected because: the proxy changes the transport, and the call on which it is usually tried keeps
#   everything.
# For users: a permit, a trace id or a tenant in `_meta` works in the first test, for tools, and is missing
#   for resources and prompts: a server that insists on it refuses what was allowed. Whoever tells a
#   refusal by its code takes it for a failure of the tool. Put nothing that changes messages behind
#   what writes `_meta`, and have the server itself speak HTTP.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check mcp-proxy==0.13.0 mcp==1.30.0
cat >"$folder/server.py" <<'PY'
import asyncio
import sys

import mcp.types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import McpError

server = Server("records")


@server.list_tools()
async def list_tools():
    return [types.Tool(name=name, inputSchema={"type": "object"}) for name in ("read", "refused")]


@server.list_resources()
async def list_resources():
    return [types.Resource(name="record", uri="file:///record")]


@server.list_prompts()
async def list_prompts():
    return [types.Prompt(name="ask")]


def note(request):
    meta = request.params.meta.model_dump(exclude_none=True) if request.params.meta else None
    with open(sys.argv[1], "a") as file:
        file.write(f"{request.method} {meta}\n")


async def call_tool(request):
    note(request)
    if request.params.name == "refused":
        raise McpError(types.ErrorData(code=-32001, message="denied by policy", data={"evaluation": "7"}))
    return types.ServerResult(types.CallToolResult(content=[types.TextContent(type="text", text="done")]))


async def read_resource(request):
    note(request)
    text = types.TextResourceContents(uri=request.params.uri, text="done")
    return types.ServerResult(types.ReadResourceResult(contents=[text]))


async def get_prompt(request):
    note(request)
    return types.ServerResult(types.GetPromptResult(messages=[]))


server.request_handlers[types.CallToolRequest] = call_tool
server.request_handlers[types.ReadResourceRequest] = read_resource
server.request_handlers[types.GetPromptRequest] = get_prompt


async def main():
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


asyncio.run(main())
PY
cat >"$folder/client.py" <<'PY'
import asyncio
import socket
import subprocess
import sys
import time
from pathlib import Path

from mcp import ClientSession, McpError, StdioServerParameters, types
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamablehttp_client

folder = Path(sys.argv[1])
program = str(folder / "venv/bin/python")
META = {"_meta": {"example.com/permit": "x"}}
HAS, LACKS = "{'example.com/permit': 'x'}", "None"


async def ask(incoming, outgoing):
    call = types.CallToolRequestParams(name="read", arguments={}, **META)
    read = types.ReadResourceRequestParams(uri="file:///record", **META)
    prompt = types.GetPromptRequestParams(name="ask", **META)
    async with ClientSession(incoming, outgoing) as session:
        await session.initialize()
        for request, result in (
            (types.CallToolRequest(params=call), types.CallToolResult),
            (types.ReadResourceRequest(params=read), types.ReadResourceResult),
            (types.GetPromptRequest(params=prompt), types.GetPromptResult),
        ):
            await session.send_request(types.ClientRequest(request), result)
        refused = types.CallToolRequest(params=types.CallToolRequestParams(name="refused", arguments={}))
        try:
            answer = await session.send_request(types.ClientRequest(refused), types.CallToolResult)
            return f"a result, isError {answer.isError}, {answer.content[0].text!r}"
        except McpError as error:
            return f"an error, code {error.error.code}, data {error.error.data}"


async def ask_straight(seen):
    parameters = StdioServerParameters(command=program, args=[str(folder / "server.py"), str(seen)])
    async with stdio_client(parameters) as (incoming, outgoing):
        return await ask(incoming, outgoing)


async def ask_the_proxy(seen):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [folder / "venv/bin/mcp-proxy", "--port", str(port), "--", program, folder / "server.py", seen]
    proxy = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.2)
        async with streamablehttp_client(f"http://127.0.0.1:{port}/mcp") as (incoming, outgoing, _):
            return await ask(incoming, outgoing)
    finally:
        proxy.terminate()
        proxy.wait(30)


for what, run, others, refusal in (
    ("straight", ask_straight, HAS, "an error, code -32001, data {'evaluation': '7'}"),
    ("through mcp-proxy", ask_the_proxy, LACKS, "a result, isError True, 'denied by policy'"),
):
    seen = folder / what.replace(" ", "-")
    heard = asyncio.run(run(seen))
    lines = seen.read_text().splitlines()[:3]
    print(f"{what}: the server gets", *lines, f"and the client hears of a refusal: {heard}", sep="\n  ")
    wanted = [f"tools/call {HAS}", f"resources/read {others}", f"prompts/get {others}"]
    if lines != wanted or heard != refusal:
        sys.exit("changed: something else is handed on")
PY
"$folder/venv/bin/python" "$folder/client.py" "$folder"
