# pyright: reportMissingImports=false
"""An MCP server with the tool `send`, for the kit; what ran is appended to a file: FILE."""

import json
import sys
from pathlib import Path

try:
    from mcp.server.mcpserver import MCPServer
except ImportError:  # version 1 of the SDK, which CrewAI holds
    from mcp.server.fastmcp import FastMCP as MCPServer

server = MCPServer("tests")


@server.tool()
def send(to: str, copies: int = 1) -> str:
    """Sends something to somebody."""
    with Path(sys.argv[1]).open("a") as file:
        file.write(json.dumps(["send", {"to": to, "copies": copies}]) + "\n")
    return f"sent to {to}"


server.run()
