# pyright: reportMissingImports=false
"""The server that MCP's conformance suite wants to find: ``everything.py PORT``.

Names and texts are those that the suite looks for; what they are about is in its scenarios.
"""

import asyncio
import base64
import json
import sys
from typing import Annotated, Any

from mcp import types
from mcp.server.mcpserver import Context, MCPServer, RequestStateSecurity
from mcp.server.mcpserver.prompts.base import Prompt, UserMessage
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel, Field, create_model
from resumable import Events

IMAGE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJ"
    "RU5ErkJggg=="
)
AUDIO = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA="

server: Any = MCPServer("everything", request_state_security=RequestStateSecurity(keys=[b"k" * 32]))


def text(value: str) -> types.TextContent:
    return types.TextContent(type="text", text=value)


def embedded(uri: str, kind: str, value: str) -> types.EmbeddedResource:
    inner = types.TextResourceContents(uri=uri, mime_type=kind, text=value)
    return types.EmbeddedResource(type="resource", resource=inner)


IMAGE_CONTENT = types.ImageContent(type="image", data=IMAGE, mime_type="image/png")


def says(name: str, *content: Any) -> None:
    """A tool that says the same always."""

    async def tool() -> list[Any]:
        return list(content)

    server.add_tool(tool, name=name, description=name, structured_output=False)


says("test_simple_text", text("This is a simple text response for testing."))
says("test_image_content", IMAGE_CONTENT)
says("test_audio_content", types.AudioContent(type="audio", data=AUDIO, mime_type="audio/wav"))
says(
    "test_embedded_resource",
    embedded("test://embedded-resource", "text/plain", "This is an embedded resource content."),
)
says(
    "test_multiple_content_types",
    text("Multiple content types test:"),
    IMAGE_CONTENT,
    embedded("test://mixed", "application/json", '{"test": "data", "value": 123}'),
)


@server.tool()
async def test_tool_with_logging(ctx: Context) -> str:
    for step in ("execution started", "processing data", "execution completed"):
        await ctx.info(f"Tool {step}")
        await asyncio.sleep(0.05)
    return "Tool with logging executed successfully"


@server.tool()
async def test_tool_with_progress(ctx: Context) -> str:
    for step in (0, 50, 100):
        await ctx.report_progress(step, 100, f"Completed step {step} of 100")
        await asyncio.sleep(0.05)
    return "done"


@server.tool()
async def test_sampling(prompt: str, ctx: Context) -> str:
    result = await ctx.session.create_message(
        messages=[types.SamplingMessage(role="user", content=text(prompt))],
        max_tokens=100,
        related_request_id=ctx.request_id,
    )
    return f"LLM response: {result.content.text}"


class Response(BaseModel):
    response: str = Field(description="User's response")


class Defaults(BaseModel):
    name: str = Field(default="John Doe", description="User name")
    age: int = Field(default=30, description="User age")
    score: float = Field(default=95.5, description="User score")
    status: str = Field(
        default="active", json_schema_extra={"enum": ["active", "inactive", "pending"]}
    )
    verified: bool = Field(default=True, description="Verification status")


def _titled(**titles: str) -> list[dict[str, str]]:
    return [{"const": name, "title": title} for name, title in titles.items()]


Choices = create_model(
    "Choices",
    untitledSingle=(str, Field(json_schema_extra={"enum": ["active", "inactive", "pending"]})),
    titledSingle=(str, Field(json_schema_extra={"oneOf": _titled(low="Low", high="High")})),
    untitledMulti=(
        list[str],
        Field(json_schema_extra={"items": {"type": "string", "enum": ["read", "write"]}}),
    ),
    titledMulti=(
        list[str],
        Field(json_schema_extra={"items": {"anyOf": _titled(feature="Feature", bug="Bug")}}),
    ),
    legacyEnum=(
        str,
        Field(json_schema_extra={"enum": ["small", "large"], "enumNames": ["Small", "Large"]}),
    ),
)


async def _elicited(ctx: Any, message: str, schema: Any, told: str) -> str:
    result = await ctx.elicit(message=message, schema=schema)
    content = result.data.model_dump_json() if result.action == "accept" else "{}"
    return f"{told}: action={result.action}, content={content}"


@server.tool()
async def test_elicitation(message: str, ctx: Context) -> str:
    return await _elicited(ctx, message, Response, "User response")


@server.tool()
async def test_elicitation_sep1034_defaults(ctx: Context) -> str:
    return await _elicited(ctx, "Please say", Defaults, "Elicitation result")


@server.tool()
async def test_elicitation_sep1330_enums(ctx: Context) -> str:
    return await _elicited(ctx, "Please select", Choices, "Elicitation completed")


@server.tool()
def test_error_handling() -> str:
    raise RuntimeError("This tool intentionally returns an error for testing")


Region = Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})]


@server.tool()
def test_x_mcp_header(region: Region = "<none>") -> str:  # noqa: PT028 - it is no test
    return f"region={region}"


@server.tool()
async def test_missing_capability(ctx: Context) -> str:
    known = ctx.session.client_capabilities
    if known is None or known.sampling is None:
        raise MCPError(
            types.MISSING_REQUIRED_CLIENT_CAPABILITY,
            "This tool requires the client 'sampling' capability",
            {"requiredCapabilities": {"sampling": {}}},
        )
    return "Client declared sampling capability; proceeding."


# What wants input, of revision 2026-07-28.


def ask(message: str, name: str = "name", kind: str = "string") -> types.ElicitRequest:
    schema = {"type": "object", "properties": {name: {"type": kind}}, "required": [name]}
    return types.ElicitRequest(
        params=types.ElicitRequestFormParams(message=message, requested_schema=schema)
    )


def sample(prompt: str) -> types.CreateMessageRequest:
    messages = [types.SamplingMessage(role="user", content=text(prompt))]
    return types.CreateMessageRequest(
        params=types.CreateMessageRequestParams(messages=messages, max_tokens=50)
    )


def answer(ctx: Any, name: str, member: str) -> Any:
    """What was answered; None when it was not asked for or not answered yet."""
    found = (ctx.input_responses or {}).get(name)
    content = getattr(found, "content", None)
    return content.get(member) if isinstance(content, dict) else getattr(content, member, None)


def wants(state: str | None = None, **requests: Any) -> types.InputRequiredResult:
    more = {} if state is None else {"request_state": state}
    return types.InputRequiredResult(input_requests=requests, **more)


Wants = str | types.InputRequiredResult


@server.tool()
async def test_input_required_result_elicitation(ctx: Context) -> Wants:
    name = answer(ctx, "user_name", "name")
    return f"Hello, {name}!" if name else wants(user_name=ask("What is your name?"))


@server.tool()
async def test_input_required_result_sampling(ctx: Context) -> Wants:
    said = answer(ctx, "capital_question", "text")
    question = sample("What is the capital of France?")
    return f"Model said: {said}" if said else wants(capital_question=question)


@server.tool()
async def test_input_required_result_list_roots(ctx: Context) -> Wants:
    found = (ctx.input_responses or {}).get("client_roots")
    if isinstance(found, types.ListRootsResult):
        return f"Client exposed {len(found.roots)} root(s)."
    return wants(client_roots=types.ListRootsRequest())


@server.tool()
async def test_input_required_result_request_state(ctx: Context) -> Wants:
    if ctx.input_responses and ctx.request_state == "a state":
        return "state-ok: confirmation received"
    return wants("a state", confirm=ask("Please confirm", "ok", "boolean"))


@server.tool()
async def test_input_required_result_multiple_inputs(ctx: Context) -> Wants:
    asked = {
        "user_name": ask("What is your name?"),
        "greeting": sample("Generate a greeting"),
        "client_roots": types.ListRootsRequest(),
    }
    if asked.keys() <= (ctx.input_responses or {}).keys():
        return "All inputs received."
    return wants("several", **asked)


@server.tool()
async def test_input_required_result_multi_round(ctx: Context) -> Wants:
    state = json.loads(ctx.request_state or "{}")
    if state.get("round") == 1 and (name := answer(ctx, "step1", "name")):
        asked = ask("Step 2: What is your favorite color?", "color")
        return wants(json.dumps({"round": 2, "name": name}), step2=asked)
    if state.get("round") == 2 and (color := answer(ctx, "step2", "color")):
        return f"{state['name']} likes {color}."
    return wants(json.dumps({"round": 1}), step1=ask("Step 1: What is your name?"))


@server.tool()
async def test_input_required_result_tampered_state(ctx: Context) -> Wants:
    if ctx.request_state is None:
        return wants("round-1", confirm=ask("Please confirm", "ok", "boolean"))
    return f"state-ok: {ctx.request_state}"


@server.tool()
async def test_input_required_result_capabilities(ctx: Context) -> types.InputRequiredResult:
    known = ctx.client_capabilities
    asked: dict[str, Any] = {}
    if known is None or known.sampling is not None:
        asked["sample"] = sample("Say hello")
    if known is None or known.elicitation is not None:
        asked["ask"] = ask("What is your name?")
    return wants("by capability", **asked)


@server.tool(name="json_schema_2020_12_tool")
def json_schema_2020_12_tool() -> str:
    return "json_schema_2020_12_tool"


# The SDK has no public way to say a tool's schema.
server._tool_manager._tools["json_schema_2020_12_tool"].parameters = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


@server.tool()
async def test_reconnection(ctx: Context) -> str:
    await ctx.info("Before disconnect")
    await ctx.close_sse_stream()
    await asyncio.sleep(0.2)
    await ctx.info("After reconnect")
    return "Reconnection test completed"


def _fleeting() -> str:
    return "is added and removed at once"


@server.tool()
async def test_trigger_tool_change(ctx: Context) -> str:
    server.add_tool(_fleeting, name="fleeting")
    server.remove_tool("fleeting")
    await ctx.notify_tools_changed()
    return "tool list changed"


@server.tool()
async def test_trigger_prompt_change(ctx: Context) -> str:
    server.add_prompt(Prompt.from_function(_fleeting, name="fleeting", description="fleeting"))
    server.remove_prompt("fleeting")
    await ctx.notify_prompts_changed()
    return "prompt list changed"


@server.resource("test://static-text")
def static_text() -> str:
    return "This is the content of the static text resource."


@server.resource("test://static-binary")
def static_binary() -> bytes:
    return base64.b64decode(IMAGE)


@server.resource("test://template/{id}/data")
def template(id: str) -> str:  # noqa: A002 - the name in the URI
    return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


@server.resource("test://watched-resource")
def watched() -> str:
    return "Watched resource content"


def user(content: Any) -> UserMessage:
    return UserMessage(role="user", content=content)


@server.prompt()
def test_simple_prompt() -> list[Any]:
    return [user(text("This is a simple prompt for testing."))]


@server.prompt()
def test_prompt_with_arguments(arg1: str, arg2: str) -> list[Any]:
    return [user(text(f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"))]


@server.prompt()
def test_prompt_with_embedded_resource(resourceUri: str) -> list[Any]:  # noqa: N803 - as asked
    content = embedded(resourceUri, "text/plain", "Embedded resource content for testing.")
    return [user(content), user(text("Please process the embedded resource above."))]


@server.prompt()
def test_prompt_with_image() -> list[Any]:
    return [user(IMAGE_CONTENT), user(text("Please analyze the image above."))]


@server.prompt()
async def test_input_required_result_prompt(ctx: Context) -> list[Any] | types.InputRequiredResult:
    said = answer(ctx, "user_context", "context")
    if said:
        return [user(text(f"Use the following context: {said}"))]
    return wants(user_context=ask("What context should the prompt use?", "context"))


async def nothing(ctx: Any, params: Any) -> types.EmptyResult:
    return types.EmptyResult()


for method, params in (
    ("logging/setLevel", types.SetLevelRequestParams),
    ("resources/subscribe", types.SubscribeRequestParams),
    ("resources/unsubscribe", types.UnsubscribeRequestParams),
):
    server._lowlevel_server.add_request_handler(method, params, nothing)


@server.completion()
async def complete(ref: Any, argument: Any, context: Any) -> types.Completion:
    return types.Completion(values=[], total=0, has_more=False)


for managed in (server._tool_manager._tools, server._prompt_manager._prompts):
    for name, one in managed.items():
        one.description = one.description or name

server.run(
    transport="streamable-http",
    host="127.0.0.1",
    port=int(sys.argv[1]),
    event_store=Events(),
    retry_interval=100,
)
