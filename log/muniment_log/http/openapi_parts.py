"""The problems of the log's OpenAPI document, and who may read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from muniment_service.openapi import HASH, problems, succeeds

if TYPE_CHECKING:
    from collections.abc import Mapping

RECORD: Final[dict[str, Any]] = {"type": "object", "required": ["id", "kind", "producer"]}
PROOF: Final[dict[str, Any]] = {"type": "array", "items": HASH, "maxItems": 63}

_PROBLEMS: Final[dict[int, str]] = {
    400: "Malformed: the body, a parameter or a path.",
    401: "No bearer token, or not one that is known and valid now.",
    403: "Unknown gateway, bad signature, or a batch for another log.",
    404: "Not there, or beyond the published tree (`not-published-yet`, member `published`).",
    408: "The body came too slowly.",
    409: (
        "`stream-gap` (member `expected`: the sequence number that the stream continues at), or "
        "`stream-conflict` (member `first`): the stream holds something else there. Of records: "
        "`id-conflict` (member `entry`) or `idempotency-conflict`, when the id or the key stands "
        "for other content already."
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


def answers(
    ok: str, content: dict[str, Any], *statuses: int, headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The answers of a call: 200 with its headers, and problems by status."""
    return {**succeeds(ok, content, headers), **problems_of(*statuses)}


def problems_of(*statuses: int) -> dict[str, Any]:
    """Answers that are problems of the log, by status."""
    return problems(_PROBLEMS, *statuses)


def readable(paths: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The paths, whose reads may need a read token: of `/v1`, the C2SP reads and the metrics."""
    for path, operations in paths.items():
        if "get" in operations and path.startswith(("/v1/", "/checkpoint", "/tile/", "/metrics")):
            operations["get"]["security"] = [{}, {"readToken": []}]
            operations["get"]["responses"].update(problems_of(401))
    return paths
