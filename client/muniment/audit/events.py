"""What each record says of ids, runs, decisions and lineage, as events. Pure.

An event is 24 bytes: the 64-bit key of the thing that is spoken of (``thingkeys``), role and leaf
index, and what belongs to the role. Events are made wherever a bundle is examined, in PARTITIONS
by key, so that ``relations`` can look at everything about one thing together.
"""

import re
import struct
from collections.abc import Callable, Sequence
from enum import IntEnum
from functools import lru_cache
from hashlib import sha256
from itertools import count
from typing import Any, Final, NamedTuple

from msgspec import DecodeError, Struct
from msgspec.json import Decoder

from muniment.audit.thingkeys import RUN, NameKey, key_bytes, name_key, probe, thing_key
from muniment.records.addenda import escape_token
from muniment.records.forms import Usual, usual
from muniment.records.narrow import End
from muniment.records.shape import PlainDecision, Shaped

PARTITION_BITS: Final = 6
PARTITIONS: Final = 1 << PARTITION_BITS
_PARTITION_MASK: Final = PARTITIONS - 1

EVENT: Final = struct.Struct(">QQQ")
"""Key of the thing; role and leaf index; what belongs to it."""

# Writes the same of a key as it is made; "s" cuts what is longer and fills what is shorter.
_EVENT: Final = struct.Struct(">qQ8s")
_IDENTITY: Final = struct.Struct(">qQQ")

INDEX_BITS: Final = 56
INDEX_MASK: Final = (1 << INDEX_BITS) - 1

CONTENT_BITS: Final = 48
"""Bits that tell leaves apart in an event of ``EventRole.ID``: of a key of the leaf's hash, as of a
thing. Of the hash itself a producer finds two records with the same bits in a minute, and could use
one id for both. Above them stand 16 bits of the producer."""


class EventRole(IntEnum):
    """What a leaf says of a thing."""

    ID = 0
    """It is the record of this kind and id; with 16 bits of its producer, 48 of its content."""

    ALLOWED = 1
    """It is a decision that allows this run."""

    REFUSED = 2
    """It is a decision that does not allow this run."""

    AUTHORIZED = 3
    """It is an ``authorized_by`` edge from this run."""

    OUTCOME = 4
    """It is an outcome of this run."""

    ACTED = 5
    """It is another edge from this run, or its verification."""

    FROM = 6
    """It is an edge from this thing; with the thing at its other end."""

    TO_RECORDED = 7
    """It is an edge to this run or decision, of which the log must know."""

    TO = 8
    """It is an edge to this thing, of which the log need not know."""

    PROMISED = 9
    """It is a decision that allows this run and promises its outcome; with the decision's time."""

    TOLD = 10
    """It is an outcome of this run that does not say that anything ran."""

    APPROVED = 11
    """It is a decision that rests on this approval; with a key of its id and producer, whose bit
    FURTHER tells whether it rests on another one first."""

    WITHHELD = 12
    """It is a decision that withholds this addendum; what belongs to it, see ``addenda``."""

    ERASED = 13
    """It is an erasure of this addendum; likewise."""


FURTHER: Final = 1

_CONTENT_MASK: Final = (1 << CONTENT_BITS) - 1
_SHIFTED: Final = {
    role: int(role) << INDEX_BITS for role in EventRole
}  # enums are slow to count with


_PROMISED: Final = re.compile(rb"run-[0-9a-f]{24}")
_PROMISED_LENGTH: Final = len("run-") + 24
_TIME: Final = b'"time":'
_AFTER_TIME: Final = len(b',"v":1}')


def promises(run: bytes) -> bool:
    """Whether a decision on a run of this id promises its outcome.

    Who sets room aside for an outcome, before anything is decided, calls the run so: governed
    calls of the SDK, and gates for MCP.
    """
    return _PROMISED.fullmatch(run) is not None


class Named(NamedTuple):
    """An addendum that a leaf names by its digest, in hexadecimal digits.

    Attributes:
        producer: Whose record it is.
        kept: Whether the record says that the log keeps it.
        erases: Whether the record says that it was erased.
        pointer: Which member it is; "" in an erasure.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, of no use here
    digest: str
    producer: str
    kept: bool = False
    erases: bool = False
    pointer: str = ""


class _Response(Struct, gc=False):
    decision: bool = False


class _Approval(Struct, gc=False):
    id: str


class _Artifact(Struct, gc=False):
    approval: _Approval | None = None
    further_approvals: list[_Approval] | None = None


class _Narrow(Struct, rename={"from_": "from"}, gc=False):
    kind: str
    id: str
    producer: str
    execution: str | None = None
    response: _Response | None = None
    status: str = ""
    denial: Any = None
    relation: str = ""
    from_: End | None = None
    to: End | None = None
    addenda: dict[str, str] | None = None
    kept: str = ""
    digests: list[str] | None = None
    inputs: dict[str, str] | None = None
    outputs: dict[str, str] | None = None
    artifact: _Artifact | None = None
    time: int = 0


_decode: Final = Decoder(_Narrow).decode
_UNRUN: Final = frozenset({"unknown", "not_run"})


def extract(
    entries: Sequence[bytes],
    plain: Sequence[Usual | Shaped | None],
    hashes: Sequence[bytes],
    first: int,
    origin: str,
    named: list[Named] | None = None,
    key: NameKey | None = None,
) -> tuple[bytes, ...]:
    """Makes the events of consecutive leaves; what is no record makes none.

    Returns PARTITIONS byte strings of events; in each, edges are in the order of the log.

    Args:
        entries: The leaves.
        plain: Those of them that are read already; None for the others.
        hashes: Their leaf hashes.
        first: Leaf index of the first.
        origin: The log's origin: a thing that states it is a thing of this log.
        named: Where the addenda go that the leaves name; None when nobody wants to know.
        key: Makes keys of ids; this process's own by default.
    """
    key = name_key(probe()) if key is None else key
    parts: list[list[bytes]] = [[] for _ in range(PARTITIONS)]
    put = [part.append for part in parts]  # by the last bits of a key
    others = _Others(put, origin, key)
    identity, event = _IDENTITY.pack, _EVENT.pack
    allowed, refused = _SHIFTED[EventRole.ALLOWED], _SHIFTED[EventRole.REFUSED]
    promised = _SHIFTED[EventRole.PROMISED]
    last, tag = None, 0
    for index, record, leaf in zip(count(first), plain, hashes, strict=False):
        # Nearly all are usual decisions, so these go by the shortest way.
        if isinstance(record, tuple):
            run, id_, producer, allows = record
        elif isinstance(record, PlainDecision):
            run, id_, producer, allows = usual(record)
            artifact = record.artifact
            if artifact is not None and artifact.approval is not None:
                decision = key(id_ + b"\0" + producer)
                for rank, approval in enumerate(artifact.approvals):
                    others.approved(approval.id, rank, decision, index)
            if record.addenda is not None and named is not None:
                named += _withheld(index, producer.decode(), record.addenda, record.kept)
        else:
            found = others.read(entries[index - first], index, leaf)
            if found is not None and named is not None:
                named += _named(found, index)
            continue
        if producer != last:
            last, tag = producer, _tag(producer)
        thing = key(id_)
        content = key(leaf) & _CONTENT_MASK
        put[thing & _PARTITION_MASK](identity(thing, index, tag | content))
        if run is not None:
            thing = key(run) ^ RUN
            at = thing & _PARTITION_MASK
            put[at](event(thing, (refused if allows is None else allowed) | index, b""))
            if allows is not None and len(run) == _PROMISED_LENGTH and promises(run):
                time = _time_of(entries[index - first])
                put[at](event(thing, promised | index, time))
    return tuple(map(b"".join, parts))


class _Others:
    """Puts the events of unusual leaves into the partitions."""

    def __init__(self, put: Sequence[Callable[[bytes], object]], origin: str, key: NameKey) -> None:
        self._put = put
        self._origin = origin
        self._key = key

    def _tell(self, name: str, role: EventRole, index: int, extra: bytes = bytes(8)) -> None:
        thing = thing_key(name, self._key)
        event = key_bytes(thing) + (_SHIFTED[role] | index).to_bytes(8, "big") + extra
        self._put[thing & _PARTITION_MASK](event)

    def read(self, entry: bytes, index: int, leaf: bytes) -> _Narrow | None:
        """Reads just as much of a leaf as its events take, valid or not; None of no record."""
        found = _narrow(entry)
        if found is None:
            return None
        kind, producer = found.kind, found.producer.encode()
        content = self._key(leaf) & _CONTENT_MASK
        self._tell(f"{kind}\0{found.id}", EventRole.ID, index, key_bytes(_tag(producer) | content))
        if found.artifact is not None and found.artifact.approval is not None:
            approvals = (found.artifact.approval, *(found.artifact.further_approvals or ()))
            decision = self._key(found.id.encode() + b"\0" + producer)
            for rank, approval in enumerate(approvals):
                self.approved(approval.id, rank, decision, index)
        if kind == "edge":
            self._edge(found, index)
        elif found.execution is not None:
            self._run(found, found.execution, index)
        return found

    def approved(self, approval: str, rank: int, decision: int, index: int) -> None:
        """A decision, by its key, rests on an approval: the first, or by its rank a further one."""
        extra = decision & ~FURTHER | (FURTHER if rank else 0)
        self._tell(f"approval\0{approval}", EventRole.APPROVED, index, key_bytes(extra))

    def _run(self, found: _Narrow, id_: str, index: int) -> None:
        run = f"run\0{id_}"
        if found.kind == "decision":
            allows = found.response is not None and found.response.decision
            self._tell(run, EventRole.ALLOWED if allows else EventRole.REFUSED, index)
            if allows and promises(id_.encode()):
                self._tell(run, EventRole.PROMISED, index, _packed(found.time))
        elif found.kind == "outcome":
            # Of what was denied or not run, nobody says that anything ran.
            is_told = found.status in _UNRUN or found.denial is not None
            self._tell(run, EventRole.TOLD if is_told else EventRole.OUTCOME, index)
        elif found.kind == "verification":
            self._tell(run, EventRole.ACTED, index)

    def _edge(self, found: _Narrow, index: int) -> None:
        start, end = found.from_, found.to
        if start is None or end is None:
            return
        source, target = _thing(start, self._origin), _thing(end, self._origin)
        if source is None:
            return
        if start.type == "run":
            authorized = found.relation == "authorized_by"
            self._tell(source, EventRole.AUTHORIZED if authorized else EventRole.ACTED, index)
        if target is not None:
            far = key_bytes(thing_key(target, self._key))
            self._tell(source, EventRole.FROM, index, far)
            recorded = end.type in ("run", "decision")
            self._tell(target, EventRole.TO_RECORDED if recorded else EventRole.TO, index)


def _time_of(entry: bytes) -> bytes:
    """The time of a canonical record, whose last members are `time` and `v`."""
    at = entry.rfind(_TIME)
    return _packed(int(entry[at + len(_TIME) : -_AFTER_TIME]))


def _packed(time: int) -> bytes:
    return max(0, min(time, 2**63)).to_bytes(8, "big")


def _narrow(entry: bytes) -> _Narrow | None:
    try:
        return _decode(entry)
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return None


def named_in(entry: bytes, index: int) -> list[Named]:
    """The addenda that one leaf names; none when it is no record."""
    found = _narrow(entry)
    return [] if found is None else _named(found, index)


def identity_in(entry: bytes) -> tuple[str, str, str] | None:
    """Kind, id and producer of a record; None of what is none."""
    found = _narrow(entry)
    return None if found is None else (found.kind, found.id, found.producer)


def _named(found: _Narrow, index: int) -> list[Named]:
    if found.kind == "decision" and found.addenda:
        return _withheld(index, found.producer, found.addenda, found.kept)
    if found.kind == "outcome" and found.kept == "log":
        # Of others it is not said whether their digests are those of addenda.
        digests = {
            f"/{member}/{escape_token(name)}": digest.removeprefix("sha256:")
            for member, named in (("inputs", found.inputs), ("outputs", found.outputs))
            for name, digest in (named or {}).items()
        }
        return _withheld(index, found.producer, digests, found.kept)
    if found.kind == "erasure" and found.digests:
        return [Named(index, digest, found.producer, erases=True) for digest in found.digests]
    return []


def _withheld(index: int, producer: str, addenda: dict[str, str], kept: str | None) -> list[Named]:
    return [Named(index, addenda[at], producer, kept == "log", pointer=at) for at in addenda]


@lru_cache(maxsize=4096)
def _tag(producer: bytes) -> int:
    return int.from_bytes(sha256(producer).digest()[:2], "big") << CONTENT_BITS


def _thing(end: End, origin: str) -> str | None:
    """How a thing of this log is spelled; None for one of another log."""
    if end.origin is not None and end.origin != origin:
        return None
    return f"{end.type}\0{end.id}"
