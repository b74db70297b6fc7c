#!/usr/bin/env bash
# A model is cut off within a call's arguments, and LangChain, if it streams, LlamaIndex and AgentScope run the call.
#
# Packages: langchain 1.5.2, langchain-core 1.8.3, langchain-openai 1.7.4; llama-index-core 0.14.25,
#   llama-index-llms-openai-like 0.8.1; agentscope 2.0.11 (PyPI).
# Seen: a server that speaks OpenAI's API answers with the call pay and the arguments `{"to": "ada", "amount": 15`,
#   and finish_reason "length": the limit of tokens came before the amount's end. LlamaIndex's and AgentScope's agents
#   close the text and pay 15, streaming or not. LangChain's agent pays 15 when the same agent is streamed, or its
#   model has streaming=True; when it is invoked, the call is among `invalid_tool_calls` and nothing runs. The model
#   is told "paid", nobody that anything was missing.
# Not expected because: a text that is no JSON is no call, the reason why it ended is in the answer, and whether an
#   agent streams is a matter of its user interface. OpenAI Agents 0.24.0 and Pydantic AI 2.68.0 run it in neither
#   way. LangChain was told of its part as issue 39275, which was closed in 2026.
# For users: a hook, a governed function and a record see the complete, valid arguments to=ada, amount=15, and
#   nothing tells them from what the model wanted. Before a tool is run, look at the message's finish_reason; let an
#   argument that counts be a text in a form of fixed length, or be followed by another that is required.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/model.py" <<'PY'
"""What the three agents have in common: the tool, and a model that runs out of tokens."""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

paid, told = [], []


def pay(to: str, amount: int) -> str:
    """Pay somebody.

    Args:
        to: Who is paid.
        amount: How much.
    """
    paid.append((to, amount))
    return "paid"


class Model(BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        told.extend(str(message["content"]) for message in asked["messages"] if message["role"] == "tool")
        message, reason = {"role": "assistant", "content": "done"}, "stop"
        if not told:
            function = {"name": "pay", "arguments": '{"to": "ada", "amount": 15'}
            call = {"index": 0, "id": "call-1", "type": "function", "function": function}
            message, reason = {"role": "assistant", "content": None, "tool_calls": [call]}, "length"
        answer = {"id": "answer-1", "created": 1, "model": "small"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        if asked.get("stream"):
            parts = [[{"index": 0, "delta": message}], [{"index": 0, "delta": {}, "finish_reason": reason}], []]
            events = [{**answer, "object": "chat.completion.chunk", "choices": choices} for choices in parts]
            events[-1]["usage"] = usage
            text = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
        else:
            choices = [{"index": 0, "message": message, "finish_reason": reason}]
            text = json.dumps({**answer, "object": "chat.completion", "choices": choices, "usage": usage})
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream" if asked.get("stream") else "application/json")
        self.end_headers()
        self.wfile.write(text.encode())


def check(name, streamed, expected):
    print(f"{name}, {'streamed' if streamed else 'at once'}: paid {paid}, the model is told {told}")
    if paid != expected:
        sys.exit(f"changed: expected {expected}")
    paid.clear()
    told.clear()


server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_address[1]}/v1"
PY
cat >"$folder/langchain_agent.py" <<'PY'
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from model import check, pay, url

agent = create_agent(ChatOpenAI(model="small", api_key="none", base_url=url), [pay])
question = {"messages": [("user", "Pay Ada 1500.")]}
agent.invoke(question)
check("LangChain", False, [])
list(agent.stream(question, stream_mode="messages"))
check("LangChain", True, [("ada", 15)])
create_agent(ChatOpenAI(model="small", api_key="none", base_url=url, streaming=True), [pay]).invoke(question)
check("LangChain, its model", True, [("ada", 15)])
PY
cat >"$folder/llama_index_agent.py" <<'PY'
import asyncio

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from model import check, pay, url


async def main():
    model = OpenAILike(
        model="small", api_key="none", api_base=url, is_chat_model=True, is_function_calling_model=True
    )
    for streamed in (False, True):
        await FunctionAgent(tools=[FunctionTool.from_defaults(pay)], llm=model, streaming=streamed).run("Pay Ada 1500.")
        check("LlamaIndex", streamed, [("ada", 15)])


asyncio.run(main())
PY
cat >"$folder/agentscope_agent.py" <<'PY'
import asyncio

from agentscope.agent import Agent
from agentscope.credential import OpenAICredential
from agentscope.message import UserMsg
from agentscope.model import OpenAIChatModel
from agentscope.permission import PermissionBehavior, PermissionDecision
from agentscope.tool import FunctionTool, Toolkit
from model import check, pay, url


async def main():
    allowed = PermissionDecision(behavior=PermissionBehavior.ALLOW, message="allowed")
    toolkit = Toolkit(tools=[FunctionTool(pay, permission=allowed)])
    for streamed in (False, True):
        credential = OpenAICredential(api_key="none", base_url=url)
        model = OpenAIChatModel(credential=credential, model="small", stream=streamed)
        agent = Agent(name="payer", system_prompt="You pay.", model=model, toolkit=toolkit)
        await agent.reply(UserMsg(name="Bob", content="Pay Ada 1500."))
        check("AgentScope", streamed, [("ada", 15)])


asyncio.run(main())
PY
# install PROGRAM PACKAGE... makes an environment for one of them.
install() {
  python3 -m venv "$folder/venv-$1"
  "$folder/venv-$1/bin/pip" install -q --no-compile --disable-pip-version-check "${@:2}"
}
install langchain_agent langchain==1.5.2 langchain-core==1.8.3 langchain-openai==1.7.4 &
installs=($!)
install llama_index_agent llama-index-core==0.14.25 llama-index-llms-openai-like==0.8.1 &
installs+=($!)
install agentscope_agent agentscope==2.0.11 &
installs+=($!)
for one in "${installs[@]}"; do wait "$one"; done
for program in langchain_agent llama_index_agent agentscope_agent; do
  timeout 120 "$folder/venv-$program/bin/python" "$folder/$program.py" 2>"$folder/errors" || {
    status=$?
    tail -n 3 "$folder/errors"
    exit "$status"
  }
done
