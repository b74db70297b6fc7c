"""The OpenAPI 3.1 document of a witness: C2SP tlog-witness, and what peers and people read."""

from functools import partial
from typing import Annotated, Any, Final, TypeAlias, TypedDict

from msgspec import Struct

from muniment import __version__
from muniment.tlog.mirrorwire import INFO_CONTENT_TYPE
from muniment_service import openapi
from muniment_service.openapi import (
    BYTES,
    JSON,
    OPERATIONS,
    TEXT,
    Binary,
    Number,
    Operation,
    paths_and_schemas,
    says,
    text,
)
from muniment_witness.gossip.peers import EVIDENCE_PATH, HEADS_PATH

_PROBLEMS: Final[dict[int, str]] = {
    400: "Malformed: the body or the path.",
    403: (
        "`bad-signature`: not signed by a key that this witness trusts; `misbehaviour-proven`: "
        "this witness holds evidence against the log."
    ),
    404: (
        "`unknown-origin`, or nothing there: `never-cosigned`, `not-mirrored-yet`, `not-held`, "
        "`not-found`."
    ),
    408: "The body came too slowly.",
    413: "Larger than the limit.",
    415: "A content encoding, which no body may have but an upload (gzip); or no upload at all.",
    422: (
        "Well-formed, and wrong: `bad-proof`, `bad-root`, `proves-nothing`; `no-checkpoint`: none "
        "of this log was added."
    ),
    501: "This witness has no key that signs subtrees.",
    503: "Not now: `busy`, `clock`, `begun-anew`, `restored-copy`, `behind-own-cosignature` (all "
    "with `Retry-After`), `storage-failed`, `copy-damaged`.",
}

_TAG: Final = {"ETag": "For `If-None-Match`."}

_Digest: TypeAlias = Annotated[str, text("[0-9a-f]{64}")]


class StatusAlarm(TypedDict):
    """An alarm."""

    kind: Any
    subject: Any
    detail: Any


class StatusLog(TypedDict):
    """A log: what was cosigned, what is known of it, and evidence against it."""

    origin: Any
    cosigned: Any
    evidence: Any


class StatusPeer(TypedDict):
    """A peer, and the comparisons of its heads."""

    name: Any
    reached: Any
    error: Any
    logs: Any


class Status(TypedDict):
    """The state of the witness."""

    name: str
    time: Number
    vkeys: list[str]
    alarms: list[StatusAlarm]
    logs: list[StatusLog]
    peers: list[StatusPeer]
    bastions: Any


class About(TypedDict, total=False):
    """What the witness tells of itself."""

    name: str
    verifier_keys: list[str]
    software: Any
    submission_url: str
    monitoring_url: str
    log_lists: list[str]


class EvidenceFile(Struct, forbid_unknown_fields=True):
    """An evidence file that the witness holds."""

    origin: str
    hash: _Digest
    kind: str
    time: Number


class Evidence(Struct, forbid_unknown_fields=True):
    """All evidence files that the witness holds."""

    evidence: list[EvidenceFile]


class Taken(Struct, forbid_unknown_fields=True):
    """How many heads are looked at."""

    taken: Number


class New(Struct, forbid_unknown_fields=True):
    """Whether the witness did not hold the file before."""

    new: bool


class _Log(TypedDict):
    origin: Annotated[
        _Digest,
        says("SHA-256 of a log's origin, in hexadecimal (C2SP tlog-witness, monitoring)."),
    ]


class _Tile(_Log):
    path: Annotated[str, says("As in C2SP tlog-tiles.")]


class _History(_Log):
    size: Annotated[Number, says("The old size of the request.")]


class _Peer(_Log):
    peer: Annotated[_Digest, says("SHA-256 of the peer's name.")]


class _File(TypedDict):
    hash: Annotated[_Digest, says("SHA-256 of the file, as listed.")]


_post = partial(Operation, method="post")
_REFUSALS: Final = (400, 408, 413, 415, 503)
_OLD_SIZE: Final = {
    "description": "The old size is not that of the newest cosigned checkpoint, which is told.",
    "content": {
        "text/x.tlog.size": {
            "schema": {"type": "string", "pattern": "^(?:[0-9]+\\n)$", "minLength": 1}
        }
    },
}

_CALLS: Final = (
    _post(
        path="/add-checkpoint",
        name="addCheckpoint",
        summary="Cosign a checkpoint that extends the newest one cosigned (C2SP tlog-witness)",
        success="Cosignature lines.",
        answer={TEXT: str},
        others={409: _OLD_SIZE},
        problems=(*_REFUSALS, 403, 404, 422),
        body={TEXT: str},
    ),
    _post(
        path="/sign-subtree",
        name="signSubtree",
        summary="Cosign a subtree of a checkpoint that this witness has cosigned "
        "(C2SP tlog-witness)",
        success="The signature by the key that signed the checkpoint, in base64, and a newline.",
        answer={TEXT: str},
        problems=(*_REFUSALS, 403, 404, 422, 501),
        body={TEXT: str},
    ),
    Operation(
        path="/{origin}/checkpoint",
        name="cosigned",
        summary="The newest checkpoint of a log that this witness has cosigned",
        success="A signed note.",
        answer={TEXT: str},
        headers=_TAG,
        problems=(404,),
        parameters=_Log,
    ),
    Operation(
        path="/{origin}/tile/{path}",
        name="tile",
        summary="A tile of this witness's own view of a log, as far as it holds it",
        success="Its bytes.",
        answer={BYTES: Binary},
        problems=(404,),
        parameters=_Tile,
    ),
    Operation(
        path="/{origin}/history/{size}",
        name="history",
        summary="The accepted add-checkpoint request that led on from a size",
        success="The request's body.",
        answer={TEXT: str},
        problems=(400, 404),
        parameters=_History,
    ),
    Operation(
        path="/{origin}/shown-by/{peer}",
        name="shownBy",
        summary="The newest head of a log that a peer has shown to this witness",
        success="A signed note.",
        answer={TEXT: str},
        problems=(404,),
        parameters=_Peer,
    ),
    Operation(
        path=HEADS_PATH,
        name="heads",
        summary="Heads known beyond the cosigned ones",
        success="Notes, each after its length.",
        answer={BYTES: Binary},
        headers=_TAG,
    ),
    _post(
        path=HEADS_PATH,
        name="pushHeads",
        summary="Tell of heads that have moved: framed notes",
        success="How many are looked at.",
        answer={JSON: Taken},
        problems=(*_REFUSALS, 403),
        body={BYTES: Binary},
        takes_empty_body=True,  # no heads at all are a bundle, too
    ),
    Operation(
        path=EVIDENCE_PATH,
        name="evidence",
        summary="What evidence this witness holds",
        success="A list.",
        answer={JSON: Evidence},
        headers=_TAG,
    ),
    _post(
        path=EVIDENCE_PATH,
        name="pushEvidence",
        summary="Hand in an evidence file",
        success="Whether it was new.",
        answer={JSON: New},
        problems=(*_REFUSALS, 404, 422),
        body={TEXT: str},
    ),
    Operation(
        path=EVIDENCE_PATH + "/{hash}",
        name="evidenceFile",
        summary="An evidence file",
        success="The file.",
        answer={TEXT: str},
        problems=(404,),
        parameters=_File,
    ),
    Operation(
        path="/",
        name="front",
        summary="The status, for people; as JSON with `Accept: application/json`",
        success="The status.",
        answer={"text/html": str, JSON: Status},
    ),
    Operation(
        path="/status.json",
        name="status",
        summary="The status",
        success="The status.",
        answer={JSON: Status},
    ),
    Operation(
        path="/witness.v0.json",
        name="witness",
        summary="Name, keys and addresses of the witness, for programs",
        success="They.",
        answer={JSON: About},
    ),
    Operation(
        path="/about",
        name="about",
        summary="The same for operators of logs, with the lists that the witness reads",
        success="A page.",
        answer={"text/html": str},
    ),
    *OPERATIONS,
)

_COSIGNS: Final = frozenset({"cosigned", "witness", "about"})
"""The calls that a mirror alone has not."""


def _mirror_calls(path: str) -> tuple[Operation, ...]:
    info = {
        "content": {
            INFO_CONTENT_TYPE: {
                "schema": {"type": "string", "pattern": "^[0-9]+\\n[0-9]+\\n[A-Za-z0-9+/=]*\\n$"}
            }
        }
    }
    taken = {"description": "Some entries are here; how to go on.", **info}
    elsewhere = {"description": "It begins or ends elsewhere; how to go on.", **info}
    return (
        _post(
            path="/add-entries",
            name="addEntries",
            summary="Upload entries of a log up to a pending checkpoint (C2SP tlog-mirror)",
            success="Cosignature lines of the mirror: all entries are here, and durable.",
            answer={TEXT: str},
            others={202: taken, 409: elsewhere},
            problems=(400, 404, 415, 422, 503),
            body={BYTES: Binary},
        ),
        Operation(
            path=f"{path}/{{origin}}/checkpoint",
            name="mirrored",
            summary="The mirror checkpoint of a log",
            success="A signed note, with the log's signatures and the mirror's cosignatures.",
            answer={TEXT: str},
            headers=_TAG,
            problems=(404,),
            parameters=_Log,
        ),
        Operation(
            path=f"{path}/{{origin}}/tile/{{path}}",
            name="mirroredTile",
            summary="A tile or entry bundle of a mirrored log",
            success="Its bytes.",
            answer={BYTES: Binary},
            headers=_TAG,
            problems=(400, 404, 503),
            parameters=_Tile,
        ),
        Operation(
            path=f"{path}/mirror.v0.json",
            name="mirror",
            summary="Name, keys and addresses of the mirror, for programs",
            success="They.",
            answer={JSON: About},
        ),
    )


PATHS, _SCHEMAS = paths_and_schemas(_CALLS, _PROBLEMS)


def document(name: str, *, cosigns: bool = True, mirror: str | None = None) -> dict[str, Any]:
    """Makes the document of the witness of a name.

    `mirror` is the path below which a mirror's copies are; one alone does not cosign for a witness.
    """
    paths, schemas = PATHS, _SCHEMAS
    if mirror is not None:
        own = [call for call in _CALLS if cosigns or call.name not in _COSIGNS]
        paths, schemas = paths_and_schemas([*own, *_mirror_calls(mirror)], _PROBLEMS)
    return openapi.document(
        f"Muniment witness {name}",
        __version__,
        "Cosigns the checkpoints of logs that only append, compares what it sees with its peers, "
        "and keeps the proof when a log's key has signed two histories."
        if cosigns
        else "Holds copies of logs, and cosigns what it holds.",
        paths,
        schemas,
    )
