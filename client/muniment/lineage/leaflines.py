"""Leaves, and the nodes that prove them, as lines of our text files; reading such files by line.

A record is a line as it is, since canonical JSON has no newline; a manifest has lines of its own
and stands as ``=`` and its base64. A node is level, index and hash.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from muniment.lineage.multiproof import root_from_multiproof
from muniment.records.manifest import MANIFEST
from muniment.tlog.encoding import (
    MAX_SIZE,
    FormatError,
    VerificationError,
    format_base64,
    parse_base64,
    parse_decimal,
    parse_hash,
)
from muniment.tlog.heads import Head
from muniment.tlog.merkle import HASH_SIZE, leaf_hash
from muniment.tlog.proofs import Node

_MAX_LEVEL = 62

Entries = tuple[tuple[int, bytes], ...]
"""Leaves by leaf index, in their order."""

Nodes = tuple[tuple[Node, bytes], ...]
"""Hashes by node, in the order of the nodes."""


class LineReader:
    """The lines of a text, read in order; `what` names the text in errors."""

    def __init__(self, lines: Sequence[str], what: str) -> None:
        self._lines = lines
        self._what = what
        self.at = 0

    @property
    def what(self) -> str:
        """Where the line is that was read last."""
        return f"{self._what}: line {self.at}"

    @property
    def is_done(self) -> bool:
        """Whether all lines were read."""
        return self.at == len(self._lines)

    def error(self, problem: str) -> FormatError:
        """An error at the line that was read last."""
        return FormatError(f"{self.what}: {problem}")

    def next(self) -> str:
        """Reads a line; FormatError if there is none."""
        if self.is_done:
            raise FormatError(f"{self._what}: ends after line {self.at}")
        self.at += 1
        return self._lines[self.at - 1]

    def begins(self, word: str) -> bool:
        """Whether the next line begins with a word and a space."""
        return not self.is_done and self._lines[self.at].startswith(f"{word} ")

    def rest(self, word: str, problem: str) -> str:
        """Reads a line that begins with a word: what follows it and the space."""
        line = self.next()
        if not line.startswith(f"{word} "):
            raise self.error(problem)
        return line[len(word) + 1 :]

    def number(self, text: str, most: int = MAX_SIZE) -> int:
        """Reads a number of this line."""
        return parse_decimal(text, self.what, most=most)

    def count(self, word: str, most: int) -> int:
        """Reads a line of a word and a number."""
        return self.number(self.rest(word, f"expected the number of {word}"), most)

    def leaf(self, text: str) -> tuple[int, bytes]:
        """Reads a leaf index and a leaf."""
        index, space, record = text.partition(" ")
        if not space:
            raise self.error("no record")
        leaf = record.encode("utf-8")
        if record.startswith("="):
            leaf = parse_base64(record[1:], self.what)
            if not leaf.startswith(MANIFEST):
                raise self.error("no manifest")
        return self.number(index), leaf

    def node(self, text: str) -> tuple[Node, bytes]:
        """Reads a node and its hash."""
        parts = text.split(" ")
        if len(parts) != 3:
            raise self.error("no node")
        node = Node(self.number(parts[0], _MAX_LEVEL), self.number(parts[1]))
        return node, parse_hash(parts[2], self.what)


def leaf_text(index: int, leaf: bytes) -> bytes:
    """A leaf index and the leaf; `LineReader.leaf` reads it."""
    spelled = f"={format_base64(leaf)}".encode() if leaf.startswith(MANIFEST) else leaf
    return b"%d %b" % (index, spelled)


def node_text(node: Node, value: bytes) -> bytes:
    """A node and its hash; `LineReader.node` reads it."""
    return f"{node.level} {node.index} {format_base64(value)}".encode()


def check_leaves(entries: Entries, nodes: Nodes, what: str) -> None:
    """Checks that leaves and nodes ascend, and may be of a tree; else FormatError."""
    indices = [index for index, _ in entries]
    if indices and (not ascends(indices) or not 0 <= indices[0] <= indices[-1] <= MAX_SIZE):
        raise FormatError(f"{what}: leaf indices do not ascend")
    if not ascends([node for node, _ in nodes]):
        raise FormatError(f"{what}: nodes do not ascend")
    if any(not 0 <= node.level <= _MAX_LEVEL or node.index < 0 for node, _ in nodes):
        raise FormatError(f"{what}: a node is in no tree")
    if any(len(value) != HASH_SIZE for _, value in nodes):
        raise FormatError(f"{what}: a hash is not {HASH_SIZE} bytes")


def verify_leaves(entries: Entries, nodes: Nodes, head: Head, what: str) -> None:
    """Verifies that leaves, at least one, are in a tree; else VerificationError."""
    leaves = {index: leaf_hash(entry) for index, entry in entries}
    if root_from_multiproof(leaves, head.size, dict(nodes)) != head.root:
        raise VerificationError(f"{what}: the records are not in the tree of size {head.size}")


def ascends(values: Sequence[Any]) -> bool:
    """Whether each value is above the one before it."""
    return all(one < other for one, other in pairwise(values))
