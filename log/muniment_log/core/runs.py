"""Ordered entries as rows of PostgreSQL: runs of framed entries, none of a megabyte or more.

A group of small batches becomes one row, a large batch several: rows are cut between entries, so
each one can be read by itself, and it does not matter to anybody where batches ended.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final, NamedTuple

from muniment.tlog import merkle
from muniment.tlog.encoding import FormatError, unframe
from muniment_log.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from muniment_log.core.integrate import Framed

ROW_BYTES: Final = 768 << 10
"""Most bytes of a row's entries; the largest entry is 64 KiB, and engines want rows below 1 MB."""


class UnplacedRow(NamedTuple):
    """One row before it has its index.

    Attributes:
        place: leaves before it in its group.
        leaves: number of entries.
        data: the entries, framed.
    """

    place: int
    leaves: int
    data: bytes


@dataclass(frozen=True, slots=True)
class PlacedRow:
    """A row as read, ready to be integrated; see `integrate.Framed`.

    Attributes:
        first: leaf index of its first entry.
        body: the entries, framed.
        offsets: where each one's frame begins.
        leaf_hashes: their RFC 6962 leaf hashes.
    """

    first: int
    body: bytes
    offsets: Sequence[int]
    leaf_hashes: Sequence[bytes]

    @property
    def end(self) -> int:
        """The leaf index after its last entry."""
        return self.first + len(self.offsets)


def rows_of(batches: Iterable[Framed]) -> list[UnplacedRow]:
    """Cuts the entries of contiguous batches into rows."""
    rows: list[UnplacedRow] = []
    pending: list[bytes] = []
    place = count = size = 0

    def flush() -> None:
        nonlocal place, count, size
        if pending:
            data = pending[0] if len(pending) == 1 else b"".join(pending)
            rows.append(UnplacedRow(place, count, data))
            pending.clear()
            place, count, size = place + count, 0, 0

    for batch in batches:
        if size + len(batch.body) <= ROW_BYTES:
            pending.append(batch.body)
            count += len(batch.offsets)
            size += len(batch.body)
            continue
        flush()
        bounds = [*batch.offsets, len(batch.body)]
        at = 0
        while at < len(batch.offsets):
            end = bisect_right(bounds, bounds[at] + ROW_BYTES) - 1
            pending.append(batch.body[bounds[at] : bounds[end]])
            count, size = end - at, bounds[end] - bounds[at]
            at = end
            if at < len(batch.offsets):
                flush()
    flush()
    return rows


def run_of(first: int, count: int, data: bytes) -> PlacedRow:
    """Reads a row; StorageError if it is not `count` framed entries."""
    try:
        entries = unframe(data, "run of entries")
    except FormatError as error:
        raise StorageError(f"the stored {error}, at leaf {first}") from error
    if len(entries) != count:
        raise StorageError(f"the run of entries at leaf {first} is not of {count} entries")
    # Each frame is a prefix of two bytes and the entry.
    offsets = list(accumulate(map((2).__add__, map(len, entries[:-1])), initial=0))
    return PlacedRow(first, data, offsets, merkle.leaf_hashes(entries))
