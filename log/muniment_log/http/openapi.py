"""The OpenAPI 3.1 document of the log; a test compares it with the routes and with real answers."""

from functools import partial
from typing import Any, Final

from msgspec.structs import replace

from muniment.index.query import MAX_WALK
from muniment.records.manifest import MAX_BATCH_BYTES, MAX_BATCH_RECORDS
from muniment.tlog.tiles import COSIGNED, MIRRORED
from muniment_log.http import bodies
from muniment_log.http.openapirequests import (
    About,
    AddendumPlace,
    Complete,
    ConsistencyQuery,
    Entry,
    InclusionQuery,
    KeyId,
    Mirrored,
    Search,
    StreamKey,
    Submission,
    Tile,
    Waiting,
    Walk,
)
from muniment_service import openapi
from muniment_service.openapi import (
    BYTES,
    HTML,
    JSON,
    OPERATIONS,
    TEXT,
    Binary,
    Operation,
    paths_and_schemas,
)

_PROBLEMS: Final[dict[int, str]] = {
    400: "Malformed: the body, a parameter or a path.",
    401: "No bearer token, or not one that is known and valid now.",
    403: "Unknown gateway, bad signature, a batch for another log, or a token of another scope.",
    404: (
        "Not there, or beyond the published tree (`not-published-yet`, member `published`), or "
        "beyond the tree that the index log is about (`not-indexed-yet`, member `covered`)."
    ),
    408: "The body came too slowly.",
    409: (
        "`stream-gap` (member `expected`: the sequence number that the stream continues at), or "
        "`stream-conflict` (member `first`): the stream holds something else there. Of records: "
        "`id-conflict` (member `entry`) or `idempotency-conflict`, when the id or the key stands "
        "for other content already."
    ),
    410: (
        "`erased`: removed for good at the time `erased`, Unix milliseconds; leaf `record` says "
        "so, once that is logged."
    ),
    413: "Larger than the limit.",
    415: "Not a content type or content encoding that is taken.",
    422: (
        "`bad-record`: a record is not acceptable (member `entry`: its number in the request). "
        "`bad-addendum`: an addendum is not (member `addendum`: its number), because no record of "
        "the request names it, say. `missing-addendum`: a record says that the log keeps its "
        "addenda, and one did not come (members `entry`, `digest`). Of a proof: `list-too-long` "
        "or `too-many-records`; give a `limit`."
    ),
    429: (
        "`over-budget`: the producer, or the address, sends more than it may; see `Retry-After`."
    ),
    431: (
        "The request line or the headers are too long. A completeness proof may be asked for in "
        "several requests of fewer keys each."
    ),
    503: (
        "Not now; see `Retry-After`. `overloaded`, `busy`, `unavailable`, `storage-failed`, "
        "`index-unavailable`, `index-log-unavailable`, `not-mirrored`: mirrors do not hold as much "
        "yet, or `not-published`: logged, but no quorum in time (member `receipt`)."
    ),
}

# Reads of `/v1`, the C2SP reads and the metrics may need a read token.
_READERS: Final = (None, "readToken")
_ETAG: Final = {"ETag": "For `If-None-Match`.", "Cache-Control": "How long it may be kept."}
_read = partial(Operation, security=_READERS, problems=(400, 401, 404, 410, 503))
_submit = partial(Operation, method="post", parameters=Waiting, answer={JSON: bodies.Receipt})
_about = partial(
    _read,
    success="The records verbatim, in the order of the log; `size` is the tree size that the "
    "answer reflects. `conflicting`: its producer used the id for other content, too.",
    answer={JSON: bodies.Answer},
    parameters=About,
)

_CALLS: Final = (
    Operation(
        path="/",
        name="front",
        summary="Which log this is",
        success="A line of text.",
        answer={TEXT: str},
    ),
    Operation(
        path="/verify.html",
        name="page",
        summary="A page that verifies proofs, permits, lineage and evidence in a browser, offline",
        success="One file with all that it needs.",
        answer={HTML: str},
        headers=_ETAG,
    ),
    Operation(
        path=f"/{COSIGNED}",
        name="cosignedCheckpoint",
        summary="The newest checkpoint that witnesses with a rate of their own cosigned, too",
        success="A signed note.",
        answer={TEXT: str},
        headers=_ETAG,
        problems=(401, 404, 503),
        security=_READERS,
    ),
    Operation(
        path=f"/{MIRRORED}",
        name="mirroredCheckpoint",
        summary="The newest checkpoint whose leaves mirrors hold, as many as the policy asks for",
        success="A signed note.",
        answer={TEXT: str},
        headers=_ETAG,
        problems=(400, 401, 404, 503),
        security=_READERS,
        parameters=Mirrored,
    ),
    Operation(
        path="/min_index",
        name="minIndex",
        summary="The index of the first entry that is kept; those before were pruned",
        success="A decimal number and a line end; 0 when nothing was.",
        answer={TEXT: str},
        problems=(401,),
        security=_READERS,
    ),
    Operation(
        path="/checkpoint",
        name="checkpoint",
        summary="The published checkpoint, cosigned by the quorum",
        success="A signed note.",
        answer={TEXT: str},
        headers=_ETAG,
        problems=(401, 404),
        security=_READERS,
    ),
    _read(
        path="/tile/{path}",
        name="tile",
        summary="A hash tile or an entry bundle of the published tree",
        success="Its bytes.",
        answer={BYTES: Binary},
        headers=_ETAG,
        parameters=Tile,
    ),
    Operation(
        path="/index/checkpoint",
        name="indexCheckpoint",
        summary="The published checkpoint of the index log, of the origin `<origin>/index`",
        success="A signed note.",
        answer={TEXT: str},
        headers=_ETAG,
        problems=(401, 404, 503),
        security=_READERS,
    ),
    _read(
        path="/index/tile/{path}",
        name="indexTile",
        summary="A hash tile or an entry bundle of the index log",
        success="Its bytes.",
        answer={BYTES: Binary},
        headers=_ETAG,
        parameters=Tile,
    ),
    _read(
        path="/addenda/{s0}/{s1}/{digest}",
        name="addendum",
        summary="What a record withholds, by its digest (C2SP draft tlog-addenda)",
        success="Its bytes: canonical JSON of `nonce` and `value`, or what somebody else made.",
        answer={BYTES: Binary},
        parameters=AddendumPlace,
        problems=(400, 401, 403, 404, 410, 503),
    ),
    _submit(
        path="/v1/batches",
        name="submitBatch",
        summary=f"Log a signed batch: up to {MAX_BATCH_RECORDS} records, {MAX_BATCH_BYTES} bytes, "
        "and behind its manifest the addenda that its records name",
        success="The records are durable. The same for every retry.",
        problems=(400, 403, 408, 409, 413, 415, 422, 429, 503),
        body={BYTES: Binary},
    ),
    _submit(
        path="/v1/records",
        name="submitRecords",
        summary="Log records of a client that cannot sign",
        success="The records are durable. The same again for what was sent before: in a request "
        "with the same `Idempotency-Key` header, or as records with the same ids. A lone record "
        "of a run that states no `traceparent` gets the one of the header.",
        problems=(400, 401, 408, 409, 413, 415, 422, 429, 503),
        body={JSON: Submission, "application/x-ndjson": str},
        security=("token",),
    ),
    _read(
        path="/v1/streams/{gateway}/{stream}",
        name="stream",
        summary="Where a stream continues",
        success="Its next sequence number and its last manifest's leaf hash.",
        answer={JSON: bodies.Stream},
        parameters=StreamKey,
    ),
    _read(
        path="/v1/entries/{index}",
        name="entry",
        summary="A leaf of the published tree",
        success="The leaf's bytes: a record, or a manifest as text.",
        answer={JSON: dict[str, Any], TEXT: str},
        headers={"Muniment-Leaf-Index": "The leaf's index."},
        parameters=Entry,
    ),
    _read(
        path="/v1/decisions",
        name="find",
        summary="Decisions, by subject, resource and time if they are given",
        success="The records verbatim, in the order of the log; `size` is the tree size that the "
        "answer reflects. A page may end before it is full; `next` goes on.",
        answer={JSON: bodies.Answer},
        parameters=Search,
    ),
    _read(
        path="/v1/keys/{key}",
        name="key",
        summary="Whether a key has signed something in this log",
        success="`index` is a leaf that it signed, or null; `first` the first leaf that was "
        "looked at: an index that an older version began knows keys from some leaf on.",
        answer={JSON: bodies.KeySeen},
        parameters=KeyId,
    ),
    _about(
        path="/v1/decisions/{id}",
        name="decision",
        summary="Decisions of an id, with the edges and revocations that name them",
    ),
    _about(
        path="/v1/executions/{id}",
        name="execution",
        summary="What is logged of a run: decisions, outcomes, verifications, edges, more",
    ),
    _read(
        path="/v1/lineage/{type}/{id}",
        name="lineage",
        summary="Edges around a thing, nearest first",
        success="The edges verbatim; `size` is the tree size that all pages reflect. `truncated`: "
        f"the walk ended at {MAX_WALK} edges, and there are more.",
        answer={JSON: bodies.Lineage},
        parameters=Walk,
    ),
    _read(
        path="/v1/index/proof",
        name="completenessProof",
        summary="That some leaves are all that the log has on some keys",
        success="A completeness proof, which verifies offline.",
        answer={TEXT: str},
        parameters=Complete,
        problems=(400, 401, 404, 422, 503),
    ),
    _read(
        path="/v1/index/proof",
        method="post",
        name="longCompletenessProof",
        summary="The same of more keys than a request line takes: the query is the body",
        success="A completeness proof, which verifies offline.",
        body={BYTES: Binary},
        answer={TEXT: str},
        problems=(400, 401, 404, 408, 413, 415, 422, 503),
    ),
    _read(
        path="/v1/proofs/inclusion",
        name="inclusionProof",
        summary="That a leaf is in the published tree",
        success="A C2SP tlog-proof, or JSON for any published size with `Accept`.",
        answer={TEXT: str, JSON: bodies.Inclusion},
        parameters=InclusionQuery,
    ),
    _read(
        path="/v1/proofs/consistency",
        name="consistencyProof",
        summary="That one published tree extends another",
        success="The proof.",
        answer={JSON: bodies.Consistency},
        parameters=ConsistencyQuery,
    ),
    *(
        replace(call, security=_READERS, problems=(401,)) if call.name == "metrics" else call
        for call in OPERATIONS
    ),
)

PATHS, _SCHEMAS = paths_and_schemas(_CALLS, _PROBLEMS, bodies.Evaluation, bodies.Record)


def document(origin: str, version: str) -> dict[str, Any]:
    """Makes the document of one log."""
    return openapi.document(
        f"Muniment log {origin}",
        version,
        "A transparency log for authorization decisions. Reads at the root follow C2SP "
        "tlog-tiles; errors are RFC 9457 problem details with a stable type.",
        PATHS,
        _SCHEMAS,
        tokens=("token", "readToken"),
    )
