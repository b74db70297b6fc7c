"""The OpenAPI 3.1 document of the log; a test compares it with the routes and with real answers."""

from __future__ import annotations

from typing import Any, Final

from muniment.formats.manifest import MAX_BATCH_BYTES, MAX_BATCH_RECORDS
from muniment_log.http.openapi_index import INDEX_PATHS, INDEX_SCHEMAS
from muniment_log.http.openapi_parts import (
    BINARY,
    BYTES,
    HASH,
    JSON,
    NUMBER,
    PROOF,
    STRING,
    TEXT,
    answers,
    argument,
    call,
    media,
    members,
    readable,
    reference,
)

_RECEIPT: Final = {"first": NUMBER, "count": NUMBER, "manifest": NUMBER, "size": NUMBER}

_SCHEMAS: Final[dict[str, Any]] = {
    "Receipt": members(_RECEIPT, {"published": reference("Published")}),
    "Published": members(
        {"checkpoint": STRING, "proofs": {"type": "array", "items": PROOF}},
    ),
    "Stream": members(
        {
            "gateway": STRING,
            "stream": STRING,
            "next": NUMBER,
            "manifest": HASH,
            "origin": STRING,
        }
    ),
    "Inclusion": members(
        {"index": NUMBER, "size": NUMBER, "leaf_hash": HASH, "proof": PROOF, "root": HASH}
    ),
    "Consistency": members({"from": NUMBER, "to": NUMBER, "proof": PROOF}),
    **INDEX_SCHEMAS,
    "Health": {"type": "object", "required": ["status"], "properties": {"status": STRING}},
    "Problem": {
        "type": "object",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"type": "string", "pattern": "^urn:muniment:problem:[a-z-]+$"},
            "title": STRING,
            "status": {"type": "integer"},
            "detail": STRING,
        },
    },
}

_BEARER: Final = {"type": "http", "scheme": "bearer"}
_WAITING: Final = [
    argument(
        "wait",
        "query",
        "`published` waits for a cosigned checkpoint and answers it with inclusion proofs.",
        {"type": "string", "enum": ["published"]},
        required=False,
    ),
    argument(
        "timeout",
        "query",
        "Seconds to wait for it, 10 if not given.",
        {"type": "number", "minimum": 0, "maximum": 60},
        required=False,
    ),
]
_TILE: Final = [
    argument(
        "path",
        "path",
        "`<L>/<N>` or `entries/<N>`, with `.p/<W>` for a partial one (C2SP tlog-tiles).",
        STRING,
        required=True,
    )
]

_PATHS: Final[dict[str, dict[str, Any]]] = {
    "/": {
        "get": call("front", "Which log this is", answers("A line of text.", media(TEXT, STRING)))
    },
    "/checkpoint": {
        "get": call(
            "checkpoint",
            "The published checkpoint, cosigned by the quorum",
            answers("A signed note.", media(TEXT, STRING), 404),
        )
    },
    "/tile/{path}": {
        "get": call(
            "tile",
            "A hash tile or an entry bundle of the published tree",
            answers("Its bytes.", media(BYTES, BINARY), 400, 404, 503),
            parameters=_TILE,
        )
    },
    "/v1/batches": {
        "post": call(
            "submitBatch",
            f"Log a signed batch: up to {MAX_BATCH_RECORDS} records, {MAX_BATCH_BYTES} bytes",
            answers(
                "The records are durable. The same for every retry.",
                media(JSON, reference("Receipt")),
                *(400, 403, 408, 409, 413, 415, 422, 429, 503),
            ),
            parameters=_WAITING,
            body=media(BYTES, BINARY),
        )
    },
    "/v1/records": {
        "post": call(
            "submitRecords",
            "Log records of a client that cannot sign",
            answers(
                "The records are durable.",
                media(JSON, reference("Receipt")),
                *(400, 401, 408, 413, 415, 422, 429, 503),
            ),
            parameters=_WAITING,
            body={
                **media(JSON, {"type": ["object", "array"]}),
                **media("application/x-ndjson", STRING),
            },
            token=True,
        )
    },
    "/v1/streams/{gateway}/{stream}": {
        "get": call(
            "stream",
            "Where a stream continues",
            answers(
                "Its next sequence number and its last manifest's leaf hash.",
                media(JSON, reference("Stream")),
                *(400, 404, 503),
            ),
            parameters=[
                argument(
                    "gateway", "path", "Key name; its slashes may stay.", STRING, required=True
                ),
                argument("stream", "path", "Stream label.", STRING, required=True),
            ],
        )
    },
    "/v1/entries/{index}": {
        "get": call(
            "entry",
            "A leaf of the published tree",
            answers(
                "The leaf's bytes: a record, or a manifest as text.",
                {**media(JSON, {"type": "object"}), **media(TEXT, STRING)},
                *(400, 404, 503),
            ),
            parameters=[argument("index", "path", "Leaf index.", NUMBER, required=True)],
        )
    },
    **INDEX_PATHS,
    "/v1/proofs/inclusion": {
        "get": call(
            "inclusionProof",
            "That a leaf is in the published tree",
            answers(
                "A C2SP tlog-proof, or JSON for any published size with `Accept`.",
                {**media(TEXT, STRING), **media(JSON, reference("Inclusion"))},
                *(400, 404, 503),
            ),
            parameters=[
                argument("index", "query", "Leaf index.", NUMBER, required=True),
                argument("size", "query", "Tree size.", NUMBER, required=False),
            ],
        )
    },
    "/v1/proofs/consistency": {
        "get": call(
            "consistencyProof",
            "That one published tree extends another",
            answers("The proof.", media(JSON, reference("Consistency")), 400, 404, 503),
            parameters=[
                argument("from", "query", "Older size.", NUMBER, required=True),
                argument("to", "query", "Newer size.", NUMBER, required=True),
            ],
        )
    },
    "/healthz": {
        "get": call(
            "health", "Whether it runs", answers("It does.", media(JSON, reference("Health")))
        )
    },
    "/readyz": {
        "get": call(
            "ready",
            "Whether it takes records and publishes them",
            answers("It does.", media(JSON, reference("Health")), 503),
        )
    },
    "/metrics": {
        "get": call(
            "metrics",
            "Prometheus metrics",
            answers("Text format 0.0.4.", media(TEXT, STRING)),
        )
    },
    "/openapi.json": {
        "get": call("openapi", "This document", answers("It.", media(JSON, {"type": "object"})))
    },
}

PATHS: Final = readable(_PATHS)


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
            "securitySchemes": dict.fromkeys(("token", "readToken"), _BEARER),
        },
    }
