r"""The map function: under which keys of the map a leaf stands.

It is a pure function of a leaf and the log's origin; whoever has the leaves computes the same map,
and a change of it is a new MAP_VERSION with an index log of its own. The map gives each key the
list of its leaves' indices, ascending, as eight bytes of their number and the RFC 6962 root over
them as leaves of eight bytes, all big-endian: a list is complete when it has both.

A key is 32 bytes: the number of its kind, then the first 31 bytes of SHA-256 of
``"muniment map v1\n" + kind + "\n" + value``. So the keys of a kind are one subtree, and what is
rare, as revocations are, has short proofs of absence however large the map is. The parts of a
value are joined by NUL. Two things that are spelled alike share a list, which is harmless: what is
in a list is judged by its record.

A leaf is read narrowly: a JSON object with the members and types that are used here, or a manifest
by its first lines. What is neither touches nothing; a record that breaks other rules may be in
lists, and is dropped when it is read. What a record withholds is in no list: members of it that
are committed to stand as they are in the leaf.
"""

from collections.abc import Iterable
from hashlib import sha256
from typing import Final, Literal, TypeAlias, get_args

from msgspec import DecodeError, Struct
from msgspec.json import Decoder

from muniment.records.manifest import MANIFEST
from muniment.records.narrow import End, NarrowEntity, NarrowTarget

MAP_VERSION: Final = 1
"""The version of the map function."""

KEY_SIZE: Final = 32

Kind: TypeAlias = Literal[
    "revocations",
    "execution",
    "from",
    "to",
    "decision",
    "approval",
    "subject",
    "stream",
    "erasure",
]
"""What a key lists; the number of a kind is its place here, from 1.

==============  ========================  ==========================================================
kind            value                     leaves
==============  ========================  ==========================================================
``revocations`` ``decision\\0ID``,        revocations of that target; of a vkey by the whole key and
                ``execution\\0RUN``,      by its name; and ``revoked_by`` edges from that decision
                ``key\\0KEY``,
                ``key_name\\0NAME``
``execution``   ``RUN``                   decisions that state it, its outcomes, verifications and
                                          revocations, and the edges from it
``from``        ``TYPE\\0ID``, of another edges from a thing that is no run of this log
                log ``TYPE\\0ID\\0ORIGIN``
``to``          the same                  edges to a thing
``decision``    ``ID``                    decisions that state no execution
``approval``    ``ID``                    records of that approval
``subject``     ``TYPE\\0ID``             decisions on what it asked for
``stream``      ``PRODUCER``              manifests of its batches
``erasure``     ``DIGEST``                erasures of that addendum
==============  ========================  ==========================================================
"""

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

_NUMBERS: Final = {kind: bytes((number,)) for number, kind in enumerate(KINDS, 1)}
_STARTS: Final = {kind: sha256(f"muniment map v1\n{kind}\n".encode()) for kind in KINDS}


class _Request(Struct, gc=False):
    subject: NarrowEntity


class _Narrow(Struct, rename={"from_": "from"}, gc=False):
    kind: str
    id: str
    execution: str | None = None
    relation: str | None = None
    from_: End | None = None
    to: End | None = None
    target: NarrowTarget | None = None
    request: _Request | None = None
    digests: list[str] | None = None


_decode: Final = Decoder(_Narrow).decode
_UNREADABLE: Final = (DecodeError, UnicodeDecodeError, RecursionError)


def map_key(kind: Kind, value: str) -> bytes:
    """The key of a value, parts joined by NUL; KeyError for an unknown kind."""
    hash_ = _STARTS[kind].copy()
    # A lookup may ask for any text, a lone surrogate included; nothing is found by that.
    hash_.update(value.encode("utf-8", "surrogatepass"))
    return _NUMBERS[kind] + hash_.digest()[: KEY_SIZE - 1]


def touched(leaf: bytes, origin: str) -> tuple[bytes, ...]:
    """The keys under which a leaf stands in the map of a log, ascending, each once."""
    return tuple(sorted({map_key(kind, value) for kind, value in touched_values(leaf, origin)}))


def touched_values(leaf: bytes, origin: str) -> list[tuple[Kind, str]]:
    """What `touched` makes the keys of; the same one may come twice."""
    try:
        record = _decode(leaf)
    except _UNREADABLE:
        return _of_manifest(leaf)
    kind, run = record.kind, record.execution
    if kind == "decision":
        found: list[tuple[Kind, str]] = [
            ("decision", record.id) if run is None else ("execution", run)
        ]
        if record.request is not None:
            found.append(("subject", f"{record.request.subject.type}\0{record.request.subject.id}"))
        return found
    if kind in ("outcome", "verification"):
        return [] if run is None else [("execution", run)]
    if kind == "edge":
        return _of_edge(record, origin)
    if kind == "revocation":
        return _of_target(record.target)
    if kind == "approval":
        return [("approval", record.id)]
    if kind == "erasure":
        return [("erasure", digest) for digest in record.digests or ()]
    return []


def spell_thing(type_: str, id_: str, origin: str | None) -> str:
    """The value of a thing under ``from`` and ``to``; its origin is None when it is of this log."""
    return f"{type_}\0{id_}" if origin is None else f"{type_}\0{id_}\0{origin}"


def _of_edge(record: _Narrow, origin: str) -> list[tuple[Kind, str]]:
    start, end = record.from_, record.to
    if start is None or end is None:
        return []
    is_local = start.origin is None or start.origin == origin
    found: list[tuple[Kind, str]] = [
        ("to", spell_thing(end.type, end.id, None if end.origin == origin else end.origin))
    ]
    if is_local and start.type == "run":
        found.append(("execution", start.id))
    else:
        found.append(
            ("from", spell_thing(start.type, start.id, None if is_local else start.origin))
        )
    if is_local and start.type == "decision" and record.relation == "revoked_by":
        found.append(("revocations", f"decision\0{start.id}"))
    return found


def _of_target(target: NarrowTarget | None) -> list[tuple[Kind, str]]:
    if target is None:
        return []
    if target.decision is not None:
        return [("revocations", f"decision\0{target.decision}")]
    if target.execution is not None:
        run = target.execution
        return [("revocations", f"execution\0{run}"), ("execution", run)]
    if target.key is None:
        return []
    name, plus, _ = target.key.partition("+")
    found: list[tuple[Kind, str]] = [("revocations", f"key\0{target.key}")]
    return [*found, ("revocations", f"key_name\0{name}")] if plus else found


def _of_manifest(leaf: bytes) -> list[tuple[Kind, str]]:
    """A manifest states producer and stream on its third line."""
    if not leaf.startswith(MANIFEST):
        return []
    lines = leaf.split(b"\n", 3)
    producer, space, _ = lines[2].rpartition(b" ") if len(lines) == 4 else (b"", b"", b"")
    try:
        return [("stream", producer.decode())] if space else []
    except UnicodeDecodeError:
        return []


def touched_by(leaves: Iterable[bytes], first: int, origin: str) -> dict[bytes, list[int]]:
    """The keys that consecutive leaves touch, `first` being the first, each with their indices.

    The same as `touched` for each of them, and faster: a name that comes often is hashed once.
    """
    found: dict[tuple[Kind, str], list[int]] = {}
    for index, leaf in enumerate(leaves, first):
        for value in touched_values(leaf, origin):
            indices = found.get(value)
            if indices is None:
                found[value] = [index]
            elif indices[-1] != index:
                indices.append(index)
    return {map_key(kind, value): indices for (kind, value), indices in found.items()}
