#!/usr/bin/env bash
# Microsoft's Agent Framework keeps the reason of an MCP server's refusal from the model.
#
# Packages: agent-framework-core 1.23.0, mcp 2.3.0 (PyPI), and tenacity, which its MCP client lacks.
# Seen: an MCP tool answers a call with `isError: true` and the text "denied: ask for approval". What
#   the model is given as the call's result is "Error: Function failed.", and nothing else. A success
#   arrives as it is.
# Not expected because: MCP has isError results so that the model reads the text and mends its call;
#   the text is not an internal exception that could leak something.
# For users: an agent cannot tell a denial from a fault and tries again, or tries another way; the
#   audit shows a row of denials for one wish. The reason comes through with
#   `function_invocation_configuration={"include_detailed_errors": True}` on the chat client; a gate
#   that must be heard without it answers with an ordinary result that says "denied".
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check agent-framework-core==1.23.0 mcp==2.3.0 tenacity==9.2.1
cat >"$folder/server.py" <<'PY'
from mcp.server import MCPServer
from mcp.types import CallToolResult, TextContent

server = MCPServer("gate")


@server.tool()
def pay(allowed: bool) -> CallToolResult:
    """Pay."""
    text = "paid" if allowed else "denied: ask for approval"
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=not allowed)


server.run("stdio")
PY
"$folder/venv/bin/python" - "$folder" <<'PY'
import asyncio
import logging
import sys

from agent_framework import (
    Agent,
    BaseChatClient,
    ChatResponse,
    Content,
    FunctionInvocationLayer,
    MCPStdioTool,
    Message,
)

logging.disable(logging.CRITICAL)


class Model(FunctionInvocationLayer, BaseChatClient):
    """Calls `pay` once, and keeps what it is told."""

    def __init__(self, allowed, **options):
        super().__init__(**options)
        self.allowed = allowed
        self.heard = []

    def _inner_get_response(self, *, messages, **ignored):
        async def answer():
            self.heard += [str(part.result) for message in messages for part in message.contents if part.type == "function_result"]
            if self.heard:
                return ChatResponse(messages=[Message("assistant", ["done"])])
            call = Content.from_function_call(call_id="call-1", name="pay", arguments={"allowed": self.allowed})
            return ChatResponse(messages=[Message("assistant", [call])])

        return answer()


async def main():
    tool = MCPStdioTool("gate", command=sys.executable, args=[f"{sys.argv[1]}/server.py"], load_prompts=False)
    detailed = {"include_detailed_errors": True}
    async with tool:
        for allowed, configuration, told in ((True, None, True), (False, None, False), (False, detailed, True)):
            options = {"function_invocation_configuration": configuration} if configuration else {}
            model = Model(allowed, **options)
            await Agent(model, tools=[tool]).run("go")
            print("allowed" if allowed else "denied", configuration or "", "-> the model hears", model.heard)
            reason = "paid" if allowed else "ask for approval"
            if (reason in model.heard[0]) != told or (not told and model.heard != ["Error: Function failed."]):
                sys.exit("changed: the model is told otherwise")


asyncio.run(main())
PY
