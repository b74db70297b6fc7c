r"""The lineage bundle: a trace that anyone checks offline, in one text file.

One checkpoint, the records with their leaf indices, and one proof for all of them with shared
nodes once::

    muniment/lineage-bundle/v1
    execution <id of the run that it is about>
    records <number>
    <leaf index> <the leaf: a record>              by index
    nodes <number>
    <level> <index> <hash, base64>                 by level, then index
    addenda <number>                               only when there are some
    <an addendum, base64>                          by digest
    <empty line>
    <the checkpoint, a signed note>

Manifests are among the leaves where a revocation of a key matters: they tell which key signed the
records before them. They count as records.

Addenda disclose what the records withhold; each is named by at least one of them.

Nothing in a file is trusted: the root is computed from the records and the nodes, and the
checkpoint must meet the reader's own policy. A bundle proves that its records are in the log. It
cannot prove that the log holds no others, a revocation say: for that, ask a replica.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from typing import Any, Final

from muniment.lineage.facts import MemoryFacts, head_of
from muniment.lineage.multiproof import plan_multiproof, root_from_multiproof
from muniment.records.addenda import named_digests
from muniment.records.codec import parse_record
from muniment.records.commitments import MAX_ADDENDUM, read_addendum
from muniment.records.kinds import Record
from muniment.records.manifest import MANIFEST
from muniment.records.members import MAX_ID
from muniment.tlog.checkpoint import SignedCheckpoint, parse_signed_checkpoint
from muniment.tlog.encoding import (
    MAX_SIZE,
    FormatError,
    VerificationError,
    format_base64,
    parse_base64,
    parse_decimal,
    parse_hash,
    parse_text,
    split_lines,
)
from muniment.tlog.merkle import HASH_SIZE, leaf_hash
from muniment.tlog.note import MAX_NOTE_SIZE
from muniment.tlog.policy import CosignedCheckpoint, Policy
from muniment.tlog.proofs import Node

HEADER: Final = "muniment/lineage-bundle/v1"
"""The first line."""

EXTENSION: Final = ".lineage"
"""File name extension that we use."""

MAX_RECORDS: Final = 100_000
"""Most records in a bundle: the chain that a trace must survive, and a minute of checking."""

MAX_BUNDLE_SIZE: Final = 128 * 1024 * 1024
"""Largest bundle in bytes: MAX_RECORDS of usual size with their nodes."""

_MAX_LEVEL: Final = 62
_EXECUTION: Final = "execution "


@dataclass(frozen=True, slots=True)
class Bundle:
    """A lineage bundle, unverified: entries by leaf index, 1 to MAX_RECORDS, and nodes by node.

    The addenda stand by ascending digest, each once.

    `execution` is the run that it is about; only a hint on what to trace. Raises FormatError if a
    member cannot stand in a bundle.
    """

    execution: str
    checkpoint: SignedCheckpoint
    entries: tuple[tuple[int, bytes], ...] = field(repr=False)
    nodes: tuple[tuple[Node, bytes], ...] = field(repr=False)
    addenda: tuple[bytes, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        run = self.execution
        if not (1 <= len(run) <= MAX_ID and run.isascii() and run.isprintable() and " " not in run):
            raise FormatError("lineage bundle: execution is no id")
        if not 1 <= len(self.entries) <= MAX_RECORDS:
            raise FormatError(f"lineage bundle: not 1 to {MAX_RECORDS} records")
        indices = [index for index, _ in self.entries]
        if not _ascends(indices) or not 0 <= indices[0] <= indices[-1] <= MAX_SIZE:
            raise FormatError("lineage bundle: leaf indices do not ascend")
        nodes = [node for node, _ in self.nodes]
        if not _ascends(nodes):
            raise FormatError("lineage bundle: nodes do not ascend")
        if any(not 0 <= node.level <= _MAX_LEVEL or node.index < 0 for node in nodes):
            raise FormatError("lineage bundle: a node is in no tree")
        if any(len(value) != HASH_SIZE for _, value in self.nodes):
            raise FormatError(f"lineage bundle: a hash is not {HASH_SIZE} bytes")
        if not _ascends([*map(_digest, self.addenda)]):
            raise FormatError("lineage bundle: addenda are not in the order of their digests")
        if any(not 1 <= len(one) <= MAX_ADDENDUM for one in self.addenda):
            raise FormatError(f"lineage bundle: an addendum of none or over {MAX_ADDENDUM} bytes")

    def encode(self) -> bytes:
        """The bytes of the file; `parse_bundle` gives back an equal value.

        Raises FormatError if the file would be beyond MAX_BUNDLE_SIZE.
        """
        parts = [f"{HEADER}\n{_EXECUTION}{self.execution}\nrecords {len(self.entries)}\n".encode()]
        parts += [b"%d %b\n" % (index, _spelled(leaf)) for index, leaf in self.entries]
        parts.append(b"nodes %d\n" % len(self.nodes))
        parts += [
            f"{node.level} {node.index} {format_base64(value)}\n".encode()
            for node, value in self.nodes
        ]
        if self.addenda:
            parts.append(b"addenda %d\n" % len(self.addenda))
            parts += [f"{format_base64(one)}\n".encode() for one in self.addenda]
        data = b"".join((*parts, b"\n", self.checkpoint.encode()))
        if len(data) > MAX_BUNDLE_SIZE:
            raise FormatError(f"lineage bundle: more than {MAX_BUNDLE_SIZE} bytes")
        return data


@dataclass(frozen=True, slots=True)
class VerifiedBundle:
    """What a verified bundle says; only `verify_bundle` makes one.

    No signature covers `execution`: it is a hint. The facts are of the records by leaf index that
    the bundle holds, not of all that the log does. Each of the addenda, by digest, is one that a
    record names.
    """

    execution: str
    cosigned: CosignedCheckpoint
    records: Mapping[int, Record] = field(repr=False)
    facts: MemoryFacts = field(repr=False)
    addenda: Mapping[str, bytes] = field(default_factory=dict[str, bytes], repr=False)


def build_bundle(
    execution: str,
    checkpoint: SignedCheckpoint,
    entries: Mapping[int, bytes],
    hashes: Mapping[Node, bytes],
    addenda: Iterable[bytes] = (),
) -> Bundle:
    """Puts a bundle together; nothing is verified here.

    Args:
        execution: The run that it is about.
        checkpoint: The log's head.
        entries: The records' exact bytes by leaf index.
        hashes: At least the nodes that `multiproof.plan_multiproof` names for these leaves and the
            checkpoint's size, as of `proofs.nodes_from_tiles`.
        addenda: What discloses members that the records withhold, in any order.

    Raises:
        FormatError: If there are no records or too many.
        KeyError: If a hash is missing.
        ValueError: If a leaf is not in the checkpoint's tree.
    """
    plan = plan_multiproof(entries, checkpoint.checkpoint.size)
    return Bundle(
        execution,
        checkpoint,
        tuple(sorted(entries.items())),
        tuple((node, hashes[node]) for node in plan),
        tuple(sorted(set(addenda), key=_digest)),
    )


def parse_bundle(data: bytes) -> Bundle:
    """Parses a bundle of at most MAX_BUNDLE_SIZE bytes; verifies nothing.

    Every accepted bundle encodes to the same bytes. Records are parsed by `verify_bundle`. Raises
    FormatError if the data is no bundle, or beyond the limits; the message names the line.
    """
    if len(data) > MAX_BUNDLE_SIZE:
        raise FormatError(f"lineage bundle: more than {MAX_BUNDLE_SIZE} bytes")
    # A note's text may hold empty lines, so the first one ends our part.
    cut = data.find(b"\n\n")
    if cut < 0:
        raise FormatError("lineage bundle: no empty line before the checkpoint")
    if len(data) - cut > MAX_NOTE_SIZE + 2:
        raise FormatError("lineage bundle: the checkpoint is too long")
    lines = split_lines(parse_text(data[: cut + 1], "lineage bundle", most=MAX_BUNDLE_SIZE))
    reader = _Lines(lines)
    if reader.next() != HEADER:
        raise FormatError(f"lineage bundle: the first line is not {HEADER}")
    execution = reader.next()
    if not execution.startswith(_EXECUTION):
        raise FormatError("lineage bundle: line 2: no execution")
    entries: list[tuple[int, bytes]] = []
    for _ in range(reader.count("records", MAX_RECORDS)):
        index, space, record = reader.next().partition(" ")
        if not space:
            raise reader.error("no record")
        leaf = record.encode("utf-8")
        if record.startswith("="):
            leaf = parse_base64(record[1:], reader.what)
            if not leaf.startswith(MANIFEST):
                raise reader.error("no manifest")
        entries.append((reader.number(index, MAX_SIZE), leaf))
    nodes: list[tuple[Node, bytes]] = []
    for _ in range(reader.count("nodes", len(lines))):
        parts = reader.next().split(" ")
        if len(parts) != 3:
            raise reader.error("no node")
        node = Node(reader.number(parts[0], _MAX_LEVEL), reader.number(parts[1], MAX_SIZE))
        nodes.append((node, parse_hash(parts[2], reader.what)))
    addenda: list[bytes] = []
    if reader.at != len(lines) and lines[reader.at].startswith("addenda "):
        number = reader.count("addenda", len(lines))
        addenda += [parse_base64(reader.next(), reader.what) for _ in range(number)]
        if not addenda:
            raise reader.error("no addenda")
    if reader.at != len(lines):
        raise FormatError(f"lineage bundle: line {reader.at + 1}: expected an empty line")
    checkpoint = parse_signed_checkpoint(data[cut + 2 :])
    return Bundle(
        execution[len(_EXECUTION) :], checkpoint, tuple(entries), tuple(nodes), tuple(addenda)
    )


def verify_bundle(bundle: Bundle, policy: Policy) -> VerifiedBundle:
    """Verifies that a log of the policy holds every record of a bundle where it says.

    Raises:
        VerificationError: If the policy does not accept the checkpoint, or the records are not in
            its tree; or if no record names an addendum.
        FormatError: If an entry is no valid record, or an addendum has not the form of one.
    """
    cosigned = policy.verify(bundle.checkpoint)
    leaves = {index: leaf_hash(entry) for index, entry in bundle.entries}
    if root_from_multiproof(leaves, cosigned.size, dict(bundle.nodes)) != cosigned.root:
        raise VerificationError(
            f"lineage bundle: the records are not in the tree of size {cosigned.size}"
        )
    manifests = [one for one in bundle.entries if one[1].startswith(MANIFEST)]
    records = {
        index: parse_record(entry)
        for index, entry in bundle.entries
        if not entry.startswith(MANIFEST)
    }
    facts = MemoryFacts(head_of(cosigned), records.items(), manifests)
    addenda = _check_addenda(bundle, records.values())
    return VerifiedBundle(bundle.execution, cosigned, records, facts, addenda)


def _check_addenda(bundle: Bundle, records: Iterable[Record]) -> dict[str, bytes]:
    if not bundle.addenda:
        return {}
    named = {digest for record in records for digest in named_digests(record).values()}
    found: dict[str, bytes] = {}
    for number, data in enumerate(bundle.addenda):
        digest = _digest(data)
        if digest not in named:
            raise VerificationError(
                f"lineage bundle: addendum {number}: no record of it names {digest}"
            )
        read_addendum(data, f"lineage bundle: addendum {number}")
        found[digest] = data
    return found


class _Lines:
    """The lines of a bundle, read in order."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self.at = 0

    @property
    def what(self) -> str:
        return f"lineage bundle: line {self.at}"

    def error(self, problem: str) -> FormatError:
        return FormatError(f"{self.what}: {problem}")

    def next(self) -> str:
        if self.at == len(self._lines):
            raise FormatError(f"lineage bundle: ends after line {self.at}")
        self.at += 1
        return self._lines[self.at - 1]

    def number(self, text: str, most: int) -> int:
        return parse_decimal(text, self.what, most=most)

    def count(self, word: str, most: int) -> int:
        text = self.next()
        if not text.startswith(f"{word} "):
            raise self.error(f"expected the number of {word}")
        return self.number(text[len(word) + 1 :], most)


def _spelled(leaf: bytes) -> bytes:
    """How a leaf stands in its line: a manifest has lines of its own, so it becomes base64."""
    return f"={format_base64(leaf)}".encode() if leaf.startswith(MANIFEST) else leaf


def _digest(addendum: bytes) -> str:
    return sha256(addendum).hexdigest()


def _ascends(values: Sequence[Any]) -> bool:
    return all(a < b for a, b in pairwise(values))
