"""What a service's OpenAPI 3.1 document is made of."""

from collections.abc import Mapping
from typing import Any, Final

from muniment.tlog.encoding import MAX_SIZE

JSON: Final = "application/json"
TEXT: Final = "text/plain"
BYTES: Final = "application/octet-stream"

STRING: Final[dict[str, Any]] = {"type": "string"}
BINARY: Final[dict[str, Any]] = {"type": "string", "format": "binary"}
NUMBER: Final[dict[str, Any]] = {"type": "integer", "minimum": 0, "maximum": MAX_SIZE}
HASH: Final[dict[str, Any]] = {"type": "string", "contentEncoding": "base64", "maxLength": 44}

PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "pattern": "^urn:muniment:problem:[a-z-]+$"},
        "title": STRING,
        "status": {"type": "integer"},
        "detail": STRING,
    },
}
"""The schema `Problem` that `problems` refers to."""

HEALTH: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["status"],
    "properties": {"status": STRING},
}
"""The schema `Health` that `operations` refers to."""


def reference(name: str) -> dict[str, str]:
    """A schema by name."""
    return {"$ref": f"#/components/schemas/{name}"}


def media(kind: str, schema: dict[str, Any]) -> dict[str, Any]:
    """The content of a body, of one media type."""
    return {kind: {"schema": schema}}


def text(pattern: str, *, least: int = 1, most: int | None = None) -> dict[str, Any]:
    """The schema of a string that matches a pattern, all of it."""
    limits = {"minLength": least} if most is None else {"minLength": least, "maxLength": most}
    return {"type": "string", "pattern": f"^(?:{pattern})$", **limits}


def members(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    """The schema of an object with exactly these members."""
    return {
        "type": "object",
        "required": list(required),
        "properties": {**required, **(optional or {})},
        "additionalProperties": False,
    }


def argument(
    name: str, place: str, description: str, schema: dict[str, Any], *, required: bool
) -> dict[str, Any]:
    """A parameter in a `place` (path or query)."""
    return {
        "name": name,
        "in": place,
        "description": description,
        "required": required,
        "schema": schema,
    }


def succeeds(
    ok: str, content: dict[str, Any], headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The answer 200; `headers` are those that it always has, each with what it says.

    A resource with an ETag is also answered with 304.
    """
    answer: dict[str, Any] = {"description": ok, "content": content}
    if headers:
        answer["headers"] = {
            name: {"description": says, "required": True, "schema": STRING}
            for name, says in headers.items()
        }
    found = {"200": answer}
    if headers and "ETag" in headers:
        found["304"] = {"description": "What the client has (`If-None-Match`) is still true."}
    return found


def problems(descriptions: Mapping[int, str], *statuses: int) -> dict[str, Any]:
    """Answers that are problems, by status."""
    return {
        str(status): {
            "description": descriptions[status],
            "content": media("application/problem+json", reference("Problem")),
        }
        for status in statuses
    }


def call(
    name: str,
    summary: str,
    responses: dict[str, Any],
    *,
    parameters: list[dict[str, Any]] | None = None,
    body: dict[str, Any] | None = None,
    empty: bool = False,
    token: bool = False,
) -> dict[str, Any]:
    """A call.

    Args:
        name: its operation id.
        summary: what it does.
        responses: its answers by status.
        parameters: in path and query.
        body: the content of the request.
        empty: whether an empty body says something, too.
        token: whether it takes a bearer token.
    """
    operation: dict[str, Any] = {"operationId": name, "summary": summary, "responses": responses}
    if parameters:
        operation["parameters"] = parameters
    if body is not None:
        operation["requestBody"] = {"required": not empty, "content": body}
    if token:
        operation["security"] = [{"token": []}]
    return operation


def operations(unready: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The calls that every service has; `unready` are the problems of `/readyz`."""
    health = media(JSON, reference("Health"))
    return {
        "/healthz": {"get": call("health", "Whether it runs", succeeds("It does.", health))},
        "/readyz": {
            "get": call("ready", "Whether it can work", {**succeeds("It can.", health), **unready})
        },
        "/metrics": {
            "get": call(
                "metrics",
                "Prometheus metrics",
                succeeds("Text format 0.0.4.", media(TEXT, STRING)),
            )
        },
        "/openapi.json": {
            "get": call(
                "openapi", "This document", succeeds("It.", media(JSON, {"type": "object"}))
            )
        },
    }


def document(
    title: str,
    version: str,
    description: str,
    paths: dict[str, Any],
    schemas: dict[str, Any],
    *,
    tokens: tuple[str, ...] = (),
) -> dict[str, Any]:
    """A document.

    Args:
        title: what it is of.
        version: the program's version.
        description: what a reader should know first.
        paths: the calls by path and method.
        schemas: the schemas by name, `Problem` and `Health` aside.
        tokens: names of the security schemes, all of them bearer tokens.
    """
    components: dict[str, Any] = {"schemas": {**schemas, "Problem": PROBLEM, "Health": HEALTH}}
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
