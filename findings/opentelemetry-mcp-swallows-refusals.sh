#!/usr/bin/env bash
# Once MCP is traced, a refusal is no error any more: the client gets None for it.
#
# Packages: opentelemetry-instrumentation-mcp 0.62.4, mcp 1.30.0, opentelemetry-sdk 1.45.2 (PyPI).
# Seen: a server refuses tools/call and resources/read by a JSON-RPC error (code -32001, "denied by policy").
#   Without the instrumentation both raise McpError with code and message. After one line, McpInstrumentor()
#   .instrument(), read_resource and send_request give None, call_tool raises AttributeError ("'NoneType' object
#   has no attribute 'isError'"), and their spans alone have the message. A call that had no answer in time
#   raises that AttributeError too. A result with isError arrives as before.
# Not expected because: to be traced changes no behaviour, and what is wrapped "not to throw" is meant to keep
#   the tracer's own mistakes from the program; here the program's errors are what is kept.
# For users: whoever tells a denial by its code, or waits and asks again, finds no denial once somebody has
#   turned tracing on; a resource that may not be read reads as nothing. Refuse calls by an isError result,
#   and try what denies with the instrumentation that production has.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check \
  opentelemetry-instrumentation-mcp==0.62.4 opentelemetry-sdk==1.45.2 mcp==1.30.0
cat >"$folder/server.py" <<'PY'
import asyncio

import mcp.types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import McpError

server = Server("payments")
REFUSAL = types.ErrorData(code=-32001, message="denied by policy")


@server.list_tools()
async def list_tools():
    return [types.Tool(name="pay", inputSchema={"type": "object"})]


async def call_tool(request):
    if request.params.arguments == {"answer": "later"}:
        await asyncio.sleep(600)
    if request.params.arguments == {"refuse": "by a result"}:
        text = types.TextContent(type="text", text=REFUSAL.message)
        return types.ServerResult(types.CallToolResult(content=[text], isError=True))
    raise McpError(REFUSAL)


async def read_resource(request):
    raise McpError(REFUSAL)


server.request_handlers[types.CallToolRequest] = call_tool
server.request_handlers[types.ReadResourceRequest] = read_resource


async def main():
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


asyncio.run(main())
PY
cat >"$folder/client.py" <<'PY'
import asyncio
import sys
from datetime import timedelta

if sys.argv[2] == "traced":
    from opentelemetry import trace
    from opentelemetry.instrumentation.mcp import McpInstrumentor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    McpInstrumentor().instrument()

from mcp import ClientSession, StdioServerParameters, types
from mcp.client.stdio import stdio_client

EXPECTED = {
    "plain": {
        "call_tool": "McpError -32001: denied by policy",
        "read_resource": "McpError -32001: denied by policy",
        "send_request": "McpError -32001: denied by policy",
        "no answer in time": "McpError 408: Timed out while waiting for response to ClientRequest. Waited 1.0 seconds.",
        "an isError result": "isError True: denied by policy",
    },
    "traced": {
        "call_tool": "AttributeError: 'NoneType' object has no attribute 'isError'",
        "read_resource": "None",
        "send_request": "None",
        "no answer in time": "AttributeError: 'NoneType' object has no attribute 'isError'",
        "an isError result": "isError True: denied by policy",
    },
}


async def hear(asked):
    try:
        result = await asyncio.wait_for(asked, 30)
    except Exception as error:
        code = f" {error.error.code}" if hasattr(error, "error") else ""
        return f"{type(error).__name__}{code}: {error}"
    if isinstance(result, types.CallToolResult):
        return f"isError {result.isError}: {result.content[0].text}"
    return repr(result)


async def main():
    parameters = StdioServerParameters(command=sys.executable, args=[sys.argv[1]])
    async with stdio_client(parameters) as (incoming, outgoing), ClientSession(incoming, outgoing) as session:
        await session.initialize()
        await session.list_tools()
        call = types.CallToolRequest(params=types.CallToolRequestParams(name="pay", arguments={}))
        heard = {
            "call_tool": await hear(session.call_tool("pay", {})),
            "read_resource": await hear(session.read_resource("file:///ledger")),
            "send_request": await hear(session.send_request(types.ClientRequest(call), types.CallToolResult)),
            "no answer in time": await hear(session.call_tool("pay", {"answer": "later"}, timedelta(seconds=1))),
            "an isError result": await hear(session.call_tool("pay", {"refuse": "by a result"})),
        }
    for what, was in heard.items():
        print(f"{sys.argv[2]}: {what} gives {was}")
    if heard != EXPECTED[sys.argv[2]]:
        sys.exit("changed: a refusal is heard in another way")
    if sys.argv[2] == "traced":
        told = {span.name for span in spans.get_finished_spans() if span.status.description == "denied by policy"}
        print("spans with the message:", *sorted(told))
        if not {"pay.tool", "resources/read.mcp"} <= told:
            sys.exit("changed: the spans say something else")


asyncio.run(main())
PY
for how in plain traced; do
  timeout 120 "$folder/venv/bin/python" "$folder/client.py" "$folder/server.py" "$how" 2>"$folder/errors" || {
    status=$?
    tail -n 3 "$folder/errors"
    exit "$status"
  }
done
