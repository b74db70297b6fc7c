"""The seven kinds of record, typed.

Common to all: `v`, the version of these formats, 1; `id`, unique for its producer; `time`, Unix
milliseconds by the producer's clock; `producer`, the gateway's key name. A value made in Python is
validated when it is encoded; one that comes from `records.parse_record` has been. Things, edges,
revocations and erasures hold nothing but text and numbers: no cycle, so the collector need not look
at them (`gc=False`). A trace has many thousands of them.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

from msgspec import Meta, Struct

from muniment.records.approval import SignedApproval
from muniment.records.artifact import Artifact
from muniment.records.canonical import MAX_SAFE_INTEGER
from muniment.records.members import (
    MAX_ERASED,
    MAX_ITEMS,
    MAX_SIGNATURES,
    AddendumDigest,
    DenialCode,
    Digest,
    Id,
    KeyName,
    KeyReference,
    Label,
    LeafHash,
    LeafIndex,
    Milliseconds,
    Name,
    Pointer,
    Reason,
    RevokedKey,
    Seconds,
    ShortName,
    SignatureText,
    Traceparent,
)

Relation: TypeAlias = Literal[
    "authorized_by",
    "triggered_by",
    "performed_by",
    "delegated_by",
    "used",
    "generated_by",
    "derived_from",
    "revoked_by",
]
"""A lineage relation, pointing from the later thing to the earlier one."""

ThingType: TypeAlias = Literal["run", "decision", "agent", "artifact", "policy", "grant"]
"""What an edge may connect; a run is one execution."""

CheckState: TypeAlias = Literal["verified", "failed", "unknown"]

RunStatus: TypeAlias = Literal["completed", "failed", "aborted", "not_run", "unknown"]
"""How a run ended; `Outcome` says what each means."""


class Entity(NamedTuple):
    """An AuthZEN subject or resource, without its properties."""

    type: str
    id: str


class LeftOut(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a reduced decision does not hold of one member; `reduction` tells how it is made.

    Attributes:
        size: Length in bytes of the canonical JSON of what was there.
        digest: Salted commitment to it; None where no salt is kept.
        type: What was there instead of a value that JSON has a form for: the name of a type, or
            ``missing``. Then nothing else is known of it.
    """

    size: Annotated[int, Meta(ge=0, le=MAX_SAFE_INTEGER)] | None = None
    digest: Digest | None = None
    type: ShortName | None = None


class Denial(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Why a decision is false, or why a run that was allowed never began.

    Attributes:
        codes: At least one code, each at most once.
        reduced: Of a decision that could not be recorded as it was: what is left out of it or cut
            short, by path (``request.context.account``); 1 to MAX_ITEMS, None for nothing.
    """

    codes: Annotated[tuple[DenialCode, ...], Meta(min_length=1)]
    reduced: (
        Annotated[dict[ShortName, LeftOut], Meta(min_length=1, max_length=MAX_ITEMS)] | None
    ) = None


class Signature(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """An authority's signature over a decision; `authority` tells over which bytes.

    The key is the first two parts of its vkey: ``<key name>+<key ID in hex>``; the signature
    canonical base64.
    """

    key: KeyReference
    signature: SignatureText


class Thing(
    Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
    gc=False,
):
    """One end of a lineage edge. Nothing but `type` and `id` names a thing of this log.

    Attributes:
        id: Which one: the id of a run or decision (1 to 128 characters), or the name of another
            thing (1 to 2,048), visible ASCII. An artifact is best named by its digest.
        origin: For a thing recorded in another log: that log's origin, with leaf index and leaf
            hash (base64) there. All three or none.
    """

    type: ThingType
    id: Name
    origin: KeyName | None = None
    index: LeafIndex | None = None
    leaf: LeafHash | None = None


class Check(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One check of a verification; with a digest of the evidence, when there is some."""

    name: ShortName
    result: CheckState
    evidence: Digest | None = None


class Target(
    Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
    gc=False,
):
    """What is revoked: exactly one member.

    Attributes:
        decision: The id of a decision.
        execution: The id of a run; all that descends from it is revoked with it.
        key: A key: ``<key name>+<key ID>`` for a vkey, ``sha256:…`` for a runtime's thumbprint.
    """

    decision: Id | None = None
    execution: Id | None = None
    key: RevokedKey | None = None


class _Common(
    Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
    tag_field="kind",
):
    v: Literal[1]
    id: Id
    time: Milliseconds
    producer: KeyName


class Decision(_Common, frozen=True, kw_only=True, omit_defaults=True, tag="decision"):
    """A decision: an AuthZEN 1.0 evaluation, and what it authorises.

    `request` and `response` are kept verbatim, members that AuthZEN does not define included.

    Attributes:
        v: 1.
        id: Unique for the producer.
        time: Unix milliseconds.
        producer: The gateway's key name.
        request: ``subject`` {type, id, properties?}, ``action`` {name, properties?}, ``resource``
            {type, id, properties?} and ``context``?; properties and context are objects.
        response: ``decision`` (a boolean) and ``context``? (an object).
        execution: The id of the run that it authorises.
        traceparent: W3C trace context of that run.
        denial: Why not; only when the decision is false.
        artifact: The authorization artifact.
        signatures: By authorities, over the record without this member; 1 to MAX_SIGNATURES, each
            key once.
        addenda: Which members of `request` and `response` are withheld: for the JSON pointer of
            each, the SHA-256 of its addendum in hexadecimal digits, see `addenda`; 1 to MAX_ITEMS.
        kept: ``log`` when the log keeps all these addenda: it took them together with the record,
            and gives them out until an erasure says otherwise. None when somebody else may.
    """

    request: dict[str, Any]
    response: dict[str, Any]
    execution: Id | None = None
    traceparent: Traceparent | None = None
    denial: Denial | None = None
    artifact: Artifact | None = None
    signatures: (
        Annotated[tuple[Signature, ...], Meta(min_length=1, max_length=MAX_SIGNATURES)] | None
    ) = None
    addenda: (
        Annotated[dict[Pointer, AddendumDigest], Meta(min_length=1, max_length=MAX_ITEMS)] | None
    ) = None
    kept: Literal["log"] | None = None

    @property
    def allowed(self) -> bool:
        """The policy engine's answer."""
        return self.response["decision"] is True

    @property
    def subject(self) -> Entity:
        """Who asks."""
        return _entity(self.request["subject"])

    @property
    def action(self) -> str:
        """The name of what they want to do."""
        name: str = self.request["action"]["name"]
        return name

    @property
    def resource(self) -> Entity:
        """To what."""
        return _entity(self.request["resource"])


class Edge(
    _Common,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    gc=False,
    tag="edge",
    rename={"from_": "from"},
):
    """A lineage edge, from the later thing to the earlier one; `recordcheck` lists the ends.

    `from_` (JSON member ``from``) is never the same as `to`.
    """

    relation: Relation
    from_: Thing
    to: Thing


class Verification(_Common, frozen=True, kw_only=True, omit_defaults=True, tag="verification"):
    """What a verifier found about a run.

    Attributes:
        execution: The id of the run.
        state: The verdict.
        checks: What it rests on, at most MAX_ITEMS.
        traceparent: W3C trace context of the run.
    """

    execution: Id
    state: CheckState
    checks: Annotated[tuple[Check, ...], Meta(max_length=MAX_ITEMS)]
    traceparent: Traceparent | None = None


class Outcome(_Common, frozen=True, kw_only=True, omit_defaults=True, tag="outcome"):
    """How a run ended.

    Attributes:
        status: How it ended: it ran to its end (`completed`), raised (`failed`), was stopped or
            not let begin (`aborted`), was allowed and its caller did not begin it (`not_run`), or
            nobody saw what became of it (`unknown`).
        denial: Why it never began; only of an `aborted` run.
        inputs: Digests of what it read, by name; 1 to MAX_ITEMS, None for none. Those that governed
            calls make are salted commitments, see `commitments`.
        outputs: Digests of what it made, likewise.
        unbound: Of which inputs and outputs there is no digest, because they have no canonical
            JSON, e.g. ``outputs.result``; each once.
        traceparent: W3C trace context of the run.
        kept: ``log`` when the digests are salted commitments whose addenda the log keeps, see
            `Decision`.
    """

    execution: Id
    status: RunStatus
    denial: Denial | None = None
    inputs: Annotated[dict[ShortName, Digest], Meta(min_length=1, max_length=MAX_ITEMS)] | None = (
        None
    )
    outputs: Annotated[dict[ShortName, Digest], Meta(min_length=1, max_length=MAX_ITEMS)] | None = (
        None
    )
    unbound: Annotated[tuple[ShortName, ...], Meta(min_length=1, max_length=MAX_ITEMS)] | None = (
        None
    )
    traceparent: Traceparent | None = None
    kept: Literal["log"] | None = None


class Revocation(
    _Common, frozen=True, kw_only=True, omit_defaults=True, tag="revocation", gc=False
):
    """Takes an authorization back.

    Attributes:
        target: What is revoked.
        since: From when on, Unix seconds (like `Validity`, with which it is compared); may lie
            before or after `time`.
        reason: Why, in 1 to 1,024 characters.
    """

    target: Target
    since: Seconds
    reason: Reason


class Erasure(_Common, frozen=True, kw_only=True, omit_defaults=True, tag="erasure", gc=False):
    """Says that addenda were erased: whoever kept them has their bytes no more.

    The records that name them stay as they are, and so do the tree and all proofs. It relates no
    records to each other; it is found by the digests.

    Attributes:
        digests: The SHA-256 of each addendum in hexadecimal digits, ascending, each once; 1 to
            MAX_ERASED.
        by: Who had them erased, in words: a person, an account, a rule of retention.
        reason: Why.
    """

    digests: Annotated[tuple[AddendumDigest, ...], Meta(min_length=1, max_length=MAX_ERASED)]
    by: Label
    reason: Reason | None = None


class Approval(_Common, frozen=True, kw_only=True, omit_defaults=True, tag="approval", gc=False):
    """A person's word on a call that a gateway holds: it may run, or not.

    Its `id` is that of `approval`, and its producer the gateway that is named in it. The decision
    that follows has the same `approval` in its artifact.

    Attributes:
        approval: What the person has signed.
    """

    approval: SignedApproval


Record: TypeAlias = Decision | Edge | Verification | Outcome | Revocation | Erasure | Approval
"""Any record; which kind is told by the JSON member ``kind``."""


def _entity(value: Mapping[str, Any]) -> Entity:
    return Entity(value["type"], value["id"])
