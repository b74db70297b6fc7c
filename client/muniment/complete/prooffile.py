r"""The completeness proof: that some leaves are all there are on some keys, in one text file.

::

    muniment-complete/v1
    map <version of the map> <its root, base64>
    key <kind> <part> …                            by where the map has them
    leaves <count> <leaf index> …                  all of the key, or the first
    rest <hash, base64>                            only when not all are named, see `listing`
    proof <base64>                                 of all keys under the map's root; none in an
                                                   empty map
    record <leaf index> <the leaf>                 only when records are given: by index
    node <level> <index> <hash, base64>            what proves these in the log's tree
    path <hash, base64>                            inclusion of the index log's last leaf
    <empty line>
    <checkpoint of the log, a signed note>
    <empty line>
    <checkpoint of the index log, a signed note>

The leaf of the index log (`tlog.indexleaf`) is not written: it is what the file states, the origin,
size and root of the log's checkpoint with version and root of the map; and it must be the last one
of the index log. So the cosignatures of the log's checkpoint say how old the answer is, and those
of the index log's that the map is right.

Nothing in a file is trusted: every root is computed, and both checkpoints must meet the reader's
own policy. Checkpoints have one empty line each, so that the file has four.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, TypeVar

from muniment.complete.keys import Key, parse_key
from muniment.complete.listing import KeyList
from muniment.lineage.leaflines import (
    Entries,
    LineReader,
    Nodes,
    check_leaves,
    leaf_text,
    node_text,
    verify_leaves,
)
from muniment.lineage.multiproof import plan_multiproof
from muniment.records.codec import parse_leaves
from muniment.records.kinds import Record
from muniment.records.manifest import MANIFEST
from muniment.records.touched import MAP_VERSION, touched
from muniment.tlog.checkpoint import SignedCheckpoint, parse_signed_checkpoint
from muniment.tlog.encoding import (
    FormatError,
    VerificationError,
    format_base64,
    parse_base64,
    parse_hash,
    parse_text,
    split_lines,
)
from muniment.tlog.indexleaf import MAX_VERSION, IndexLeaf, index_origin
from muniment.tlog.merkle import HASH_SIZE, leaf_hash
from muniment.tlog.mpt import verify_many
from muniment.tlog.note import MAX_NOTE_SIZE
from muniment.tlog.policy import CosignedCheckpoint, Policy
from muniment.tlog.proofs import MAX_PROOF, Node, verify_inclusion

HEADER: Final = "muniment-complete/v1"
"""The first line."""

EXTENSION: Final = ".complete"
"""File name extension that we use."""

MAX_KEYS: Final = 4096
"""Most keys of one proof: what a permit's lineage asks, many times over."""

MAX_COMPLETE_SIZE: Final = 32 * 1024 * 1024
"""Largest file in bytes."""

T = TypeVar("T")

_WHAT: Final = "completeness proof"
_MAX_LINES: Final = MAX_COMPLETE_SIZE - 2 * MAX_NOTE_SIZE


@dataclass(frozen=True, slots=True)
class CompleteProof:
    """A completeness proof, unverified; FormatError if a member cannot stand in one.

    Attributes:
        log: The head of the log that it is about.
        index: A head of its index log.
        map_root: Root of the map over exactly the log's leaves.
        lists: The leaves of each key; ascending by ``Key.digest``.
        multiproof: Proof of all keys under the map's root, see `tlog.mpt`.
        path: Inclusion of the index log's last leaf.
        entries: Leaves that the lists name, and manifests that tell who signed them.
        nodes: What proves the entries in the log's tree, see `lineage.multiproof`.
        version: Of the map.
    """

    log: SignedCheckpoint
    index: SignedCheckpoint
    map_root: bytes
    lists: tuple[tuple[Key, KeyList], ...]
    multiproof: bytes = field(repr=False)
    path: tuple[bytes, ...] = field(repr=False)
    entries: Entries = field(default=(), repr=False)
    nodes: Nodes = field(default=(), repr=False)
    version: int = MAP_VERSION

    def __post_init__(self) -> None:
        if not 1 <= len(self.lists) <= MAX_KEYS:
            raise FormatError(f"{_WHAT}: not 1 to {MAX_KEYS} keys")
        places = [key.digest for key, _ in self.lists]
        if any(one >= other for one, other in pairwise(places)):
            raise FormatError(f"{_WHAT}: keys are not in the order of the map")
        if len(self.path) > MAX_PROOF or any(len(one) != HASH_SIZE for one in self.path):
            raise FormatError(f"{_WHAT}: no path of hashes")
        if not self.entries and self.nodes:
            raise FormatError(f"{_WHAT}: nodes, and no records that they prove")
        check_leaves(self.entries, self.nodes, _WHAT)
        _ = self.leaf

    @property
    def leaf(self) -> IndexLeaf:
        """What the last leaf of the index log must be."""
        stated = self.log.checkpoint
        return IndexLeaf(stated.origin, stated.head, self.map_root, self.version)

    @property
    def keys(self) -> tuple[Key, ...]:
        """What it is about."""
        return tuple(key for key, _ in self.lists)

    def encode(self) -> bytes:
        """The bytes of the file; `parse_complete` gives back an equal value.

        Raises FormatError if the file would be beyond MAX_COMPLETE_SIZE.
        """
        lines = [HEADER, f"map {self.version} {format_base64(self.map_root)}"]
        for key, listing in self.lists:
            lines.append(f"key {key.text}")
            lines.append(" ".join(map(str, ("leaves", listing.count, *listing.indices))))
            lines += [f"rest {format_base64(one)}" for one in listing.rest]
        if self.multiproof:
            lines.append(f"proof {format_base64(self.multiproof)}")
        parts = [*map(str.encode, lines)]
        parts += [b"record " + leaf_text(index, leaf) for index, leaf in self.entries]
        parts += [b"node " + node_text(node, value) for node, value in self.nodes]
        parts += [f"path {format_base64(one)}".encode() for one in self.path]
        data = b"\n".join((*parts, b"", self.log.encode(), self.index.encode()))
        if len(data) > MAX_COMPLETE_SIZE:
            raise FormatError(f"{_WHAT}: more than {MAX_COMPLETE_SIZE} bytes")
        return data


@dataclass(frozen=True, slots=True)
class VerifiedComplete:
    """What a verified completeness proof states; only `verify_complete` makes one.

    Of each key, `lists` has all leaves that touch it, or the first of so many, among the leaves
    of the log's head. `entries` are the leaves that came with the proof, by leaf index.
    """

    log: CosignedCheckpoint
    index: CosignedCheckpoint
    lists: Mapping[Key, KeyList]
    entries: Mapping[int, bytes] = field(repr=False)

    @property
    def manifests(self) -> dict[int, bytes]:
        """The manifests among the entries."""
        return manifests_of(self.entries)

    @property
    def records(self) -> dict[int, Record | None]:
        """The others, parsed; None for a leaf that is no valid record."""
        return parsed_records(self.entries)


def make_complete(
    log: SignedCheckpoint,
    index: SignedCheckpoint,
    map_root: bytes,
    lists: Mapping[Key, KeyList],
    multiproof: bytes,
    path: Sequence[bytes],
    *,
    entries: Mapping[int, bytes] | None = None,
    hashes: Mapping[Node, bytes] | None = None,
    version: int = MAP_VERSION,
) -> CompleteProof:
    """Puts a proof together; nothing is verified here.

    Args:
        log: The log's head of the size that the index log's last leaf names.
        index: The index log's head.
        map_root: Root of the map in that leaf.
        lists: The leaves of each key that was asked about, in any order.
        multiproof: Of all these keys, see `tlog.mpt`.
        path: Inclusion of the index log's last leaf.
        entries: Leaves to give with it, by leaf index.
        hashes: At least the nodes that `multiproof.plan_multiproof` names for these leaves.
        version: Of the map.

    Raises:
        FormatError: If there are no keys or too many, or another member cannot stand in a proof.
        KeyError: If a hash is missing.
        ValueError: If a leaf is not in the log's tree.
    """
    entries, hashes = entries or {}, hashes or {}
    plan = plan_multiproof(entries, log.checkpoint.size) if entries else ()
    return CompleteProof(
        log,
        index,
        map_root,
        tuple(sorted(lists.items(), key=lambda one: one[0].digest)),
        multiproof,
        tuple(path),
        tuple(sorted(entries.items())),
        tuple((node, hashes[node]) for node in plan),
        version,
    )


def parse_complete(data: bytes) -> CompleteProof:
    """Parses the one spelling of a completeness proof; verifies nothing.

    Raises FormatError if the data is no such proof, or beyond the limits; the message names the
    line.
    """
    if len(data) > MAX_COMPLETE_SIZE:
        raise FormatError(f"{_WHAT}: more than {MAX_COMPLETE_SIZE} bytes")
    parts = data.split(b"\n\n", 5)
    if len(parts) != 5:
        raise FormatError(f"{_WHAT}: not the lines of a proof and two checkpoints")
    lines = split_lines(parse_text(parts[0] + b"\n", _WHAT, most=_MAX_LINES))
    reader = LineReader(lines, _WHAT)
    if reader.next() != HEADER:
        raise FormatError(f"{_WHAT}: the first line is not {HEADER}")
    version, space, root = reader.rest("map", "no version and root of the map").partition(" ")
    if not space:
        raise reader.error("no root of the map")
    number = reader.number(version, MAX_VERSION)
    map_root = parse_hash(root, reader.what)
    lists: list[tuple[Key, KeyList]] = []
    while reader.begins("key"):
        lists.append((_key(reader), _listing(reader)))
    multiproof = b""
    if reader.begins("proof"):
        multiproof = parse_base64(reader.rest("proof", ""), reader.what)
        if not multiproof:
            raise reader.error("an empty proof has no line")
    entries = _while(reader, "record", reader.leaf)
    nodes = _while(reader, "node", reader.node)
    path = _while(reader, "path", lambda text: parse_hash(text, reader.what))
    if not reader.is_done:
        raise FormatError(f"{_WHAT}: line {reader.at + 1}: not in its place, or unknown")
    return CompleteProof(
        parse_signed_checkpoint(parts[1] + b"\n\n" + parts[2] + b"\n"),
        parse_signed_checkpoint(parts[3] + b"\n\n" + parts[4]),
        map_root,
        tuple(lists),
        multiproof,
        tuple(path),
        tuple(entries),
        tuple(nodes),
        number,
    )


def _key(reader: LineReader) -> Key:
    text = reader.rest("key", "no key")
    try:
        return parse_key(text)
    except FormatError as error:
        raise reader.error(str(error)) from None


def _listing(reader: LineReader) -> KeyList:
    count, *indices = reader.rest("leaves", "expected the leaves of the key").split(" ")
    number = reader.number(count)
    found = tuple(map(reader.number, indices))
    rest = _while(reader, "rest", lambda text: parse_hash(text, reader.what))
    try:
        return KeyList(number, found, tuple(rest))
    except FormatError as error:
        raise reader.error(str(error)) from None


def _while(reader: LineReader, word: str, read: Callable[[str], T]) -> list[T]:
    found: list[T] = []
    while reader.begins(word):
        found.append(read(reader.rest(word, "")))
    return found


def verify_complete(
    proof: CompleteProof, policy: Policy, index_policy: Policy | None = None
) -> VerifiedComplete:
    """Verifies that each key's list has all leaves of the log that concern it, or their beginning.

    How old the heads are is for the caller to judge. Raises VerificationError if a policy does not
    accept its checkpoint, a root does not follow, or the map is of a version that this program does
    not know.

    Args:
        proof: The proof.
        policy: Whom to trust, for the log.
        index_policy: The same for the index log, if not by the log's own keys and witnesses.
    """
    if proof.version != MAP_VERSION:
        raise VerificationError(
            f"{_WHAT}: of map version {proof.version}; this program knows version {MAP_VERSION}"
        )
    log = policy.verify(proof.log)
    origin = index_origin(log.origin, proof.version)
    trusted = index_policy or policy.of_index_log(log.origin, proof.version)
    index = trusted.verify(proof.index, origin=origin)
    stated = leaf_hash(proof.leaf.encode())
    verify_inclusion(stated, index.size - 1, index.size, proof.path, index.root)
    values = {key.digest: listing.value() for key, listing in proof.lists}
    verify_many(proof.map_root, values, proof.multiproof)
    for key, listing in proof.lists:
        # The map has things of this log without an origin, and nothing under such a key.
        if key.kind in ("from", "to") and key.parts[2:] == (log.origin,):
            raise VerificationError(f"{_WHAT}: {key.text}: the origin is this log's own")
        if listing.indices and listing.indices[-1] >= log.size:
            raise VerificationError(f"{_WHAT}: {key.text}: a leaf beyond the tree of {log.size}")
    if proof.entries:
        verify_leaves(proof.entries, proof.nodes, log.head, _WHAT)
    lists, entries = dict(proof.lists), dict(proof.entries)
    check_lists(lists, places_of(entries, log.origin), log.size)
    listed = {index for listing in lists.values() for index in listing.indices}
    for at, leaf in entries.items():
        if at not in listed and not leaf.startswith(MANIFEST):
            raise VerificationError(f"{_WHAT}: the record at leaf {at} is in no list")
    return VerifiedComplete(log, index, lists, entries)


def manifests_of(entries: Mapping[int, bytes]) -> dict[int, bytes]:
    """The manifests among leaves."""
    return {index: leaf for index, leaf in entries.items() if leaf.startswith(MANIFEST)}


def parsed_records(entries: Mapping[int, bytes]) -> dict[int, Record | None]:
    """The leaves that are no manifests, parsed; None for one that is no valid record."""
    others = {index: leaf for index, leaf in entries.items() if not leaf.startswith(MANIFEST)}
    return dict(zip(others, parse_leaves(list(others.values())), strict=True))


def places_of(entries: Mapping[int, bytes], origin: str) -> dict[int, frozenset[bytes]]:
    """The keys of the map that leaves of a log touch, by leaf index."""
    return {index: frozenset(touched(leaf, origin)) for index, leaf in entries.items()}


def check_lists(
    lists: Mapping[Key, KeyList], places: Mapping[int, Collection[bytes]], size: int
) -> None:
    """Checks that leaves are in just those lists to which they belong, as far as these go.

    Raises VerificationError if one is not: then the map is not that of the leaves, whoever has
    cosigned it.

    Args:
        lists: The leaves of each key.
        places: What the leaves touch, see `places_of`.
        size: How many leaves the lists are about.
    """
    ends: dict[bytes, tuple[Key, frozenset[int], int]] = {}
    for key, listing in lists.items():
        named = frozenset(listing.indices)
        end = size if listing.is_whole else max(named, default=-1) + 1
        ends[key.digest] = key, named, end
        for index in named & places.keys():
            if key.digest not in places[index]:
                raise _wrong_map(index, key, "does not concern", "in")
    for index, touches in places.items():
        for digest in touches:
            if digest in ends:
                key, named, end = ends[digest]
                if index < end and index not in named:
                    raise _wrong_map(index, key, "concerns", "not in")


def _wrong_map(index: int, key: Key, verb: str, found: str) -> VerificationError:
    return VerificationError(
        f"{_WHAT}: the record at leaf {index} {verb} {key.text}, and is {found} its list: the map "
        "is wrong"
    )
