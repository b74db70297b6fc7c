# pyright: reportMissingImports=false
"""The Claude Agent SDK, for the kit: its own command line, and a scripted model on loopback."""

import contextlib
import inspect
import json
import tempfile
from collections.abc import AsyncIterator, Callable
from typing import Any

from aiohttp import web
from claude_agent_sdk import (
    AgentDefinition,
    ClaudeAgentOptions,
    HookMatcher,
    create_sdk_mcp_server,
    query,
    tool,
)
from kit import AGENT, Call, Script, Wanted, World

from muniment.adapters.claude_agent import governed
from muniment.adapters.core import Gate

PACKAGE = "claude-agent-sdk"
SERVER = "mcp__t__"
HELPER = "You are the helper of the tests."
USAGE = {"input_tokens": 1, "output_tokens": 1}


class Model:
    """Says what the scripts have, the helper's where its prompt is; notes what it reads."""

    def __init__(self, world: World, script: Script, helper: Script | None) -> None:
        self.world = world
        self.turns = {"": list(script), HELPER: list(helper or ())}

    def contents(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        for part in body["messages"][-1]["content"]:
            if isinstance(part, dict) and part.get("type") == "tool_result":
                found = part["content"]
                texts = [found] if isinstance(found, str) else [one["text"] for one in found]
                self.world.heard.append("".join(texts))
        turns = self.turns[HELPER if HELPER in json.dumps(body.get("system")) else ""]
        if not any(one["name"].startswith(SERVER) for one in body.get("tools", ())) or not turns:
            return [{"type": "text", "text": "done"}]
        return [
            {"type": "tool_use", "id": one.id, "name": name, "input": arguments}
            for one in turns.pop(0)
            for name, arguments in [named(one)]
        ]

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        contents = self.contents(body)
        message = {
            "id": "m", "type": "message", "role": "assistant", "model": body["model"],
            "content": [], "stop_reason": None, "stop_sequence": None, "usage": USAGE,
        }  # fmt: skip
        calls = contents[0]["type"] == "tool_use"
        reason = "tool_use" if calls else "end_turn"
        if not body.get("stream"):
            return web.json_response({**message, "content": contents, "stop_reason": reason})
        events: list[dict[str, Any]] = [{"type": "message_start", "message": message}]
        for index, content in enumerate(contents):
            if calls:
                block = {**content, "input": {}}
                said = json.dumps(content["input"])
                delta = {"type": "input_json_delta", "partial_json": said}
            else:
                block = {"type": "text", "text": ""}
                delta = {"type": "text_delta", "text": content["text"]}
            events += [
                {"type": "content_block_start", "index": index, "content_block": block},
                {"type": "content_block_delta", "index": index, "delta": delta},
                {"type": "content_block_stop", "index": index},
            ]
        end = {"stop_reason": reason, "stop_sequence": None}
        events += [
            {"type": "message_delta", "delta": end, "usage": USAGE},
            {"type": "message_stop"},
        ]
        text = "".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in events)
        return web.Response(text=text, content_type="text/event-stream")


def named(call: Call) -> tuple[str, dict[str, Any]]:
    if call.tool == "helper":
        prompt = str(call.arguments["input"])
        return "Agent", {"description": "help", "prompt": prompt, "subagent_type": "helper"}
    return SERVER + call.tool, dict(call.arguments)


@contextlib.asynccontextmanager
async def served(model: Model) -> AsyncIterator[str]:
    app = web.Application(client_max_size=2**26)
    app.router.add_post("/v1/messages", model.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def tool_of(function: Callable[..., Any]) -> Any:
    @tool(function.__name__, "A tool of the tests.", {"type": "object", "properties": {}})
    async def called(arguments: dict[str, Any]) -> dict[str, Any]:
        answer = function(**arguments)
        text = await answer if inspect.isawaitable(answer) else answer
        return {"content": [{"type": "text", "text": text}]}

    return called


async def play(gate: Gate, world: World, script: Script, wanted: Wanted) -> None:
    hooks: dict[Any, Any] = {}
    if wanted.edit is not None:

        async def edits(said: Any, *_: Any) -> Any:
            changed = {**said["tool_input"], **wanted.edit}
            answer = {"hookEventName": "PreToolUse", "updatedInput": changed}
            return {"hookSpecificOutput": answer}

        hooks["PreToolUse"] = [HookMatcher(hooks=[edits])]
    server = create_sdk_mcp_server(
        "t", tools=list(map(tool_of, (world.send, world.broken, world.hang)))
    )
    agents = {"helper": AgentDefinition(description="Helps.", prompt=HELPER)}
    async with served(Model(world, script, wanted.helper)) as url:
        with tempfile.TemporaryDirectory() as home:
            options = ClaudeAgentOptions(
                mcp_servers={"t": server},
                tools=["Agent"],
                agents=agents,
                model="claude-scripted",
                setting_sources=[],
                hooks=hooks,
                cwd=home,
                env={
                    "ANTHROPIC_BASE_URL": url,
                    "ANTHROPIC_API_KEY": "none",
                    "HOME": home,
                    "CLAUDE_CONFIG_DIR": home,
                    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
                },
            )
            async with governed(gate, options, AGENT) as ours:
                async for _ in query(prompt="go", options=ours):
                    pass
