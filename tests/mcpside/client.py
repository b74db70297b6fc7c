# pyright: reportMissingImports=false
"""An MCP client of tests: reads steps as JSON from stdin, prints what each gave as JSON.

``{"command": [...]} | {"url": ..., "headers": {...}}, "mode": "auto"|"legacy", "steps": [...]``;
a step is ``["call", tool, arguments, meta?]``, ``["read", uri]`` or ``["list"]``. Times in
milliseconds are in `took`.
"""

import asyncio
import json
import sys
import time
from typing import Any

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError


async def step(client: Client, what: str, *given: Any) -> Any:
    try:
        if what == "call":
            tool, arguments, *meta = given
            result = await client.call_tool(tool, arguments, meta=meta[0] if meta else None)
            return {
                "text": "".join(getattr(one, "text", "") for one in result.content),
                "isError": result.is_error,
                "meta": result.meta,
            }
        if what == "read":
            found = await client.read_resource(given[0])
            return {"text": found.contents[0].text}
        if what == "together":
            return await asyncio.gather(*(step(client, *one) for one in given))
        listed = await client.list_tools()
        return [tool.name for tool in listed.tools]
    except MCPError as error:
        return {"error": error.error.code, "message": error.error.message}


async def main() -> None:
    asked = json.load(sys.stdin)
    if "command" in asked:
        program, *args = asked["command"]
        target: Any = stdio_client(
            StdioServerParameters(command=program, args=args, env=asked.get("env"))
        )
    else:
        http = httpx2.AsyncClient(headers=asked.get("headers", {}), timeout=60)
        target = streamable_http_client(asked["url"], http_client=http)
    out = []
    async with Client(target, mode=asked.get("mode", "auto")) as client:
        for one in asked["steps"]:
            began = time.perf_counter()
            found = await step(client, *one)
            out.append({"found": found, "took": 1000 * (time.perf_counter() - began)})
    json.dump(out, sys.stdout)


asyncio.run(main())
