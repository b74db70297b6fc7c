"""OpenAPI 3.1 documents, made from the structs that routes take and answer and a few words each.

A service lists its routes as `Operation`s. Schemas are what msgspec makes of the types.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, TypeAlias

import msgspec
from msgspec import Meta, Struct, field

from muniment.tlog.encoding import MAX_SIZE

JSON: Final = "application/json"
TEXT: Final = "text/plain"
HTML: Final = "text/html"
BYTES: Final = "application/octet-stream"

Binary: TypeAlias = Annotated[str, Meta(extra_json_schema={"format": "binary"})]
Number: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_SIZE)]
Hash: TypeAlias = Annotated[
    str, Meta(max_length=44, extra_json_schema={"contentEncoding": "base64"})
]

_SCHEMAS: Final = "#/components/schemas/"


class Problem(Struct):
    """RFC 9457 problem details; some types have more members."""

    type: Annotated[str, Meta(pattern="^urn:muniment:problem:[a-z-]+$")]
    title: str
    status: int
    detail: str


class Health(Struct):
    """The state of the process; `/readyz` adds members of the service."""

    status: str


class Operation(Struct, frozen=True, kw_only=True):
    """What one method of one path takes and answers; types of bodies are by media type.

    Attributes:
        method: In small letters.
        path: With parameters in braces.
        name: The operation id.
        summary: What it does.
        success: What the answer of success is.
        status: That answer's status.
        answer: The type of its body.
        headers: Headers that it always has, and what each is for. A resource with an ETag is also
            answered with 304.
        problems: Statuses that are answered with a problem.
        others: Further answers by status.
        parameters: A TypedDict with a member for each parameter, of path and query.
        body: The type of the request's body.
        takes_empty_body: Whether an empty body says something, too.
        security: Alternatives: a security scheme each, or None for nothing.
    """

    method: str = "get"
    path: str
    name: str
    summary: str
    success: str
    status: int = 200
    answer: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[int, ...] = ()
    others: Mapping[int, dict[str, Any]] = field(default_factory=dict)
    parameters: Any = None
    body: Mapping[str, Any] = field(default_factory=dict)
    takes_empty_body: bool = False
    security: tuple[str | None, ...] = ()


OPERATIONS: Final = (
    Operation(
        path="/healthz",
        name="health",
        summary="Liveness probe",
        success="The process is running.",
        answer={JSON: Health},
    ),
    Operation(
        path="/readyz",
        name="ready",
        summary="Readiness probe",
        success="The service is ready.",
        answer={JSON: Health},
        problems=(503,),
    ),
    Operation(
        path="/metrics",
        name="metrics",
        summary="Prometheus metrics",
        success="Text format 0.0.4.",
        answer={TEXT: str},
    ),
    Operation(
        path="/openapi.json",
        name="openapi",
        summary="This document",
        success="The OpenAPI document.",
        answer={JSON: dict[str, Any]},
    ),
)
"""The calls that every service has."""


def text(pattern: str, words: str | None = None, *, most: int | None = None) -> Meta:
    """A string, not empty, all of which matches a pattern; `words` say what it is."""
    return Meta(pattern=f"^(?:{pattern})$", min_length=1, max_length=most, description=words)


def says(words: str) -> Meta:
    """A description."""
    return Meta(description=words)


def reference(name: str) -> dict[str, str]:
    """A schema by name."""
    return {"$ref": _SCHEMAS + name}


_TOO_LONG: Final = {431: "The request line or the headers are too long."}
"""What every call with parameters may answer: they can be longer than a server reads."""


def paths_and_schemas(
    calls: Sequence[Operation], problems: Mapping[int, str], *more: type[Struct]
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Makes the two halves of a document: operations by path and method, and schemas by name.

    `problems` is what each status of a problem says; `more` are structs that only
    `extra_json_schema` refers to. What takes parameters has a 431, too.
    """
    said = _TOO_LONG | dict(problems)
    types = [Problem, Health, *more]
    for call in calls:
        types += [*call.answer.values(), *call.body.values()]
        types += [call.parameters] if call.parameters else []
    made, schemas = msgspec.json.schema_components(types, ref_template=_SCHEMAS + "{name}")
    schema_of = dict(zip(map(id, types), made, strict=True))
    parameters = {
        call.name: schemas[_name(schema_of[id(call.parameters)])]
        for call in calls
        if call.parameters
    }
    for call in calls:
        if call.parameters:
            schemas.pop(_name(schema_of[id(call.parameters)]), None)

    def content(types: Mapping[str, Any]) -> dict[str, Any]:
        return {kind: {"schema": schema_of[id(type_)]} for kind, type_ in types.items()}

    paths: dict[str, dict[str, Any]] = {}
    for call in calls:
        ok: dict[str, Any] = {"description": call.success, "content": content(call.answer)}
        responses = {str(call.status): ok}
        if call.headers:
            ok["headers"] = {
                name: {"description": words, "required": True, "schema": {"type": "string"}}
                for name, words in call.headers.items()
            }
        if "ETag" in call.headers:
            unchanged = "What the client has (`If-None-Match`) is still true."
            responses["304"] = {"description": unchanged}
        responses |= {str(status): answer for status, answer in call.others.items()}
        responses |= {
            str(status): {
                "description": said[status],
                "content": {"application/problem+json": {"schema": reference("Problem")}},
            }
            for status in sorted({*call.problems, *(_TOO_LONG if call.parameters else ())})
        }
        operation: dict[str, Any] = {
            "operationId": call.name,
            "summary": call.summary,
            "responses": responses,
        }
        if call.parameters:
            operation["parameters"] = _parameters(call.path, parameters[call.name])
        if call.body:
            operation["requestBody"] = {
                "required": not call.takes_empty_body,
                "content": content(call.body),
            }
        if call.security:
            operation["security"] = [{name: []} if name else {} for name in call.security]
        paths.setdefault(call.path, {})[call.method] = operation
    return paths, schemas


def _name(schema: dict[str, Any]) -> str:
    return str(schema["$ref"]).removeprefix(_SCHEMAS)


def _parameters(path: str, struct: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path" if f"{{{name}}}" in path else "query",
            "description": schema["description"],
            "required": name in struct.get("required", ()),
            "schema": {key: value for key, value in schema.items() if key != "description"},
        }
        for name, schema in struct["properties"].items()
    ]


def document(
    title: str,
    version: str,
    description: str,
    paths: dict[str, dict[str, Any]],
    schemas: dict[str, Any],
    *,
    tokens: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Puts a document together of what `paths_and_schemas` made.

    `version` is the program's; `tokens` are names of the security schemes, all of them bearer
    tokens.
    """
    components: dict[str, Any] = {"schemas": schemas}
    if tokens:
        bearer = {"type": "http", "scheme": "bearer"}
        components["securitySchemes"] = dict.fromkeys(tokens, bearer)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": version,
            "description": description,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": components,
    }
