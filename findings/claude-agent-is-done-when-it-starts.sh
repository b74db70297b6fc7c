#!/usr/bin/env bash
# The hook after a call reports a sub-agent's call as done before the sub-agent has done anything.
#
# Packages: claude-agent-sdk 0.2.189 (PyPI), whose wheel holds the command line 2.1.332 that it drives,
#   aiohttp 3.14.5, for a scripted model on loopback.
# Seen: the model calls the tool Agent, the sub-agent calls a tool `send`. Hooks, in their order:
#   PreToolUse Agent, SubagentStart, PostToolUse Agent, PreToolUse send, PostToolUse send (the last
#   two in the sub-agent). The model reads "Async agent launched successfully" at once.
# Not expected because: a call's PostToolUse is the place where its outcome is logged, with its result
#   and duration; for this tool both are those of the start. The definition of the agent has a
#   `background` that was not set.
# For users: an outcome "completed" of such a call says that an agent was started, nothing of how it
#   ended: that is SubagentStop. What ties the sub-agent's calls to the one that started it cannot be a
#   stack of calls that are going on: remember the start until SubagentStart names the agent.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3 or on other machines
#   than Linux x86-64 (the wheel is of 100 MB).
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
[ "$(uname -sm)" = "Linux x86_64" ] || { echo "skipped: needs Linux on x86-64"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check claude-agent-sdk==0.2.189 aiohttp==3.14.5
mkdir "$folder/home"
"$folder/venv/bin/python" - "$folder/home" <<'PY'
import asyncio
import json
import sys

from aiohttp import web
from claude_agent_sdk import (
    AgentDefinition,
    ClaudeAgentOptions,
    HookMatcher,
    create_sdk_mcp_server,
    query,
    tool,
)

PROMPT = "You are the helper of this script."
START = {"description": "help", "prompt": "help", "subagent_type": "helper"}
turns = {False: [("Agent", START)], True: [("mcp__t__send", {"to": "ada"})]}
seen = []


async def answer(request):
    """One answer of the scripted model, as a stream of events."""
    body = await request.json()
    mine = turns[PROMPT in json.dumps(body.get("system"))]
    if mine and any(one["name"].startswith("mcp__t__") for one in body.get("tools", ())):
        name, arguments = mine.pop(0)
        block = {"type": "tool_use", "id": f"call-{name}", "name": name, "input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(arguments)}
        reason = "tool_use"
    else:
        block, delta = {"type": "text", "text": ""}, {"type": "text_delta", "text": "done"}
        reason = "end_turn"
    usage = {"input_tokens": 1, "output_tokens": 1}
    message = {
        "id": "m", "type": "message", "role": "assistant", "model": body["model"], "content": [],
        "stop_reason": None, "stop_sequence": None, "usage": usage,
    }
    end = {"stop_reason": reason, "stop_sequence": None}
    events = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": end, "usage": usage},
        {"type": "message_stop"},
    ]
    text = "".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in events)
    return web.Response(text=text, content_type="text/event-stream")


async def note(said, *_):
    where = "sub-agent" if said.get("agent_id") else "main"
    seen.append(" ".join([said["hook_event_name"], said.get("tool_name", ""), "in", where]))
    return {}


@tool("send", "Sends.", {"to": str})
async def send(arguments):
    return {"content": [{"type": "text", "text": "sent"}]}


async def main(home):
    app = web.Application(client_max_size=2**26)
    app.router.add_post("/v1/messages", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    names = ("PreToolUse", "PostToolUse", "SubagentStart")
    options = ClaudeAgentOptions(
        mcp_servers={"t": create_sdk_mcp_server("t", tools=[send])},
        tools=["Agent"],
        allowed_tools=["Agent", "mcp__t__send"],
        agents={"helper": AgentDefinition(description="Helps.", prompt=PROMPT)},
        model="scripted",
        setting_sources=[],
        hooks={name: [HookMatcher(hooks=[note])] for name in names},
        cwd=home,
        env={
            "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{runner.addresses[0][1]}",
            "ANTHROPIC_API_KEY": "none",
            "HOME": home,
            "CLAUDE_CONFIG_DIR": home,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        },
    )
    async for _ in query(prompt="go", options=options):
        pass
    await runner.cleanup()


asyncio.run(main(sys.argv[1]))
print(*seen, sep="\n")
done, inner = "PostToolUse Agent in main", "PreToolUse mcp__t__send in sub-agent"
if done not in seen or inner not in seen or seen.index(done) > seen.index(inner):
    sys.exit("changed: the call of the agent is done once the agent is")
PY
