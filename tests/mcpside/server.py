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

from mcp import types
from pydantic import BaseModel
from resumable import Events

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


class Who(BaseModel):
    name: str


def add_tools(server: Any, context: Any) -> None:
    def tool(function: Any) -> None:
        function.__annotations__["ctx"] = context
        server.tool()(function)

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

    @tool
    async def steps(ctx: Any) -> str:
        for step in (1, 2, 3):
            await ctx.report_progress(step, 3, f"step {step}")
        ran("steps")
        return "all steps"

    @tool
    async def stay(ctx: Any) -> str:
        await ctx.report_progress(1, 2, "here")
        ran("stay")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ran("cancelled")
            raise
        return "stayed"

    @tool
    async def greet(ctx: Any) -> Any:
        responses = ctx.input_responses
        if not responses:
            ran("greet asks")
            schema = {"type": "object", "properties": {"name": {"type": "string"}}}
            params = types.ElicitRequestFormParams(message="Who?", requested_schema=schema)
            more = {"request_state": "asked"} if ctx.request_state is None else {}
            return types.InputRequiredResult(
                input_requests={"who": types.ElicitRequest(params=params)}, **more
            )
        ran("greet")
        return f"hello {responses['who'].content['name']}"

    @tool
    async def elicit(ctx: Any) -> str:
        found = await ctx.elicit("Who?", Who)
        ran("elicit")
        return f"hello {found.data.name}"

    @tool
    async def think(ctx: Any) -> str:
        content = types.TextContent(type="text", text="why?")
        found = await ctx.session.create_message(
            messages=[types.SamplingMessage(role="user", content=content)],
            max_tokens=9,
            related_request_id=ctx.request_id,
        )
        ran("think")
        return str(found.content.text)

    @tool
    async def cut(ctx: Any) -> str:
        await ctx.close_sse_stream()
        await asyncio.sleep(0.2)
        ran("cut")
        return "after the cut"

    @server.resource("note://one")
    def note() -> str:
        """A note."""
        ran("note")
        return "a note"


def main() -> None:
    kind, *trusted = sys.argv[1:]
    server: Any
    if kind == "mcp":
        from mcp.server.mcpserver import Context, MCPServer

        server = MCPServer("tests")
        if trusted:
            server.middleware.append(PermitMiddleware(guard(*trusted), spiffe_id=SPIFFE))
    else:
        from fastmcp import Context, FastMCP
        from fastmcp.server.middleware.error_handling import ErrorHandlingMiddleware

        server = FastMCP("tests")
        if trusted:
            server.add_middleware(ErrorHandlingMiddleware())  # makes errors of what is raised
            server.add_middleware(fastmcp_middleware(guard(*trusted), spiffe_id=SPIFFE))
    add_tools(server, Context)
    if port := os.environ.get("PORT"):
        more = {"event_store": Events(), "retry_interval": 50} if kind == "mcp" else {}
        server.run(transport="streamable-http", host="127.0.0.1", port=int(port), **more)
    else:
        server.run(transport="stdio")


main()
