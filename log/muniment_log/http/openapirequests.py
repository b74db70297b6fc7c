"""What a request to the log may say, for its OpenAPI document: parameters, and records as JSON."""

from typing import Annotated, Any, Final, Literal, NotRequired, TypeAlias, TypedDict

from msgspec import Meta

from muniment.complete.keys import MAX_KEY_TEXT
from muniment.complete.listing import MAX_LISTED
from muniment.index.query import DEPTH, LIMIT, MAX_DEPTH, MAX_LIMIT
from muniment.lineage.walk import Direction
from muniment.records.batchbody import MAX_ADDENDA
from muniment.records.kinds import ThingType
from muniment.records.manifest import LABEL, MAX_BATCH_RECORDS
from muniment.records.members import MAX_ID, MAX_KEY_NAME, MAX_NAME
from muniment_log.http.complete import MAX_KEYS
from muniment_service.openapi import Number, reference, says, text

_BYTE: Final = "[0-9a-f]{2}"
_SECONDS: Final = r"[0-5]?[0-9](?:\.[0-9]{1,6})?|60"
_Limit: TypeAlias = Annotated[
    int,
    Meta(ge=1, le=MAX_LIMIT),
    says(f"Most of them in the answer, {LIMIT} if not given."),
]
_LeafIndex: TypeAlias = Annotated[Number, says("Leaf index.")]
_RECORDS: Final = {
    "type": "array",
    "items": {"anyOf": [reference("Evaluation"), reference("Record")]},
    "minItems": 1,
    "maxItems": MAX_BATCH_RECORDS,
}
Submission: TypeAlias = Annotated[
    Any,
    Meta(
        extra_json_schema={
            "anyOf": [
                reference("Evaluation"),
                reference("Record"),
                _RECORDS,
                {
                    "type": "object",
                    "properties": {
                        "records": _RECORDS,
                        "addenda": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "properties": {
                                    "nonce": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
                                    "value": True,
                                },
                                "required": ["nonce", "value"],
                                "additionalProperties": False,
                            },
                            "maxItems": MAX_ADDENDA,
                        },
                    },
                    "required": ["records"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]


class Waiting(TypedDict, total=False):
    """What a submission waits for."""

    wait: Annotated[
        Literal["published"],
        says("`published` waits for a cosigned checkpoint and answers it with inclusion proofs."),
    ]
    timeout: Annotated[
        str,
        text(
            _SECONDS,
            "Seconds to wait for it, at most 60, with up to six decimal places; 10 if not given.",
        ),
    ]


class Mirrored(TypedDict, total=False):
    """What who asks for the mirrored checkpoint waits for."""

    size: Annotated[Number, says("Waits for a tree of so many leaves.")]
    timeout: Annotated[
        str,
        text(
            _SECONDS,
            "Seconds to wait for it, at most 60, with up to six decimal places; 0 if not given.",
        ),
    ]


class Tile(TypedDict):
    """Which hash tile or entry bundle."""

    path: Annotated[
        str,
        text(
            r"(?:entries|[0-9]|[1-5][0-9]|6[0-3])/(?:x[0-9]{3}/){0,5}[0-9]{3}"
            r"(?:\.p/(?:[1-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5]))?",
            "`<L>/<N>` or `entries/<N>`, with `.p/<W>` for a partial one (C2SP tlog-tiles).",
        ),
    ]


class AddendumPlace(TypedDict):
    """Which addendum."""

    s0: Annotated[str, text(_BYTE, "The digest's first byte.")]
    s1: Annotated[str, text(_BYTE, "Its second byte.")]
    digest: Annotated[str, text("[0-9a-f]{64}", "SHA-256 of the addendum.")]


class StreamKey(TypedDict):
    """Which stream."""

    gateway: Annotated[str, text(r"[^\s+]+", "Key name; its slashes may stay.")]
    stream: Annotated[str, text(LABEL, "Stream label.", most=64)]


class Entry(TypedDict):
    """Which leaf."""

    index: _LeafIndex


class _Page(TypedDict, total=False):
    after: Annotated[Number, says("Only records with a greater index: `next` of the page before.")]
    limit: _Limit


class Search(_Page, total=False):
    """Which decisions."""

    subject: Annotated[str, text("[^:]+:.+", "The subject, as type, colon, id.")]
    resource: Annotated[str, text("[^:]+:.+", "The resource, as type, colon, id.")]
    since: Annotated[
        Number, says("Made at this time or later, Unix milliseconds by the producer's clock.")
    ]
    until: Annotated[Number, says("Made before this time, likewise.")]


class About(_Page):
    """Of which id."""

    id: Annotated[str, text("[!-~]+", "The id.", most=MAX_ID)]


class KeyId(TypedDict):
    """Which key."""

    key: Annotated[
        str,
        text(
            "[!-~]+",
            "The key: its name, a plus sign, its key ID in hexadecimal digits.",
            most=MAX_KEY_NAME + 9,
        ),
    ]


class Walk(TypedDict):
    """Where a walk through lineage begins, and how far it goes."""

    type: Annotated[ThingType, says("What it is.")]
    id: Annotated[str, text("[!-~]+", "Which one; slashes may stay.", most=MAX_NAME)]
    direction: NotRequired[
        Annotated[Direction, says("To what came before it (if not given), or to what came of it.")]
    ]
    depth: NotRequired[
        Annotated[int, Meta(ge=1, le=MAX_DEPTH), says(f"Most hops, {DEPTH} if not given.")]
    ]
    limit: NotRequired[_Limit]
    page: NotRequired[
        Annotated[str, text(r"(?:0|[1-9][0-9]*)\.(?:0|[1-9][0-9]*)", "`next` of the page before.")]
    ]


class InclusionQuery(TypedDict):
    """Of which leaf, in which tree."""

    index: _LeafIndex
    size: NotRequired[Annotated[Number, says("Tree size.")]]


ConsistencyQuery = TypedDict(  # `from` is a keyword
    "ConsistencyQuery",
    {"from": Annotated[Number, says("Older size.")], "to": Annotated[Number, says("Newer size.")]},
)


class Complete(TypedDict):
    """What a completeness proof is about."""

    key: Annotated[
        list[Annotated[str, text("[a-z]+(?: [!-~]+){1,3}", "A key.", most=MAX_KEY_TEXT)]],
        Meta(min_length=1, max_length=MAX_KEYS),
        says(
            "What to prove all leaves of: a kind and its parts, percent-encoded, parted by spaces, "
            "such as `revocations execution run-17`. May be repeated."
        ),
    ]
    size: NotRequired[Annotated[Number, says("The proof must be about so many leaves at least.")]]
    limit: NotRequired[
        Annotated[
            int,
            Meta(ge=1, le=MAX_LISTED),
            says(f"Leaves of each list that are named, {MAX_LISTED} if not given."),
        ]
    ]
    records: NotRequired[
        Annotated[Literal["0", "1"], says("1: with the records, their manifests and proofs.")]
    ]
