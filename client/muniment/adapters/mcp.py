"""The tool's own side of MCP: a server that runs what has a permit, and nothing else.

    guard = Guard(Trust(policy=…, gateways=…), replica="replica.db")
    server = MCPServer("crm")                            # of the package `mcp`
    server.middleware.append(PermitMiddleware(guard))
    fast = FastMCP("crm")                                # of the package `fastmcp`
    fast.add_middleware(fastmcp_middleware(guard))

The gate (`muniment-gateway mcp`) puts the permit into a request's `_meta`. Here it is verified on
what the server received: the tool, its arguments, the run. Each permit is good for one request, and
for the one that brings what the tool has asked for (`input_required`).
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Final, Unpack

from msgspec import UNSET

from muniment.adapters.core import text_of
from muniment.adapters.permits import Permits, ServerContext, failing_closed
from muniment.adapters.used import unauthorized
from muniment.errors import Denied
from muniment.gateway.guard import Guard
from muniment.gateway.valueform import value_form
from muniment.permit.meta import META_KEY, read_meta
from muniment.records.kinds import Entity

GUARDED: Final[Mapping[str, tuple[str, str]]] = {
    "tools/call": ("tool", "name"),
    "resources/read": ("resource", "uri"),
    "prompts/get": ("prompt", "name"),
}
"""Methods that need a permit: the type of what they are about, and the parameter that names it."""

DENIED: Final = -32001
"""The JSON-RPC error of a denial, for methods whose results cannot say it."""

Scope = Callable[[str, Mapping[str, Any]], Sequence[tuple[str, Entity]]]
"""What a request asks for, by its method and parameters: action and resource of each permit."""


def default_scope(method: str, params: Mapping[str, Any]) -> Sequence[tuple[str, Entity]]:
    """The scope of COAZ's default mappings: one permit, the method on what it names."""
    kind, member = GUARDED[method]
    return [(method, Entity(kind, str(params.get(member))))]


class ToolSide:
    """Verifies the permits of one server's requests."""

    def __init__(
        self, guard: Guard, scope: Scope = default_scope, **known: Unpack[ServerContext]
    ) -> None:
        """Verifies by `guard`; `scope` says what tools' declared mappings ask for."""
        self._scope = scope
        self._permits = Permits(guard, known)

    async def check(
        self, method: str, params: Mapping[str, Any], meta: object
    ) -> Callable[[Any], None]:
        """Verifies the permits in a request's `_meta`, each for this once.

        What it returns is to be told the request's result: one that asks for input has it once
        more. Raises Denied if a permit is missing, was used, or is not for this; whatever goes
        wrong.
        """
        with failing_closed():
            executions = await self._check(method, params, meta)

        def told(result: Any) -> None:
            state = _asked(result)
            for execution in executions if state is not None else ():
                self._permits.used.ask(execution, state or "")

        return told

    async def _check(self, method: str, params: Mapping[str, Any], meta: object) -> tuple[str, ...]:
        travelling = read_meta(meta)
        wanted = self._scope(method, params)
        if not wanted or len(wanted) != len(travelling.permits):
            raise unauthorized(f"{len(travelling.permits)} permits where {len(wanted)} are needed")
        arguments: Any = UNSET
        if method == "tools/call":
            arguments = value_form(dict(params.get("arguments") or {}), "arguments").value
        now = int(time.time())
        state = params.get("requestState")
        brought = state if isinstance(state, str) else None
        if brought is None and params.get("inputResponses") is not None:
            brought = ""
        for (action, resource), permit, execution in zip(
            wanted, travelling.permits, travelling.executions, strict=True
        ):
            await self._permits.use(
                permit, execution, action, resource, arguments=arguments, now=now, state=brought
            )
        return travelling.executions


def _asked(result: Any) -> str | None:
    """The state of a result that asks for input, empty without one; None of all other results."""
    result = getattr(result, "input_required", result)  # FastMCP's
    if isinstance(result, Mapping):
        kind, state = result.get("resultType"), result.get("requestState")
    else:
        kind = getattr(result, "result_type", None)
        state = getattr(result, "request_state", None)
    if kind != "input_required":
        return None
    return state if isinstance(state, str) else ""


class PermitMiddleware:
    """A middleware for servers of the package `mcp`, which runs before anything of theirs."""

    def __init__(
        self, guard: Guard, scope: Scope = default_scope, **known: Unpack[ServerContext]
    ) -> None:
        """As `ToolSide`."""
        self._side = ToolSide(guard, scope, **known)

    async def __call__(self, ctx: Any, call_next: Callable[[Any], Awaitable[Any]]) -> Any:
        """Verifies a request of a method in GUARDED, and lets everything else pass."""
        if ctx.method not in GUARDED:
            return await call_next(ctx)
        params = ctx.params or {}
        try:
            told = await self._side.check(ctx.method, params, params.get("_meta"))
        except Denied as denied:
            if ctx.method != "tools/call":
                raise _mcp_error(denied) from denied
            return {
                "content": [{"type": "text", "text": text_of(denied)}],
                "isError": True,
                "resultType": "complete",
                "_meta": _codes_of(denied),
            }
        result = await call_next(ctx)
        told(result)
        return result


def fastmcp_middleware(
    guard: Guard, scope: Scope = default_scope, **known: Unpack[ServerContext]
) -> Any:
    """A middleware for servers of the package `fastmcp`; as `ToolSide`."""
    result_type: Any = import_module("fastmcp.tools.base").ToolResult
    base: Any = import_module("fastmcp.server.middleware").Middleware
    side = ToolSide(guard, scope, **known)

    async def check(method: str, params: dict[str, Any], context: Any) -> Callable[[Any], None]:
        own = context.fastmcp_context
        brought = {
            "requestState": getattr(own, "request_state", None),
            "inputResponses": getattr(own, "input_responses", None),
        }
        meta = getattr(getattr(own, "request_context", None), "meta", None)
        return await side.check(method, params | brought, meta)

    async def tell(told: Callable[[Any], None], running: Awaitable[Any]) -> Any:
        result = await running
        told(result)
        return result

    class FastMcpPermits(base):  # type: ignore[misc]  # its package need not be here
        """Verifies the permits of calls, reads and prompts."""

        async def on_call_tool(self, context: Any, call_next: Any) -> Any:
            message = context.message
            params = {"name": message.name, "arguments": message.arguments or {}}
            try:
                told = await check("tools/call", params, context)
            except (
                Denied
            ) as denied:  # raised, it is a JSON-RPC error behind ErrorHandlingMiddleware
                text, meta = text_of(denied), _codes_of(denied)
                return result_type(content=text, meta=meta, is_error=True)
            return await tell(told, call_next(context))

        async def on_read_resource(self, context: Any, call_next: Any) -> Any:
            try:
                uri = str(context.message.uri)
                told = await check("resources/read", {"uri": uri}, context)
            except Denied as denied:
                raise _mcp_error(denied) from denied
            return await tell(told, call_next(context))

        async def on_get_prompt(self, context: Any, call_next: Any) -> Any:
            try:
                told = await check("prompts/get", {"name": context.message.name}, context)
            except Denied as denied:
                raise _mcp_error(denied) from denied
            return await tell(told, call_next(context))

    return FastMcpPermits()


def _mcp_error(denied: Denied) -> Exception:
    error: Exception = import_module("mcp.shared.exceptions").MCPError(
        DENIED, text_of(denied), _codes_of(denied)
    )
    return error


def _codes_of(denied: Denied) -> dict[str, Any]:
    return {META_KEY: {"codes": list(denied.codes)}}
