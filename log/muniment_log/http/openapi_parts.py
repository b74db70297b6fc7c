"""What the log's OpenAPI document is made of."""

from __future__ import annotations

from typing import Any, Final

JSON: Final = "application/json"
TEXT: Final = "text/plain"
BYTES: Final = "application/octet-stream"

_PROBLEMS: Final[dict[int, str]] = {
    400: "Malformed: the body, a parameter or a path.",
    401: "No bearer token, or not one that is known and valid now.",
    403: "Unknown gateway, bad signature, or a batch for another log.",
    404: "Not there, or beyond the published tree (`not-published-yet`, member `published`).",
    408: "The body came too slowly.",
    409: (
        "`stream-gap` (member `expected`: the sequence number that the stream continues at), or "
        "`stream-conflict` (member `first`): the stream holds something else there."
    ),
    413: "Larger than the limit.",
    415: "Not a content type or content encoding that is taken.",
    422: "`bad-record`: a record is not acceptable (member `entry`: its number in the request).",
    429: (
        "`over-budget`: the producer, or the address, sends more than it may; see `Retry-After`."
    ),
    503: (
        "Not now; see `Retry-After`. `overloaded`, `busy`, `unavailable`, `storage-failed`, "
        "`index-unavailable`, or `not-published`: logged, but no quorum in time (member "
        "`receipt`)."
    ),
}


def reference(name: str) -> dict[str, str]:
    """A schema by name."""
    return {"$ref": f"#/components/schemas/{name}"}


def media(kind: str, schema: dict[str, Any]) -> dict[str, Any]:
    """The content of a body, of one media type."""
    return {kind: {"schema": schema}}


def answers(ok: str, content: dict[str, Any], *problems: int) -> dict[str, Any]:
    """The answers of a call: 200, and problems by status."""
    found: dict[str, Any] = {"200": {"description": ok, "content": content}}
    for status in problems:
        found[str(status)] = {
            "description": _PROBLEMS[status],
            "content": media("application/problem+json", reference("Problem")),
        }
    return found


def call(
    name: str,
    summary: str,
    responses: dict[str, Any],
    *,
    parameters: list[dict[str, Any]] | None = None,
    body: dict[str, Any] | None = None,
    token: bool = False,
) -> dict[str, Any]:
    """A call; `token` says that it takes a bearer token."""
    operation: dict[str, Any] = {"operationId": name, "summary": summary, "responses": responses}
    if parameters:
        operation["parameters"] = parameters
    if body is not None:
        operation["requestBody"] = {"required": True, "content": body}
    if token:
        operation["security"] = [{"token": []}]
    return operation


def readable(paths: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The paths, whose reads may need a read token: of `/v1`, the C2SP reads and the metrics."""
    for path, operations in paths.items():
        if "get" in operations and path.startswith(("/v1/", "/checkpoint", "/tile/", "/metrics")):
            operations["get"]["security"] = [{}, {"readToken": []}]
            operations["get"]["responses"]["401"] = answers("", {}, 401)["401"]
    return paths


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


NUMBER: Final[dict[str, Any]] = {"type": "integer", "minimum": 0}
STRING: Final[dict[str, Any]] = {"type": "string"}
BINARY: Final[dict[str, Any]] = {"type": "string", "format": "binary"}
HASH: Final[dict[str, Any]] = {"type": "string", "contentEncoding": "base64", "maxLength": 44}
RECORD: Final[dict[str, Any]] = {"type": "object", "required": ["id", "kind", "producer"]}
PROOF: Final[dict[str, Any]] = {"type": "array", "items": HASH, "maxItems": 63}


def members(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    """The schema of an object with exactly these members."""
    return {
        "type": "object",
        "required": list(required),
        "properties": {**required, **(optional or {})},
        "additionalProperties": False,
    }
