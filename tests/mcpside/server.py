# pyright: reportMissingImports=false
"""An MCP server of tests: ``server.py mcp|fastmcp [POLICY GATEWAY_VKEY]``; with a policy, guarded.

It runs in the environment of `scripts/mcp`, where muniment is installed too. What ran is appended
to the file in ``RAN``.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from muniment import Guard, Trust, parse_policy, parse_vkey
from muniment.adapters.mcp import PermitMiddleware, fastmcp_middleware

SPIFFE = "spiffe://tests/mcp"


def ran(what: str) -> None:
    with Path(os.environ["RAN"]).open("a") as file:
        file.write(f"{what}\n")


def guard(policy: str, vkey: str) -> Guard:
    return Guard(
        Trust(
            policy=parse_policy(Path(policy).read_bytes()),
            gateways=(parse_vkey(vkey),),
            approvers=tuple(map(parse_vkey, os.environ.get("APPROVERS", "").split())),
            require_policy=False,
            require_facts=False,
        )
    )


def add_tools(server: Any) -> None:
    @server.tool()
    def add(a: int, b: int) -> int:
        """Adds."""
        ran(f"add {a} {b}")
        return a + b

    @server.tool()
    def send(to: str) -> str:
        """Sends."""
        ran(f"send {to}")
        return f"sent to {to}"

    @server.tool()
    async def slow(seconds: float) -> str:
        """Sleeps."""
        ran("slow")
        await asyncio.sleep(seconds)
        return "done"

    @server.resource("note://one")
    def note() -> str:
        """A note."""
        ran("note")
        return "a note"


def main() -> None:
    kind, *trusted = sys.argv[1:]
    server: Any
    if kind == "mcp":
        from mcp.server.mcpserver import MCPServer

        server = MCPServer("tests")
        if trusted:
            server.middleware.append(PermitMiddleware(guard(*trusted), spiffe_id=SPIFFE))
    else:
        from fastmcp import FastMCP

        server = FastMCP("tests")
        if trusted:
            server.add_middleware(fastmcp_middleware(guard(*trusted), spiffe_id=SPIFFE))
    add_tools(server)
    if port := os.environ.get("PORT"):
        server.run(transport="streamable-http", host="127.0.0.1", port=int(port))
    else:
        server.run(transport="stdio")


main()
