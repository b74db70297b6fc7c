"""The part of the OpenAPI document that is about the index (design section 4)."""

from __future__ import annotations

from typing import Any, Final, get_args

from muniment.index.query import DEPTH, LIMIT, MAX_DEPTH, MAX_LIMIT, MAX_WALK, Direction
from muniment.records.kinds import ThingType
from muniment.records.members import MAX_ID, MAX_KEY_NAME, MAX_NAME
from muniment_log.http.openapi_parts import RECORD, answers
from muniment_service.openapi import JSON, NUMBER, argument, call, media, members, reference, text

INDEX_SCHEMAS: Final[dict[str, Any]] = {
    "Answer": members(
        {
            "size": NUMBER,
            "records": {
                "type": "array",
                "items": members(
                    {"index": NUMBER, "conflicting": {"type": "boolean"}, "record": RECORD}
                ),
            },
            "next": {"type": ["integer", "null"]},
        }
    ),
    "KeySeen": members({"size": NUMBER, "index": {"type": ["integer", "null"]}, "first": NUMBER}),
    "Lineage": members(
        {
            "size": NUMBER,
            "edges": {
                "type": "array",
                "items": members({"index": NUMBER, "depth": NUMBER, "record": RECORD}),
            },
            "next": {"type": ["string", "null"]},
            "truncated": {"type": "boolean"},
        }
    ),
}

_LIMIT: Final = argument(
    "limit",
    "query",
    f"Most of them in the answer, {LIMIT} if not given.",
    {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT},
    required=False,
)


def _about(name: str, summary: str) -> dict[str, Any]:
    return {
        "get": call(
            name,
            summary,
            answers(
                "The records verbatim, in the order of the log; `size` is the tree size that the "
                "answer reflects. `conflicting`: its producer used the id for other content, too.",
                media(JSON, reference("Answer")),
                *(400, 404, 503),
            ),
            parameters=[
                argument(
                    "id",
                    "path",
                    "The id.",
                    text("[!-~]+", most=MAX_ID),
                    required=True,
                ),
                argument(
                    "after",
                    "query",
                    "Only records with a greater index: `next` of the page before.",
                    NUMBER,
                    required=False,
                ),
                _LIMIT,
            ],
        )
    }


INDEX_PATHS: Final[dict[str, dict[str, Any]]] = {
    "/v1/decisions": {
        "get": call(
            "find",
            "Decisions, by subject, resource and time if they are given",
            answers(
                "The records verbatim, in the order of the log; `size` is the tree size that the "
                "answer reflects. A page may end before it is full; `next` goes on.",
                media(JSON, reference("Answer")),
                *(400, 404, 503),
            ),
            parameters=[
                *(
                    argument(
                        name,
                        "query",
                        f"The {name}, as type, colon, id.",
                        text("[^:]+:.+"),
                        required=False,
                    )
                    for name in ("subject", "resource")
                ),
                argument(
                    "since",
                    "query",
                    "Made at this time or later, Unix milliseconds by the producer's clock.",
                    NUMBER,
                    required=False,
                ),
                argument(
                    "until", "query", "Made before this time, likewise.", NUMBER, required=False
                ),
                argument(
                    "after",
                    "query",
                    "Only records with a greater index: `next` of the page before.",
                    NUMBER,
                    required=False,
                ),
                _LIMIT,
            ],
        )
    },
    "/v1/keys/{key}": {
        "get": call(
            "key",
            "Whether a key has signed something in this log",
            answers(
                "`index` is a leaf that it signed, or null; `first` the first leaf that was looked "
                "at: an index that an older version began knows keys from some leaf on.",
                media(JSON, reference("KeySeen")),
                *(400, 404, 503),
            ),
            parameters=[
                argument(
                    "key",
                    "path",
                    "The key: its name, a plus sign, its key ID in hexadecimal digits.",
                    text("[!-~]+", most=MAX_KEY_NAME + 9),
                    required=True,
                )
            ],
        )
    },
    "/v1/decisions/{id}": _about(
        "decision", "Decisions of an id, with the edges and revocations that name them"
    ),
    "/v1/executions/{id}": _about(
        "execution", "What is logged of a run: decisions, outcomes, verifications, edges, more"
    ),
    "/v1/lineage/{type}/{id}": {
        "get": call(
            "lineage",
            "Edges around a thing, nearest first",
            answers(
                "The edges verbatim; `size` is the tree size that all pages reflect. `truncated`: "
                f"the walk ended at {MAX_WALK} edges, and there are more.",
                media(JSON, reference("Lineage")),
                *(400, 404, 503),
            ),
            parameters=[
                argument(
                    "type",
                    "path",
                    "What it is.",
                    {"type": "string", "enum": list(get_args(ThingType))},
                    required=True,
                ),
                argument(
                    "id",
                    "path",
                    "Which one; slashes may stay. Of others than runs and decisions the id may be "
                    "any text: it is looked up by the name that edges have for it.",
                    text(".+", most=MAX_NAME),
                    required=True,
                ),
                argument(
                    "direction",
                    "query",
                    "To what came before it (if not given), or to what came of it.",
                    {"type": "string", "enum": list(get_args(Direction))},
                    required=False,
                ),
                argument(
                    "depth",
                    "query",
                    f"Most hops, {DEPTH} if not given.",
                    {"type": "integer", "minimum": 1, "maximum": MAX_DEPTH},
                    required=False,
                ),
                _LIMIT,
                argument(
                    "page",
                    "query",
                    "`next` of the page before.",
                    text(r"(?:0|[1-9][0-9]*)\.(?:0|[1-9][0-9]*)"),
                    required=False,
                ),
            ],
        )
    },
}
