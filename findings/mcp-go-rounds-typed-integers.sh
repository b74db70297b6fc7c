#!/usr/bin/env bash
# An MCP tool in Go that declares an int64 gets another integer than the client sent.
#
# Packages: github.com/modelcontextprotocol/go-sdk v1.8.0 (Go module), mcp 2.3.0 (PyPI) as its client.
# Seen: a tool made with mcp.AddTool takes struct{Account int64}; its listed schema says integer. Called with
#   9007199254740993 by the Python SDK, its handler has Account 9007199254740992, and 1795963552837345281
#   becomes 1795963552837345300. `Params.Arguments` of the same request has the digits as sent. Where
#   it returns struct{Account int64} with 9007199254740993, the client reads ...992, in the structured
#   content and in the text. The same tool in Python gets and gives the integers as they are. Known
#   to its maintainers as issue 1201, open in November 2026.
# Not expected because: in Go, JSON read into an int64 is exact, and a typed handler is the way to have it so;
#   between the wire and the handler lies a check against the schema that reads all numbers as doubles.
# For users: an id of 64 bits (snowflake, account, order) is decided on and logged as it was sent, and the tool
#   acts on a neighbour's. Send ids as text, or read `Params.Arguments` in the handler.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3 or Go.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
command -v go >/dev/null || { echo "skipped: Go is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export GOTOOLCHAIN=auto GOFLAGS=
mkdir "$folder/go"
cd "$folder/go"
cat >main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

type bill struct {
	Account int64 `json:"account"`
}

// read answers with what the typed handler has, and what the request has.
func read(_ context.Context, request *mcp.CallToolRequest, in bill) (*mcp.CallToolResult, any, error) {
	text := fmt.Sprintf("%d of %s", in.Account, request.Params.Arguments)
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}, nil, nil
}

func write(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, bill, error) {
	return nil, bill{Account: 9007199254740993}, nil
}

func main() {
	server := mcp.NewServer(&mcp.Implementation{Name: "bills", Version: "1"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "read"}, read)
	mcp.AddTool(server, &mcp.Tool{Name: "write"}, write)
	if err := server.Run(context.Background(), &mcp.StdioTransport{}); err != nil {
		log.Fatal(err)
	}
}
GO
go mod init example/bills 2>/dev/null
go get github.com/modelcontextprotocol/go-sdk/mcp@v1.8.0 2>/dev/null
go build -o "$folder/bills" .
cat >"$folder/bills.py" <<'PY'
from mcp.server.mcpserver import MCPServer

server = MCPServer("bills")


@server.tool(structured_output=False)
def read(account: int) -> str:
    return f"{account} of the arguments"


@server.tool()
def write() -> dict[str, int]:
    return {"account": 9007199254740993}


server.run("stdio")
PY
cat >"$folder/client.py" <<'PY'
import asyncio
import sys

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

GO, PYTHON = sys.argv[1:]
EXPECTED = {
    "Go": [(9007199254740993, 9007199254740992), (1795963552837345281, 1795963552837345300)],
    "Python": [(9007199254740993, 9007199254740993), (1795963552837345281, 1795963552837345281)],
}
SERVERS = {
    "Go": StdioServerParameters(command=GO),
    "Python": StdioServerParameters(command=sys.executable, args=[PYTHON]),
}


async def main():
    for language, server in SERVERS.items():
        async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
            await session.initialize()
            for sent, wanted in EXPECTED[language]:
                text = (await session.call_tool("read", {"account": sent})).content[0].text
                print(f"{language}: sent {sent}, the handler has {text}")
                if text.split()[0] != str(wanted) or language == "Go" and str(sent) not in text:
                    sys.exit("changed: an integer arrives in another way")
            written = (await session.call_tool("write", {})).structured_content["account"]
            print(f"{language}: returned 9007199254740993, the client has {written}")
            if written != EXPECTED[language][0][1]:
                sys.exit("changed: an integer is returned in another way")


asyncio.run(main())
PY
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check mcp==2.3.0
timeout 120 "$folder/venv/bin/python" "$folder/client.py" "$folder/bills" "$folder/bills.py" 2>"$folder/log" || {
  status=$?
  tail -n 3 "$folder/log"
  exit "$status"
}
