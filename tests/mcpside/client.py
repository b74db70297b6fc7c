# pyright: reportMissingImports=false
"""An MCP client of tests: reads steps as JSON from stdin, prints what each gave as JSON.

``{"command": [...]} | {"url": ..., "headers": {...}}, "mode": "auto"|"legacy", "steps": [...]``;
a step is ``["call", tool, arguments, meta?]``, ``["read", uri]``, ``["prompt", name, arguments]``,
``["list"]``, ``["all"]`` (whatever can be listed), ``["progress", tool, arguments]`` or
``["cancel", tool, arguments]``, which cancels a call once it reports progress. Times in
milliseconds are in `took`. Whoever asks for input is told that the name is Ada.
"""

import asyncio
import json
import sys
import time
from typing import Any

import httpx2
from mcp import Client, StdioServerParameters, types
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
        if what == "prompt":
            prompt = await client.get_prompt(given[0], given[1])
            return {"text": prompt.messages[0].content.text}
        if what == "progress":
            heard: list[Any] = []

            async def hear(progress: float, total: float | None, message: str | None) -> None:
                heard.append([progress, total, message])

            result = await client.call_tool(*given, progress_callback=hear)
            return {"text": result.content[0].text, "heard": heard}
        if what == "cancel":
            return await cancel(client, *given)
        if what == "all":
            return await listings(client)
        if what == "together":
            return await asyncio.gather(*(step(client, *one) for one in given))
        listed = await client.list_tools()
        return [tool.name for tool in listed.tools]
    except MCPError as error:
        return {"error": error.error.code, "message": error.error.message}


async def cancel(client: Client, *given: Any) -> str:
    begun = asyncio.Event()

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        begun.set()

    call = asyncio.create_task(client.call_tool(*given, progress_callback=hear))
    await begun.wait()
    call.cancel()
    try:
        await call
    except asyncio.CancelledError:
        return "cancelled"
    return "ran"


async def listings(client: Client) -> dict[str, list[str]]:
    has = client.server_capabilities
    found = {"tools": [one.name for one in (await client.list_tools()).tools]}
    if has.resources is not None:
        found["resources"] = [str(one.uri) for one in (await client.list_resources()).resources]
    if has.prompts is not None:
        found["prompts"] = [one.name for one in (await client.list_prompts()).prompts]
    return found


async def answer(context: Any, params: Any) -> types.ElicitResult:
    return types.ElicitResult(action="accept", content={"name": "Ada"})


async def think(context: Any, params: Any) -> types.CreateMessageResult:
    said = types.TextContent(type="text", text="because")
    return types.CreateMessageResult(role="assistant", content=said, model="none")


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
    mode = asked.get("mode", "auto")
    async with Client(
        target, mode=mode, elicitation_callback=answer, sampling_callback=think
    ) as client:
        for one in asked["steps"]:
            began = time.perf_counter()
            found = await step(client, *one)
            out.append({"found": found, "took": 1000 * (time.perf_counter() - began)})
    json.dump(out, sys.stdout)


asyncio.run(main())
