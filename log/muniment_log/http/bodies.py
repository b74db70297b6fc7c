"""The JSON bodies of the log's calls: what handlers answer, and what `/v1/records` takes.

The OpenAPI document is made from these structs. Docstrings and descriptions are part of it.
"""

from typing import Annotated, Any, Final, TypeAlias, get_args

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from muniment.records.kinds import Record as AnyRecord
from muniment_service.openapi import Hash, Number

Proof: TypeAlias = Annotated[list[Hash], Meta(max_length=63)]
_Verbatim: TypeAlias = Annotated[
    Raw, Meta(extra_json_schema={"type": "object", "required": ["id", "kind", "producer"]})
]
# Null is taken for absence.
_Object: TypeAlias = dict[str, Any] | UnsetType | None

_KINDS: Final = sorted(str(kind.__struct_config__.tag) for kind in get_args(AnyRecord))


class Published(Struct, frozen=True, forbid_unknown_fields=True):
    """A cosigned checkpoint and an inclusion proof for each record."""

    checkpoint: str
    proofs: list[Proof]


class Receipt(Struct, forbid_unknown_fields=True):
    """Where the records of a request stand in the log."""

    first: Number
    count: Number
    manifest: Number
    size: Number
    indices: (
        Annotated[
            tuple[Number, ...],
            Meta(
                description="Each record's leaf index, when they do not stand side by side because "
                "some had been logged before; only of `/v1/records`."
            ),
        ]
        | UnsetType
    ) = UNSET
    published: Published | UnsetType = UNSET


class Stream(Struct, frozen=True, forbid_unknown_fields=True):
    """The end of a stream: the next sequence number and the last manifest's leaf hash."""

    gateway: str
    stream: str
    next: Number
    manifest: Hash
    origin: str


class Inclusion(Struct, frozen=True, forbid_unknown_fields=True):
    """An inclusion proof."""

    index: Number
    size: Number
    leaf_hash: Hash
    proof: Proof
    root: Hash


class Consistency(Struct, frozen=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """A consistency proof."""

    from_: Number
    to: Number
    proof: Proof


class FoundRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """A record, verbatim, and its leaf index."""

    index: Number
    conflicting: bool
    record: _Verbatim


class Answer(Struct, frozen=True, forbid_unknown_fields=True):
    """A page of records; `next` is the `after` of the next page."""

    size: Number
    records: list[FoundRecord]
    next: int | None


class KeySeen(Struct, frozen=True, forbid_unknown_fields=True):
    """Whether a key has signed a leaf."""

    size: Number
    index: int | None
    first: Number


class FoundEdge(Struct, frozen=True, forbid_unknown_fields=True):
    """An edge, verbatim, its leaf index and its distance."""

    index: Number
    depth: Number
    record: _Verbatim


class Lineage(Struct, frozen=True, forbid_unknown_fields=True):
    """A page of edges; `next` is the `page` of the next one."""

    size: Number
    edges: list[FoundEdge]
    next: str | None
    truncated: bool


class Entity(Struct):
    """An AuthZEN subject or resource."""

    type: str
    id: str
    properties: _Object = UNSET


class Action(Struct):
    """An AuthZEN action."""

    name: str
    properties: _Object = UNSET


class EvaluationRequest(Struct):
    """An AuthZEN access evaluation request."""

    subject: Entity
    action: Action
    resource: Entity
    context: _Object = UNSET


class EvaluationResponse(Struct):
    """An AuthZEN access evaluation response."""

    decision: bool
    context: _Object = UNSET


class Evaluation(Struct):
    """An OpenID AuthZEN evaluation, request and response."""

    request: EvaluationRequest
    response: EvaluationResponse


class Record(Struct):
    """A record of any kind; `v`, `id`, `time` and `producer` may be left out."""

    kind: Annotated[str, Meta(extra_json_schema={"enum": _KINDS})]
