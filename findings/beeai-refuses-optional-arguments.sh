#!/usr/bin/env bash
# An MCP server in Go takes an optional text and a list of texts; BeeAI refuses both before they are sent.
#
# Packages: beeai-framework 0.1.85, mcp 1.30.0 (PyPI), github.com/modelcontextprotocol/go-sdk v1.8.0 (Go module).
# Seen: a tool in Go takes struct{To string; Cc *string; Tags []string}; the SDK lists the last two as ["null",
#   "string"] and ["null", "array"]. Straight, the server takes {"cc": "bob"} and {"tags": ["x"]}. BeeAI's
#   MCPTool refuses both ("Input should be a valid list", "Input should be None") and sends nothing; what
#   passes it is {"cc": [null]} and {"tags": [null]}, which the server refuses.
# Not expected because: a list of types means one of them, the model is shown the server's schema, and each of
#   these calls is what that schema says.
# For users: no agent can name a copy or a label, and one that follows the error's text sends what the tool does not
#   take: a row of failures that no policy denied. Declare such parameters of a Go tool without pointers,
#   lists by a schema of your own, or call the session instead of MCPTool.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3 or Go.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
command -v go >/dev/null || { echo "skipped: Go is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export GOTOOLCHAIN=auto GOFLAGS=
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check beeai-framework==0.1.85 mcp==1.30.0
mkdir "$folder/go"
cd "$folder/go"
cat >main.go <<'GO'
package main

import (
	"context"
	"log"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

type letter struct {
	To   string   `json:"to"`
	Cc   *string  `json:"cc,omitempty"`
	Tags []string `json:"tags,omitempty"`
}

// send answers with the arguments of the request.
func send(_ context.Context, request *mcp.CallToolRequest, _ letter) (*mcp.CallToolResult, any, error) {
	text := string(request.Params.Arguments)
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}, nil, nil
}

func main() {
	server := mcp.NewServer(&mcp.Implementation{Name: "letters", Version: "1"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "send", Description: "Send a letter."}, send)
	if err := server.Run(context.Background(), &mcp.StdioTransport{}); err != nil {
		log.Fatal(err)
	}
}
GO
go mod init example/letters 2>/dev/null
go get github.com/modelcontextprotocol/go-sdk/mcp@v1.8.0 2>/dev/null
go build -o "$folder/letters" .
cat >"$folder/run.py" <<'PY'
import asyncio
import json
import sys

from beeai_framework.tools.mcp import MCPTool
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

# arguments beside `to`, whether the server takes them, and what BeeAI says of them (none: it sends them)
CASES = [
    ({}, True, None),
    ({"cc": "bob"}, True, "Input should be a valid list"),
    ({"tags": ["x"]}, True, "Input should be None"),
    ({"cc": [None]}, False, None),
    ({"tags": [None]}, False, None),
]


async def main():
    async with stdio_client(StdioServerParameters(command=sys.argv[1])) as streams, ClientSession(*streams) as session:
        await session.initialize()
        listed = (await session.list_tools()).tools[0].inputSchema["properties"]
        print("the server lists", json.dumps(listed))
        [tool] = await MCPTool.from_session(session)
        for more, takes, expected in CASES:
            asked = {"to": "ada", **more}
            straight = await session.call_tool("send", asked)
            try:
                await tool.run(asked)
                said = None
            except Exception as error:
                said = str(error.__cause__ or error)
            refused = said is not None and "validation error" in said
            heard = said.splitlines()[2].strip() if refused else "sent"
            print(f"{asked}: the server {'refuses' if straight.isError else 'takes'} it, BeeAI: {heard[:60]}")
            if straight.isError == takes or refused != bool(expected) or expected and expected not in heard:
                sys.exit("changed: a call is refused for another reason, or not")


asyncio.run(main())
PY
timeout 120 "$folder/venv/bin/python" "$folder/run.py" "$folder/letters" 2>"$folder/errors" || {
  status=$?
  tail -n 3 "$folder/errors"
  exit "$status"
}
