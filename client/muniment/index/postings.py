"""From leaves to their postings, see `keys`.

Only what a lookup needs is decoded here, and nothing is checked: a record that `parse_record`
would refuse may have postings, and is dropped when it is found.
"""

from collections.abc import Sequence
from hashlib import sha256
from struct import iter_unpack
from typing import Final, NamedTuple

from msgspec import DecodeError, Struct
from msgspec.json import Decoder

from muniment.index.keys import (
    HASH_BITS,
    KINDS,
    LOCAL_MASK,
    PART_BITS,
    THING_SHIFT,
    Role,
    spell,
)
from muniment.index.summary import filter_of
from muniment.records.manifest import MANIFEST, signed_by
from muniment.records.narrow import End, NarrowEntity, NarrowTarget


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


class _Request(Struct, gc=False):
    subject: NarrowEntity
    resource: NarrowEntity


class _Signature(Struct, gc=False):
    key: str


class _Approval(Struct, gc=False):
    key: str


class _Artifact(Struct, gc=False):
    approval: _Approval | None = None
    further_approvals: list[_Approval] | None = None


class _Narrow(Struct, rename={"from_": "from"}, gc=False):
    kind: str
    id: str
    execution: str | None = None
    from_: End | None = None
    to: End | None = None
    target: NarrowTarget | None = None
    time: int = 0
    request: _Request | None = None
    signatures: list[_Signature] | None = None
    digests: list[str] | None = None
    artifact: _Artifact | None = None


_decode: Final = Decoder(_Narrow).decode
_UNREADABLE: Final = (DecodeError, UnicodeDecodeError, RecursionError)
_RUN_ROLES: Final = {
    "decision": Role.DECISION_OF << PART_BITS,
    "outcome": Role.OUTCOME << PART_BITS,
    "verification": Role.VERIFICATION << PART_BITS,
}
_ID: Final = Role.ID << PART_BITS
_FROM: Final = Role.FROM << PART_BITS
_TO: Final = Role.TO << PART_BITS
_TARGET_ROLES: Final = {
    "erasure": Role.ERASED << PART_BITS,
    "revocation": Role.REVOKED << PART_BITS,
}
_SIGNED: Final = Role.SIGNED << PART_BITS


def extract(entries: Sequence[bytes], first: int, origin: str) -> Extracted:
    """Makes the postings of consecutive leaves, `first` being the first; about 3 µs a record.

    A thing that states the log's origin is a thing of this log. Raises ValueError if the leaves are
    not all of one part.
    """
    if entries and first >> PART_BITS != first + len(entries) - 1 >> PART_BITS:
        raise ValueError(f"leaves [{first}, {first + len(entries)}) are not of one part")
    found = [*enumerate(map(_read, entries), first & LOCAL_MASK)]
    records = [(local, one) for local, one in found if one is not None and one.kind in KINDS]
    # Names of things, and in step with them role and leaf. UTF-8 cannot fail: the decoder lets no
    # lone surrogate through.
    names = [f"{one.kind}\0{one.id}".encode() for _, one in records]
    lows = [_ID | local for local, _ in records]
    runs = [
        (f"run\0{one.execution}".encode(), _RUN_ROLES[one.kind] | local)
        for local, one in records
        if one.execution is not None and one.kind in _RUN_ROLES
    ]
    names += [name for name, _ in runs]
    lows += [low for _, low in runs]
    near: list[bytes] = []  # of things that edges begin at, and in step with them:
    far: list[tuple[int, int]] = []  # role and leaf, and where in `names` the edge ends
    for local, one in records:
        if one.kind == "edge":
            if one.from_ is not None and one.to is not None:
                near.append(_spell_end(one.from_, origin))
                far.append((_FROM | local, len(names)))
                names.append(_spell_end(one.to, origin))
                lows.append(_TO | local)
        elif one.kind in _TARGET_ROLES:
            targets = _spell_targets(one)
            names += targets
            lows += [_TARGET_ROLES[one.kind] | local] * len(targets)
    manifests = unknown = 0
    if len(records) < len(entries):
        manifests, signed = _manifests(entries, [one for _, one in found], first & LOCAL_MASK)
        unknown = len(entries) - len(records) - manifests
        names += [f"key\0{key}".encode() for key, _ in signed]
        lows += [_SIGNED | local for _, local in signed]
    for local, one in records:
        if one.signatures is not None:
            names += [f"key\0{signature.key}".encode() for signature in one.signatures]
            lows += [_SIGNED | local] * len(one.signatures)
        if one.artifact is not None and one.artifact.approval is not None:
            approvals = [one.artifact.approval, *(one.artifact.further_approvals or ())]
            names += [f"key\0{approval.key}".encode() for approval in approvals]
            lows += [_SIGNED | local] * len(approvals)
    hashes = _hashes(names)
    postings = [thing << THING_SHIFT | low for thing, low in zip(hashes, lows, strict=True)]
    postings.sort()
    links = [
        (thing << THING_SHIFT | low, hashes[at])
        for thing, (low, at) in zip(_hashes(near), far, strict=True)
    ]
    links.sort()
    asked = [one.request for _, one in records if one.request is not None]
    things = filter_of(
        [(one.subject.type, one.subject.id) for one in asked],
        [(one.resource.type, one.resource.id) for one in asked],
    )
    times = [one.time for _, one in records]
    earliest, latest = min(times, default=0), max(times, default=-1)
    return Extracted(
        postings, dict(links), len(records), manifests, unknown, earliest, latest, things
    )


def _read(entry: bytes) -> _Narrow | None:
    """What an entry says; None for one that is no JSON object, or has other types."""
    try:
        return _decode(entry)
    except _UNREADABLE:
        return None


def _manifests(
    entries: Sequence[bytes], found: Sequence[_Narrow | None], local: int
) -> tuple[int, list[tuple[str, int]]]:
    """How many entries are manifests, and the keys that signed them, each with its leaf."""
    count = 0
    signed: list[tuple[str, int]] = []
    for at, (entry, one) in enumerate(zip(entries, found, strict=True), local):
        if one is None and entry.startswith(MANIFEST):
            count += 1
            if (by := signed_by(entry, 0)) is not None:
                signed.append((by[1].key, at))
    return count, signed


def _hashes(names: Sequence[bytes]) -> list[int]:
    hash_ = sha256
    digests = b"".join([hash_(name).digest() for name in names])
    return [word >> (64 - HASH_BITS) for (word,) in iter_unpack(">Q24x", digests)]


def _spell_end(end: End, origin: str) -> bytes:
    return spell(end.type, end.id, None if end.origin == origin else end.origin)


def _spell_targets(record: _Narrow) -> list[bytes]:
    """The things that a revocation revokes, or an erasure has erased."""
    if record.kind == "erasure":
        return [f"addendum\0{digest}".encode() for digest in record.digests or ()]
    target = record.target
    if target is None:
        return []
    if target.decision is not None:
        return [f"decision\0{target.decision}".encode()]
    if target.execution is not None:
        return [f"run\0{target.execution}".encode()]
    if target.key is None:
        return []
    name, plus, _ = target.key.partition("+")
    spelled = [f"key\0{target.key}".encode()]
    return [*spelled, f"key_name\0{name}".encode()] if plus else spelled
