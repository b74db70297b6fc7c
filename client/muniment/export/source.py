"""The records of a replica, verified anew: what is exported is what the checkpoint is about.

The leaves behind a cursor are hashed twice, first all of them and then each page as it is handed
on. The first pass shows that they lead from the tree that was exported before to the tree of the
replica's checkpoint; the second that nobody has changed the file since.
"""

from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Final, NamedTuple

from muniment.errors import InputError, VerificationError
from muniment.index.reader import IndexReader
from muniment.index.replicafacts import ReplicaFacts
from muniment.lineage.facts import Interval
from muniment.lineage.withholding import Withholding, withholding_of
from muniment.local.sqlitefile import DatabaseError
from muniment.records.codec import parse_leaves
from muniment.records.kinds import Record
from muniment.tlog.merkle import CompactRange, leaf_hashes
from muniment.tlog.policy import Policy
from muniment.tlog.tiles import TILE_WIDTH

_PAGE: Final = TILE_WIDTH
"""Leaves read and handed on together: an entry bundle."""


class Exported(NamedTuple):
    """A record to export.

    Attributes:
        origin: Its log.
        index: Its leaf index: with the origin, the key by which a receiver knows it again.
        leaf_hash: Its RFC 6962 leaf hash.
        data: The leaf, verbatim: canonical JSON.
        record: The leaf, parsed.
        withholding: What it withholds, and what of that is erased; None for nothing.
        taken: When the log took it, as far as the replica can tell.
    """

    origin: str
    index: int  # type: ignore[assignment]  # hides tuple.index, of no use here
    leaf_hash: bytes
    data: bytes
    record: Record
    withholding: Withholding | None
    taken: Interval


class LeafPage(NamedTuple):
    """Leaves side by side, from index `first` on: the hashes of all, and those that are records.

    The others are manifests, as a rule.
    """

    first: int
    hashes: list[bytes]
    records: tuple[Exported, ...]

    @property
    def end(self) -> int:
        """The index behind the last leaf."""
        return self.first + len(self.hashes)

    @property
    def skipped(self) -> int:
        """How many leaves are no records."""
        return len(self.hashes) - len(self.records)


class Source:
    """What there is to export of a replica, at the size that it has now."""

    def __init__(self, reader: IndexReader, policy: Policy | None = None) -> None:
        """Takes an open reader, and the policy that has to accept the replica's checkpoint.

        Raises FactsError if nothing is verified yet, the log's misbehaviour is proven, or the
        policy does not accept the checkpoint; DatabaseError if the file cannot be read.
        """
        self._reader = reader
        state = reader.state()
        self._facts = ReplicaFacts(reader, size=state.size)
        if policy is not None:
            self._facts.accept(policy)
        if state.origin is None or state.checkpoint is None:
            raise DatabaseError(f"{reader.path}: no checkpoint vouches for its leaves")
        self.origin: Final = state.origin
        self._head: Final = state.checkpoint.checkpoint
        self._digests: list[bytes] = []

    @property
    def size(self) -> int:
        """How many leaves the checkpoint has."""
        return self._head.size

    def check(self, before: CompactRange, progress: Callable[[int, int], None]) -> None:
        """Shows that the leaves behind those exported before are those of the checkpoint.

        Raises:
            InputError: If more was exported than the replica has.
            VerificationError: If the leaves do not lead from one tree to the other.
            DatabaseError: If a leaf is missing.
        """
        size = self.size
        if before.size > size:
            raise InputError(
                f"the cursor stands at leaf {before.size} of {self.origin}, beyond the tree of the "
                f"replica, which has {size} leaves: bring the replica up to date (muniment follow)"
            )
        reached = before
        self._digests = []
        for leaves in self._pages(before.size):
            hashes = leaf_hashes(leaves)
            self._digests.append(_digest(hashes))
            reached = reached.extend(hashes)
            progress(reached.size - before.size, size - before.size)
        if reached.root() != self._head.root:
            whose = "the replica" if not before.size else "the cursor or the replica"
            raise VerificationError(
                f"{self._reader.path}: the leaves [{before.size}, {size}) do not give the root of "
                f"the checkpoint of {self.origin}: {whose} is of another tree, or was changed"
            )

    def pages(self, before: CompactRange) -> Iterator[LeafPage]:
        """All records behind those exported before, for which `check` was called.

        Raises VerificationError if a leaf is another one than then; DatabaseError and FactsError
        if the file cannot be read.
        """
        first = before.size
        for number, leaves in enumerate(self._pages(first)):
            hashes = leaf_hashes(leaves)
            if _digest(hashes) != self._digests[number]:
                raise VerificationError(f"{self._reader.path}: was changed while it was read")
            indices = range(first, first + len(leaves))
            taken = self._reader.intervals(indices, size=self.size)
            found = tuple(
                [
                    Exported(
                        self.origin,
                        index,
                        hash_,
                        data,
                        record,
                        withholding_of(record, (), self._facts),
                        interval,
                    )
                    for index, hash_, data, record, interval in zip(
                        indices, hashes, leaves, parse_leaves(leaves), taken, strict=True
                    )
                    if record is not None
                ]
            )
            yield LeafPage(first, hashes, found)
            first = indices.stop

    def _pages(self, first: int) -> Iterator[list[bytes]]:
        while first < self.size:
            end = min(self.size, (first // _PAGE + 1) * _PAGE)
            yield list(self._reader.leaves(range(first, end)).values())
            first = end


def _digest(hashes: list[bytes]) -> bytes:
    return sha256(b"".join(hashes)).digest()
