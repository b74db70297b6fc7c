"""Reading the map for answers: what belongs to some keys, and the proof that it is all."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from muniment.complete.listing import Listing
from muniment.index.bundles import LeafReader
from muniment.records.touched import list_value
from muniment.tlog.mpt import verify_many
from muniment_log.storage.snapshot import LogSnapshot

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from muniment.complete.keys import Key
    from muniment.map.reader import MapReader


class Lists(NamedTuple):
    """The leaves that touch some keys, and the proof that there are no others.

    Attributes:
        lists: the leaves of each key, or the first of them.
        proof: of all keys under the map's root.
    """

    lists: Mapping[Key, Listing]
    proof: bytes


def read_lists(reader: MapReader, root: bytes, keys: Sequence[Key], limit: int) -> Lists:
    """Reads the lists of some keys, at most `limit` leaves of each, and verifies their proof.

    Raises:
        FormatError: a list is too long to be proved.
        DatabaseError, VerificationError: the map is damaged.
    """
    found = {key: reader.indices(key.digest) for key in keys}
    _, proof = reader.prove_many([key.digest for key in keys])
    values = {
        key.digest: list_value(indices) if indices else None for key, indices in found.items()
    }
    verify_many(root, values, proof)  # a millisecond: nothing rotten is ever told
    return Lists({key: Listing.of(indices, limit) for key, indices in found.items()}, proof)


def forget_map(path: Path) -> None:
    """Deletes a map, which nobody has open: the next one is built from the leaves."""
    for end in ("", "-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)


def read_entries(database: Path, indices: Sequence[int], size: int) -> dict[int, bytes]:
    """The leaves at some indices of the log, and the manifests that tell who signed them.

    Raises DatabaseError if one cannot be read.
    """
    with closing(LogSnapshot(database)) as snapshot:
        leaves = LeafReader(database, snapshot)
        found = leaves.leaves(indices)
        covered = -1  # the manifest that is behind all records up to it
        for index in sorted(found):
            if index <= covered:
                continue
            after = leaves.manifest_after(index, size=size)
            if after is not None:
                covered, found[after[0]] = after
    return found
