"""The OpenAPI 3.1 document of a witness: C2SP tlog-witness, and what peers and people read."""

from importlib.metadata import version
from typing import Any, Final

from muniment_service import openapi
from muniment_service.openapi import (
    BINARY,
    BYTES,
    JSON,
    NUMBER,
    STRING,
    TEXT,
    argument,
    call,
    media,
    members,
    problems,
    reference,
    succeeds,
    text,
)
from muniment_witness.gossip.peers import EVIDENCE_PATH, HEADS_PATH

_PROBLEMS: Final[dict[int, str]] = {
    400: "Malformed: the body or the path.",
    403: (
        "`bad-signature`: not signed by a key that this witness trusts; `misbehaviour-proven`: "
        "this witness holds evidence against the log."
    ),
    404: "`unknown-origin`, or nothing there: `never-cosigned`, `not-held`, `not-found`.",
    408: "The body came too slowly.",
    413: "Larger than the limit.",
    415: "A content encoding, which no body may have.",
    422: "Well-formed, and wrong: `bad-proof`, `bad-root`, `proves-nothing`.",
    501: "This witness has no key that signs subtrees.",
    503: "Not now: `busy`, `clock`, `begun-anew`, `restored-copy`, `behind-own-cosignature` (all "
    "with `Retry-After`), `storage-failed`.",
}

_NOTE: Final = media(TEXT, STRING)
_TAG: Final = {"ETag": "For `If-None-Match`."}
_DIGEST: Final = text("[0-9a-f]{64}")
_ORIGIN: Final = argument(
    "origin",
    "path",
    "SHA-256 of a log's origin, in hexadecimal (C2SP tlog-witness, monitoring).",
    _DIGEST,
    required=True,
)

_SCHEMAS: Final[dict[str, Any]] = {
    "Status": {
        "type": "object",
        "required": ["name", "time", "vkeys", "alarms", "logs", "peers"],
        "properties": {
            "name": STRING,
            "time": NUMBER,
            "vkeys": {"type": "array", "items": STRING},
            "alarms": {
                "type": "array",
                "items": {"type": "object", "required": ["kind", "subject", "detail"]},
            },
            "logs": {
                "type": "array",
                "items": {"type": "object", "required": ["origin", "cosigned", "evidence"]},
            },
            "peers": {
                "type": "array",
                "items": {"type": "object", "required": ["name", "reached", "error", "logs"]},
            },
        },
    },
    "Evidence": members(
        {
            "evidence": {
                "type": "array",
                "items": members(
                    {"origin": STRING, "hash": _DIGEST, "kind": STRING, "time": NUMBER}
                ),
            }
        }
    ),
    "Taken": members({"taken": NUMBER}),
    "New": members({"new": {"type": "boolean"}}),
}


def _post(
    name: str, summary: str, answer: dict[str, Any], kind: str, *refusals: int
) -> dict[str, Any]:
    body = media(kind, BINARY if kind == BYTES else STRING)
    refused = problems(_PROBLEMS, 400, 408, 413, 415, 503, *refusals)
    # No heads at all are a bundle, too.
    return call(name, summary, {**answer, **refused}, body=body, empty=kind == BYTES)


def _get(
    name: str,
    summary: str,
    answer: dict[str, Any],
    *refusals: int,
    parameters: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    return {
        "get": call(
            name, summary, {**answer, **problems(_PROBLEMS, *refusals)}, parameters=parameters
        )
    }


_CONFLICT: Final = {
    "409": {
        "description": "The old size is not that of the newest cosigned checkpoint, which is told.",
        "content": media("text/x.tlog.size", text("[0-9]+\\n")),
    }
}

PATHS: Final[dict[str, dict[str, Any]]] = {
    "/add-checkpoint": {
        "post": _post(
            "addCheckpoint",
            "Cosign a checkpoint that extends the newest one cosigned (C2SP tlog-witness)",
            {**succeeds("Cosignature lines.", _NOTE), **_CONFLICT},
            TEXT,
            *(403, 404, 422),
        )
    },
    "/sign-subtree": {
        "post": _post(
            "signSubtree",
            "Cosign a subtree of a checkpoint that this witness has cosigned (C2SP tlog-witness)",
            succeeds("Cosignature lines.", _NOTE),
            TEXT,
            *(403, 404, 422, 501),
        )
    },
    "/{origin}/checkpoint": _get(
        "cosigned",
        "The newest checkpoint of a log that this witness has cosigned",
        succeeds("A signed note.", _NOTE, _TAG),
        404,
        parameters=[_ORIGIN],
    ),
    "/{origin}/tile/{path}": _get(
        "tile",
        "A tile of this witness's own view of a log, as far as it holds it",
        succeeds("Its bytes.", media(BYTES, BINARY)),
        404,
        parameters=[
            _ORIGIN,
            argument("path", "path", "As in C2SP tlog-tiles.", STRING, required=True),
        ],
    ),
    "/{origin}/history/{size}": _get(
        "history",
        "The accepted add-checkpoint request that led on from a size",
        succeeds("The request's body.", _NOTE),
        400,
        404,
        parameters=[
            _ORIGIN,
            argument("size", "path", "The old size of the request.", NUMBER, required=True),
        ],
    ),
    "/{origin}/shown-by/{peer}": _get(
        "shownBy",
        "The newest head of a log that a peer has shown to this witness",
        succeeds("A signed note.", _NOTE),
        404,
        parameters=[
            _ORIGIN,
            argument("peer", "path", "SHA-256 of the peer's name.", _DIGEST, required=True),
        ],
    ),
    HEADS_PATH: {
        **_get(
            "heads",
            "Heads known beyond the cosigned ones",
            succeeds("Notes, each after its length.", media(BYTES, BINARY), _TAG),
        ),
        "post": _post(
            "pushHeads",
            "Tell of heads that have moved: framed notes",
            succeeds("How many are looked at.", media(JSON, reference("Taken"))),
            BYTES,
            403,
        ),
    },
    EVIDENCE_PATH: {
        **_get(
            "evidence",
            "What evidence this witness holds",
            succeeds("A list.", media(JSON, reference("Evidence")), _TAG),
        ),
        "post": _post(
            "pushEvidence",
            "Hand in an evidence file",
            succeeds("Whether it was new.", media(JSON, reference("New"))),
            TEXT,
            *(404, 422),
        ),
    },
    EVIDENCE_PATH + "/{hash}": _get(
        "evidenceFile",
        "An evidence file",
        succeeds("The file.", _NOTE),
        404,
        parameters=[
            argument("hash", "path", "SHA-256 of the file, as listed.", _DIGEST, required=True)
        ],
    ),
    "/": _get(
        "front",
        "The status, for people; as JSON with `Accept: application/json`",
        succeeds(
            "The status.",
            {**media("text/html", STRING), **media(JSON, reference("Status"))},
        ),
    ),
    "/status.json": _get(
        "status", "The status", succeeds("The status.", media(JSON, reference("Status")))
    ),
    **openapi.operations(problems(_PROBLEMS, 503)),
}


def document(name: str) -> dict[str, Any]:
    """The document of the witness of a name."""
    return openapi.document(
        f"Muniment witness {name}",
        version("muniment"),
        "Cosigns the checkpoints of logs that only append, compares what it sees with its peers, "
        "and keeps the proof when a log's key has signed two histories.",
        PATHS,
        _SCHEMAS,
    )
