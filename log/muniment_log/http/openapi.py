"""The OpenAPI 3.1 document of the log; a test compares it with the routes and with real answers."""

from __future__ import annotations

from typing import Any, Final, get_args

from muniment.records.kinds import Record
from muniment.records.manifest import LABEL, MAX_BATCH_BYTES, MAX_BATCH_RECORDS
from muniment_log.http.openapi_index import INDEX_PATHS, INDEX_SCHEMAS
from muniment_log.http.openapi_parts import PROOF, answers, problems_of, readable
from muniment_service import openapi
from muniment_service.openapi import (
    BINARY,
    BYTES,
    HASH,
    JSON,
    NUMBER,
    STRING,
    TEXT,
    argument,
    call,
    media,
    members,
    reference,
    text,
)

_RECEIPT: Final = {"first": NUMBER, "count": NUMBER, "manifest": NUMBER, "size": NUMBER}

_KINDS: Final = sorted(str(kind.__struct_config__.tag) for kind in get_args(Record))
# Null is taken for absence.
_OBJECT: Final = {"type": ["object", "null"]}
_ENTITY: Final = {
    "type": "object",
    "required": ["type", "id"],
    "properties": {"type": STRING, "id": STRING, "properties": _OBJECT},
}
_EVALUATION: Final[dict[str, Any]] = {
    "description": "An OpenID AuthZEN evaluation, request and response.",
    "type": "object",
    "required": ["request", "response"],
    "properties": {
        "request": {
            "type": "object",
            "required": ["subject", "action", "resource"],
            "properties": {
                "subject": reference("Entity"),
                "action": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {"name": STRING, "properties": _OBJECT},
                },
                "resource": reference("Entity"),
                "context": _OBJECT,
            },
        },
        "response": {
            "type": "object",
            "required": ["decision"],
            "properties": {"decision": {"type": "boolean"}, "context": _OBJECT},
        },
    },
}
_SUBMISSION: Final = {"anyOf": [reference("Evaluation"), reference("Record")]}

_SCHEMAS: Final[dict[str, Any]] = {
    "Receipt": members(
        _RECEIPT,
        {
            "published": reference("Published"),
            "indices": {
                "description": "Each record's leaf index, when they do not stand side by side "
                "because some had been logged before; only of `/v1/records`.",
                "type": "array",
                "items": NUMBER,
            },
        },
    ),
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
    "Entity": _ENTITY,
    "Evaluation": _EVALUATION,
    "Record": {
        "description": "A record of any kind; `v`, `id`, `time` and `producer` may be left out.",
        "type": "object",
        "required": ["kind"],
        "properties": {"kind": {"enum": _KINDS}},
    },
}

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
        "Seconds to wait for it, at most 60, with up to six decimal places; 10 if not given.",
        text(r"[0-5]?[0-9](?:\.[0-9]{1,6})?|60"),
        required=False,
    ),
]
_ETAG: Final = {"ETag": "For `If-None-Match`.", "Cache-Control": "How long it may be kept."}
_TILE: Final = [
    argument(
        "path",
        "path",
        "`<L>/<N>` or `entries/<N>`, with `.p/<W>` for a partial one (C2SP tlog-tiles).",
        text(
            r"(?:entries|[0-9]|[1-5][0-9]|6[0-3])/(?:x[0-9]{3}/){0,5}[0-9]{3}"
            r"(?:\.p/(?:[1-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5]))?"
        ),
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
            answers("A signed note.", media(TEXT, STRING), 404, headers=_ETAG),
        )
    },
    "/tile/{path}": {
        "get": call(
            "tile",
            "A hash tile or an entry bundle of the published tree",
            answers("Its bytes.", media(BYTES, BINARY), 400, 404, 503, headers=_ETAG),
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
                "The records are durable. The same again for what was sent before: in a request "
                "with the same `Idempotency-Key` header, or as records with the same ids. A lone "
                "record of a run that states no `traceparent` gets the one of the header.",
                media(JSON, reference("Receipt")),
                *(400, 401, 408, 409, 413, 415, 422, 429, 503),
            ),
            parameters=_WAITING,
            body={
                **media(
                    JSON,
                    {
                        "anyOf": [
                            *_SUBMISSION["anyOf"],
                            {
                                "type": "array",
                                "items": _SUBMISSION,
                                "minItems": 1,
                                "maxItems": MAX_BATCH_RECORDS,
                            },
                        ]
                    },
                ),
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
                    "gateway",
                    "path",
                    "Key name; its slashes may stay.",
                    text(r"[^\s+]+"),
                    required=True,
                ),
                argument("stream", "path", "Stream label.", text(LABEL, most=64), required=True),
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
                headers={"Muniment-Leaf-Index": "The leaf's index."},
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
    **openapi.operations(problems_of(503)),
}

PATHS: Final = readable(_PATHS)


def document(origin: str, version: str) -> dict[str, Any]:
    """The document of one log.

    Args:
        origin: the log's origin.
        version: the program's version.
    """
    return openapi.document(
        f"Muniment log {origin}",
        version,
        "A transparency log for authorization decisions. Reads at the root follow C2SP "
        "tlog-tiles; errors are RFC 9457 problem details with a stable type.",
        PATHS,
        _SCHEMAS,
        tokens=("token", "readToken"),
    )
