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

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from muniment.lineage.facts import MemoryFacts, head_of
from muniment.lineage.leaflines import (
    LineReader,
    ascends,
    check_leaves,
    leaf_text,
    node_text,
    verify_leaves,
)
from muniment.lineage.multiproof import plan_multiproof
from muniment.records.addenda import named_digests
from muniment.records.codec import parse_record
from muniment.records.commitments import MAX_ADDENDUM, read_addendum
from muniment.records.kinds import Record
from muniment.records.manifest import MANIFEST
from muniment.records.members import MAX_ID
from muniment.tlog.checkpoint import SignedCheckpoint, parse_signed_checkpoint
from muniment.tlog.encoding import (
    FormatError,
    VerificationError,
    format_base64,
    parse_base64,
    parse_text,
    split_lines,
)
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
        check_leaves(self.entries, self.nodes, "lineage bundle")
        if not ascends([*map(_digest, self.addenda)]):
            raise FormatError("lineage bundle: addenda are not in the order of their digests")
        if any(not 1 <= len(one) <= MAX_ADDENDUM for one in self.addenda):
            raise FormatError(f"lineage bundle: an addendum of none or over {MAX_ADDENDUM} bytes")

    def encode(self) -> bytes:
        """The bytes of the file; `parse_bundle` gives back an equal value.

        Raises FormatError if the file would be beyond MAX_BUNDLE_SIZE.
        """
        parts = [f"{HEADER}\nexecution {self.execution}\nrecords {len(self.entries)}\n".encode()]
        parts += [leaf_text(index, leaf) + b"\n" for index, leaf in self.entries]
        parts.append(b"nodes %d\n" % len(self.nodes))
        parts += [node_text(node, value) + b"\n" for node, value in self.nodes]
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
    reader = LineReader(lines, "lineage bundle")
    if reader.next() != HEADER:
        raise FormatError(f"lineage bundle: the first line is not {HEADER}")
    execution = reader.rest("execution", "no execution")
    entries = [reader.leaf(reader.next()) for _ in range(reader.count("records", MAX_RECORDS))]
    nodes = [reader.node(reader.next()) for _ in range(reader.count("nodes", len(lines)))]
    addenda: list[bytes] = []
    if reader.begins("addenda"):
        number = reader.count("addenda", len(lines))
        addenda += [parse_base64(reader.next(), reader.what) for _ in range(number)]
        if not addenda:
            raise reader.error("no addenda")
    if not reader.is_done:
        raise FormatError(f"lineage bundle: line {reader.at + 1}: expected an empty line")
    checkpoint = parse_signed_checkpoint(data[cut + 2 :])
    return Bundle(execution, checkpoint, tuple(entries), tuple(nodes), tuple(addenda))


def verify_bundle(bundle: Bundle, policy: Policy) -> VerifiedBundle:
    """Verifies that a log of the policy holds every record of a bundle where it says.

    Raises:
        VerificationError: If the policy does not accept the checkpoint, or the records are not in
            its tree; or if no record names an addendum.
        FormatError: If an entry is no valid record, or an addendum has not the form of one.
    """
    cosigned = policy.verify(bundle.checkpoint)
    verify_leaves(bundle.entries, bundle.nodes, cosigned.head, "lineage bundle")
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


def _digest(addendum: bytes) -> str:
    return sha256(addendum).hexdigest()
