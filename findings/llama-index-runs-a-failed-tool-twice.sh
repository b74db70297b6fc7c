#!/usr/bin/env bash
# A tool that raises is run a second time, and the result has one error.
#
# Packages: llama-index-core 0.14.25 (PyPI).
# Seen: a tool with one parameter, written as a class (BaseTool) or made of a query engine
#   (QueryEngineTool), is called once by `call_tool_with_selection`, the way of `llm.predict_and_call`. It
#   does its work and then raises TimeoutError. It has done the work twice, and the one ToolOutput says
#   "Encountered error: no answer". A FunctionTool with the same function runs once, and so does a tool of
#   two parameters.
# Not expected because: the second attempt is there for tools that want their argument by name, but any
#   exception starts it, of which most come after the call has been understood.
# For users: a payment or a message whose answer is late is made twice for one call of the model, and
#   neither the call, nor the output, nor the transcript shows it. Make tools of functions (FunctionTool),
#   give each effect an idempotency key, and count effects where they happen.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check llama-index-core==0.14.25
"$folder/venv/bin/python" - <<'PY'
import asyncio
import sys

from llama_index.core.llms.llm import ToolSelection
from llama_index.core.query_engine import CustomQueryEngine
from llama_index.core.tools import (
    BaseTool,
    FunctionTool,
    QueryEngineTool,
    ToolMetadata,
    acall_tool_with_selection,
    call_tool_with_selection,
)

ran = []


def pay(input: str) -> str:
    """Pay a bill."""
    ran.append(input)
    raise TimeoutError("no answer")


class Bill(BaseTool):
    """A tool as a class: its one parameter is `input`, as ToolMetadata has it without a schema."""

    metadata = ToolMetadata(name="pay", description="Pay a bill.")

    def __call__(self, input):
        return pay(input)


class Engine(CustomQueryEngine):
    def custom_query(self, query_str):
        return pay(query_str)


expected = {"class": 2, "query engine": 2, "function": 1}
tools = {
    "class": Bill(),
    "query engine": QueryEngineTool.from_defaults(Engine(), name="pay", description="Pay a bill."),
    "function": FunctionTool.from_defaults(pay),
}
for what, tool in tools.items():
    call = ToolSelection(tool_id="call_1", tool_name="pay", tool_kwargs={"input": "bill 7"})
    for way in ("sync", "async"):
        ran.clear()
        if way == "sync":
            output = call_tool_with_selection(call, [tool])
        else:
            output = asyncio.run(acall_tool_with_selection(call, [tool]))
        print(f"{what}, {way}: one call, ran {ran}, output {output.content!r}, is_error {output.is_error}")
        if ran != ["bill 7"] * expected[what] or not output.is_error:
            sys.exit("changed: a tool that raised runs as often as it is called")
PY
