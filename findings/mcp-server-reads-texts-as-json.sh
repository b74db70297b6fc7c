#!/usr/bin/env bash
# A text argument that looks like JSON arrives at an MCP tool as something else, or is refused.
#
# Packages: mcp 2.3.0, 1.30.0 (PyPI); both behave alike.
# Seen: tools of the SDK's own server class, each with one argument that its listed schema lets be a
#   string, called with a string.
#     body: str | None         "null" arrives as None; '{"a": 1}' and '[1]' are refused: "Input should be a
#                              valid string", of a value that is one
#     body: list[str] | str    '["ada"]' arrives as a list
#     body: Any                '{"a": 1}' arrives as a dict
#     body: str                all of them arrive as they were sent
# Not expected because: the schema of `str | None` is {"anyOf": [string, null]}, and the call is valid by
#   it; and making an argument optional should not change what its values mean.
# For users: a mail body, a file's content or a comment that is JSON cannot be given to such a tool, and
#   the word "null" becomes "nothing was given". A gate in front decides on, and logs, the text; the
#   tool acts on what was parsed of it. Declare texts as `str` with a default "" where they may be JSON.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/server.py" <<'PY'
import sys
from typing import Any

try:
    from mcp.server.mcpserver import MCPServer
except ImportError:  # version 1 has it under its first name
    from mcp.server.fastmcp import FastMCP as MCPServer
server = MCPServer("notes")


@server.tool()
def optional(body: str | None = None) -> str:
    return repr(body)


@server.tool()
def either(body: list[str] | str) -> str:
    return repr(body)


@server.tool()
def anything(body: Any) -> str:
    return repr(body)


@server.tool()
def text(body: str) -> str:
    return repr(body)


server.run("stdio")
PY
cat >"$folder/client.py" <<'PY'
import asyncio
import sys

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

EXPECTED = [
    ("optional", "null", "None"),
    ("optional", '{"a": 1}', None),
    ("optional", "[1]", None),
    ("optional", "plain", "'plain'"),
    ("either", '["ada"]', "['ada']"),
    ("anything", '{"a": 1}', "{'a': 1}"),
    ("text", "null", "'null'"),
    ("text", '{"a": 1}', "'{\"a\": 1}'"),
]


async def main():
    server = StdioServerParameters(command=sys.executable, args=[sys.argv[1]])
    async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        for name, sent, wanted in EXPECTED:
            result = await session.call_tool(name, {"body": sent})
            seen = result.content[0].text
            refused = "Input should be a valid string" in seen
            print(f"{name}(body={sent!r}): {'refused, no valid string' if refused else 'the tool got ' + seen}")
            if refused != (wanted is None) or not refused and seen != wanted:
                sys.exit("changed: a text argument arrives in another way")


asyncio.run(main())
PY
for version in 2.3.0 1.30.0; do
  echo "mcp $version"
  python3 -m venv "$folder/$version"
  "$folder/$version/bin/pip" install -q --disable-pip-version-check "mcp==$version"
  timeout 60 "$folder/$version/bin/python" "$folder/client.py" "$folder/server.py" 2>"$folder/log" || {
    status=$?
    tail -n 1 "$folder/log"
    exit "$status"
  }
done
