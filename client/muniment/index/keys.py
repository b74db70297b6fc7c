"""What a record is found by: its postings.

A posting says: at this leaf, a record plays this role for this thing. It is one integer of 63 bits,
relative to a *part* of the log (2**18 leaves):

    41 bits of SHA-256(type, id, origin) of the thing | 4 bits of role | 18 bits of leaf index

So all roles of one thing lie side by side, and within a role the leaves are in order. Parts keep
what an insertion touches small, however long the log is; a lookup looks into each of them. Hashes
may collide, by chance or on purpose, so a posting is a candidate: the record decides.

Only what a lookup needs is decoded here, and nothing is checked: a record that `parse_record`
would refuse may have postings, and is dropped when it is found.
"""

from collections.abc import Sequence
from enum import IntEnum
from hashlib import sha256
from struct import iter_unpack
from typing import Final, NamedTuple

from msgspec import DecodeError, Struct
from msgspec.json import Decoder

from muniment.index.summary import filter_of
from muniment.lineage.facts import signed_by
from muniment.records.manifest import MANIFEST

PART_BITS: Final = 18
"""Bits of the leaf index inside a part. 2**18 leaves have about 10 MB of postings: they stay in
the page cache while they are inserted, which costs a third of what one big table does."""

PART: Final = 1 << PART_BITS
"""Leaves in a part."""

ROLE_BITS: Final = 4
HASH_BITS: Final = 63 - ROLE_BITS - PART_BITS

LOCAL_MASK: Final = PART - 1
"""The bits of a posting that are the leaf index within the part."""

THING_SHIFT: Final = ROLE_BITS + PART_BITS
"""A posting shifted right by this is the hash of its thing."""

KINDS: Final = ("approval", "decision", "edge", "erasure", "outcome", "revocation", "verification")
"""The kinds of record; each is the type of the thing that a record of the kind itself is."""


class Role(IntEnum):
    """What a record is to a thing. The order counts: see `BEFORE_TO`."""

    ID = 0
    """It is the record of this kind with this id."""

    DECISION_OF = 1
    """It is a decision that authorises this run."""

    OUTCOME = 2
    """It is the outcome of this run."""

    VERIFICATION = 3
    """It is a verification of this run."""

    FROM = 4
    """It is an edge that begins at this thing."""

    REVOKED = 5
    """It revokes this decision, run, key, or all keys of this key name."""

    SIGNED = 6
    """It is a manifest that this key signed, or a decision that has this key's signature, or rests
    on an approval by it."""

    ERASED = 7
    """It says that the addendum of this digest was erased."""

    TO = 15
    """It is an edge that ends at this thing."""


BEFORE_TO: Final = (Role.ID, Role.REVOKED)
"""The roles that a walk towards the origin wants to know of a thing. `TO` is none of them: an agent
that is busy has few postings in these and a million in that one."""


class Extracted(NamedTuple):
    """The postings of consecutive leaves of one part, in ascending order.

    Attributes:
        postings: All but those of the role FROM.
        links: Those of the role FROM, each with the hash of the thing that its edge leads to.
        records: How many leaves have postings.
        manifests: How many are manifests.
        unknown: How many are neither; a log that checks what it takes has none.
        earliest, latest: The least and the greatest `time` of the records, Unix milliseconds; 0 and
            -1 when there are none.
        things: What the decisions are about, see `summary`.
    """

    postings: list[int]
    links: dict[int, int]
    records: int
    manifests: int
    unknown: int
    earliest: int
    latest: int
    things: bytes


class _End(Struct, gc=False):
    type: str
    id: str
    origin: str | None = None


class _Target(Struct, gc=False):
    decision: str | None = None
    execution: str | None = None
    key: str | None = None


class _Request(Struct, gc=False):
    subject: _End
    resource: _End


class _Signature(Struct, gc=False):
    key: str


class _Approval(Struct, gc=False):
    key: str


class _Artifact(Struct, gc=False):
    approval: _Approval | None = None


class _Narrow(Struct, rename={"from_": "from"}, gc=False):
    kind: str
    id: str
    execution: str | None = None
    from_: _End | None = None
    to: _End | None = None
    target: _Target | None = None
    time: int = 0
    request: _Request | None = None
    signatures: list[_Signature] | None = None
    digests: list[str] | None = None
    artifact: _Artifact | None = None


_decode: Final = Decoder(_Narrow).decode
_RUN_ROLES: Final = {
    "decision": Role.DECISION_OF << PART_BITS,
    "outcome": Role.OUTCOME << PART_BITS,
    "verification": Role.VERIFICATION << PART_BITS,
}
_ID: Final = Role.ID << PART_BITS
_FROM: Final = Role.FROM << PART_BITS
_TO: Final = Role.TO << PART_BITS
_REVOKED: Final = Role.REVOKED << PART_BITS
_ERASED: Final = Role.ERASED << PART_BITS
_SIGNED: Final = Role.SIGNED << PART_BITS


def thing_hash(type_: str, id_: str, origin: str | None = None) -> int:
    """The hash of a thing, HASH_BITS bits; its origin is None when it is of the indexed log.

    `type_` is a `ThingType`, a kind of record, ``key`` or ``key_name`` for what is revoked, or
    ``addendum`` for what is erased.
    """
    digest = sha256(_spell(type_, id_, origin)).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - HASH_BITS)


def posting(thing: int, role: Role, index: int) -> int:
    """The posting of a thing's hash, a role and a leaf, within the leaf's part."""
    return thing << THING_SHIFT | role << PART_BITS | index & LOCAL_MASK


def extract(entries: Sequence[bytes], first: int, origin: str) -> Extracted:
    """Makes the postings of consecutive leaves, `first` being the first; about 4 µs a record.

    A thing that states the log's origin is a thing of this log. Raises ValueError if the leaves are
    not all of one part.
    """
    if entries and first >> PART_BITS != first + len(entries) - 1 >> PART_BITS:
        raise ValueError(f"leaves [{first}, {first + len(entries)}) are not of one part")
    names: list[bytes] = []  # of things, and in step with them:
    lows: list[int] = []  # role and leaf
    near: list[bytes] = []  # of things that edges begin at, and in step with them:
    far: list[tuple[int, int]] = []  # role and leaf, and where in `names` the edge ends
    manifests = unknown = 0
    times: list[int] = []
    subjects: set[tuple[str, str]] = set()
    resources: set[tuple[str, str]] = set()
    for local, entry in enumerate(entries, first & LOCAL_MASK):
        try:
            found = _decode(entry)
        except (DecodeError, UnicodeDecodeError, RecursionError):
            if entry.startswith(MANIFEST):
                manifests += 1
                if (signed := signed_by(entry, 0)) is not None:
                    names.append(f"key\0{signed[1].key}".encode())
                    lows.append(_SIGNED | local)
            else:
                unknown += 1
            continue
        kind = found.kind
        if kind not in KINDS:
            unknown += 1
            continue
        # UTF-8 cannot fail: the decoder lets no lone surrogate through.
        names.append(f"{kind}\0{found.id}".encode())
        lows.append(_ID | local)
        times.append(found.time)
        if found.request is not None:
            subject, resource = found.request.subject, found.request.resource
            subjects.add((subject.type, subject.id))
            resources.add((resource.type, resource.id))
        if found.signatures is not None:
            names += [f"key\0{one.key}".encode() for one in found.signatures]
            lows += [_SIGNED | local] * len(found.signatures)
        if found.artifact is not None and found.artifact.approval is not None:
            names.append(f"key\0{found.artifact.approval.key}".encode())
            lows.append(_SIGNED | local)
        if kind == "edge":
            if found.from_ is not None and found.to is not None:
                near.append(_spell_end(found.from_, origin))
                far.append((_FROM | local, len(names)))
                names.append(_spell_end(found.to, origin))
                lows.append(_TO | local)
        elif kind == "revocation":
            if found.target is not None:
                targets = _spell_target(found.target)
                names += targets
                lows += [_REVOKED | local] * len(targets)
        elif kind == "erasure":
            erased = [f"addendum\0{digest}".encode() for digest in found.digests or ()]
            names += erased
            lows += [_ERASED | local] * len(erased)
        elif found.execution is not None:
            names.append(f"run\0{found.execution}".encode())
            lows.append(_RUN_ROLES[kind] | local)
    hashes = _hashes(names)
    postings = [thing << THING_SHIFT | low for thing, low in zip(hashes, lows, strict=True)]
    postings.sort()
    links = [
        (thing << THING_SHIFT | low, hashes[at])
        for thing, (low, at) in zip(_hashes(near), far, strict=True)
    ]
    links.sort()
    known = len(entries) - manifests - unknown
    things = filter_of(subjects, resources)
    earliest, latest = min(times, default=0), max(times, default=-1)
    return Extracted(postings, dict(links), known, manifests, unknown, earliest, latest, things)


def _hashes(names: Sequence[bytes]) -> list[int]:
    hash_ = sha256
    digests = b"".join([hash_(name).digest() for name in names])
    return [word >> (64 - HASH_BITS) for (word,) in iter_unpack(">Q24x", digests)]


def _spell(type_: str, id_: str, origin: str | None) -> bytes:
    # No valid id or name has a NUL, so that no two things are spelled alike. A lookup may ask for
    # any text, a lone surrogate included; nothing is found by that.
    text = f"{type_}\0{id_}" if origin is None else f"{type_}\0{id_}\0{origin}"
    return text.encode("utf-8", "surrogatepass")


def _spell_end(end: _End, origin: str) -> bytes:
    return _spell(end.type, end.id, None if end.origin == origin else end.origin)


def _spell_target(target: _Target) -> list[bytes]:
    if target.decision is not None:
        return [f"decision\0{target.decision}".encode()]
    if target.execution is not None:
        return [f"run\0{target.execution}".encode()]
    if target.key is None:
        return []
    name, plus, _ = target.key.partition("+")
    spelled = [f"key\0{target.key}".encode()]
    return [*spelled, f"key_name\0{name}".encode()] if plus else spelled
