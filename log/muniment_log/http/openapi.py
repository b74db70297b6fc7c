"""The OpenAPI 3.1 document of the log; a test compares it with the routes and with real answers."""

from __future__ import annotations

from typing import Any, Final

from muniment.formats.manifest import MAX_BATCH_BYTES, MAX_BATCH_RECORDS

_JSON: Final = "application/json"
_TEXT: Final = "text/plain"
_BYTES: Final = "application/octet-stream"

_PROBLEMS: Final[dict[int, str]] = {
    400: "Malformed: the body, a parameter or a path.",
    401: "No bearer token, or not a known one.",
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
    503: (
        "Not now; see `Retry-After`. `overloaded`, `busy`, `unavailable`, `storage-failed`, or "
        "`not-published`: logged, but no quorum in time (member `receipt`)."
    ),
}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _content(kind: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {kind: {"schema": schema}}


def _responses(ok: str, content: dict[str, Any], *problems: int) -> dict[str, Any]:
    found: dict[str, Any] = {"200": {"description": ok, "content": content}}
    for status in problems:
        found[str(status)] = {
            "description": _PROBLEMS[status],
            "content": _content("application/problem+json", _ref("Problem")),
        }
    return found


def _operation(
    name: str,
    summary: str,
    responses: dict[str, Any],
    *,
    parameters: list[dict[str, Any]] | None = None,
    body: dict[str, Any] | None = None,
    token: bool = False,
) -> dict[str, Any]:
    operation: dict[str, Any] = {"operationId": name, "summary": summary, "responses": responses}
    if parameters:
        operation["parameters"] = parameters
    if body is not None:
        operation["requestBody"] = {"required": True, "content": body}
    if token:
        operation["security"] = [{"token": []}]
    return operation


def _parameter(
    name: str, place: str, description: str, schema: dict[str, Any], *, required: bool
) -> dict[str, Any]:
    return {
        "name": name,
        "in": place,
        "description": description,
        "required": required,
        "schema": schema,
    }


_NUMBER: Final[dict[str, Any]] = {"type": "integer", "minimum": 0}
_STRING: Final[dict[str, Any]] = {"type": "string"}
_BINARY: Final[dict[str, Any]] = {"type": "string", "format": "binary"}
_HASH: Final[dict[str, Any]] = {"type": "string", "contentEncoding": "base64", "maxLength": 44}
_PROOF: Final[dict[str, Any]] = {"type": "array", "items": _HASH, "maxItems": 63}


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(required),
        "properties": {**required, **(optional or {})},
        "additionalProperties": False,
    }


_RECEIPT: Final = {"first": _NUMBER, "count": _NUMBER, "manifest": _NUMBER, "size": _NUMBER}

_SCHEMAS: Final[dict[str, Any]] = {
    "Receipt": _object(_RECEIPT, {"published": _ref("Published")}),
    "Published": _object(
        {"checkpoint": _STRING, "proofs": {"type": "array", "items": _PROOF}},
    ),
    "Stream": _object({"gateway": _STRING, "stream": _STRING, "next": _NUMBER, "manifest": _HASH}),
    "Inclusion": _object(
        {"index": _NUMBER, "size": _NUMBER, "leaf_hash": _HASH, "proof": _PROOF, "root": _HASH}
    ),
    "Consistency": _object({"from": _NUMBER, "to": _NUMBER, "proof": _PROOF}),
    "Health": {"type": "object", "required": ["status"], "properties": {"status": _STRING}},
    "Problem": {
        "type": "object",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"type": "string", "pattern": "^urn:muniment:problem:[a-z-]+$"},
            "title": _STRING,
            "status": {"type": "integer"},
            "detail": _STRING,
        },
    },
}

_WAITING: Final = [
    _parameter(
        "wait",
        "query",
        "`published` waits for a cosigned checkpoint and answers it with inclusion proofs.",
        {"type": "string", "enum": ["published"]},
        required=False,
    ),
    _parameter(
        "timeout",
        "query",
        "Seconds to wait for it, 10 if not given.",
        {"type": "number", "minimum": 0, "maximum": 60},
        required=False,
    ),
]
_TILE: Final = [
    _parameter(
        "path",
        "path",
        "`<L>/<N>` or `entries/<N>`, with `.p/<W>` for a partial one (C2SP tlog-tiles).",
        _STRING,
        required=True,
    )
]

PATHS: Final[dict[str, dict[str, Any]]] = {
    "/": {
        "get": _operation(
            "front", "Which log this is", _responses("A line of text.", _content(_TEXT, _STRING))
        )
    },
    "/checkpoint": {
        "get": _operation(
            "checkpoint",
            "The published checkpoint, cosigned by the quorum",
            _responses("A signed note.", _content(_TEXT, _STRING), 404),
        )
    },
    "/tile/{path}": {
        "get": _operation(
            "tile",
            "A hash tile or an entry bundle of the published tree",
            _responses("Its bytes.", _content(_BYTES, _BINARY), 400, 404, 503),
            parameters=_TILE,
        )
    },
    "/v1/batches": {
        "post": _operation(
            "submitBatch",
            f"Log a signed batch: up to {MAX_BATCH_RECORDS} records, {MAX_BATCH_BYTES} bytes",
            _responses(
                "The records are durable. The same for every retry.",
                _content(_JSON, _ref("Receipt")),
                *(400, 403, 408, 409, 413, 415, 422, 503),
            ),
            parameters=_WAITING,
            body=_content(_BYTES, _BINARY),
        )
    },
    "/v1/records": {
        "post": _operation(
            "submitRecords",
            "Log records of a client that cannot sign",
            _responses(
                "The records are durable.",
                _content(_JSON, _ref("Receipt")),
                *(400, 401, 408, 413, 415, 422, 503),
            ),
            parameters=_WAITING,
            body={
                **_content(_JSON, {"type": ["object", "array"]}),
                **_content("application/x-ndjson", _STRING),
            },
            token=True,
        )
    },
    "/v1/streams/{gateway}/{stream}": {
        "get": _operation(
            "stream",
            "Where a stream continues",
            _responses(
                "Its next sequence number and its last manifest's leaf hash.",
                _content(_JSON, _ref("Stream")),
                *(400, 404, 503),
            ),
            parameters=[
                _parameter(
                    "gateway", "path", "Key name; its slashes may stay.", _STRING, required=True
                ),
                _parameter("stream", "path", "Stream label.", _STRING, required=True),
            ],
        )
    },
    "/v1/entries/{index}": {
        "get": _operation(
            "entry",
            "A leaf of the published tree",
            _responses(
                "The leaf's bytes: a record, or a manifest as text.",
                {**_content(_JSON, {"type": "object"}), **_content(_TEXT, _STRING)},
                *(400, 404, 503),
            ),
            parameters=[_parameter("index", "path", "Leaf index.", _NUMBER, required=True)],
        )
    },
    "/v1/proofs/inclusion": {
        "get": _operation(
            "inclusionProof",
            "That a leaf is in the published tree",
            _responses(
                "A C2SP tlog-proof, or JSON for any published size with `Accept`.",
                {**_content(_TEXT, _STRING), **_content(_JSON, _ref("Inclusion"))},
                *(400, 404, 503),
            ),
            parameters=[
                _parameter("index", "query", "Leaf index.", _NUMBER, required=True),
                _parameter("size", "query", "Tree size.", _NUMBER, required=False),
            ],
        )
    },
    "/v1/proofs/consistency": {
        "get": _operation(
            "consistencyProof",
            "That one published tree extends another",
            _responses("The proof.", _content(_JSON, _ref("Consistency")), 400, 404, 503),
            parameters=[
                _parameter("from", "query", "Older size.", _NUMBER, required=True),
                _parameter("to", "query", "Newer size.", _NUMBER, required=True),
            ],
        )
    },
    "/healthz": {
        "get": _operation(
            "health", "Whether it runs", _responses("It does.", _content(_JSON, _ref("Health")))
        )
    },
    "/readyz": {
        "get": _operation(
            "ready",
            "Whether it takes records and publishes them",
            _responses("It does.", _content(_JSON, _ref("Health")), 503),
        )
    },
    "/metrics": {
        "get": _operation(
            "metrics",
            "Prometheus metrics",
            _responses("Text format 0.0.4.", _content(_TEXT, _STRING)),
        )
    },
    "/openapi.json": {
        "get": _operation(
            "openapi", "This document", _responses("It.", _content(_JSON, {"type": "object"}))
        )
    },
}


def document(origin: str, version: str) -> dict[str, Any]:
    """The document of one log.

    Args:
        origin: the log's origin.
        version: the program's version.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"Muniment log {origin}",
            "version": version,
            "description": (
                "A transparency log for authorization decisions. Reads at the root follow C2SP "
                "tlog-tiles; errors are RFC 9457 problem details with a stable type."
            ),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": PATHS,
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }
