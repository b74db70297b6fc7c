"""Reading the map for answers: what belongs to some keys, and the proof that it is all."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Final, NamedTuple

from muniment.complete.listing import MAX_LISTED, KeyList
from muniment.index.bundles import LeafReader
from muniment.tlog.encoding import FormatError
from muniment.tlog.mpt import verify_many
from muniment_log.storage.snapshot import LogSnapshot

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from muniment.complete.keys import Key
    from muniment.map.reader import MapReader


MAX_LEAVES: Final = 2 * MAX_LISTED
"""Leaves on all lists that one answer is made from."""


class Lists(NamedTuple):
    """The leaves that touch some keys, and the proof that there are no others.

    Attributes:
        lists: the leaves of each key, or the first of them.
        proof: of all keys under the map's root.
    """

    lists: Mapping[Key, KeyList]
    proof: bytes


def read_lists(reader: MapReader, root: bytes, keys: Sequence[Key], limit: int) -> Lists:
    """Reads the lists of some keys, at most `limit` leaves of each, and verifies their proof.

    Raises:
        FormatError: a list is too long to be proved, or all of them together are.
        DatabaseError, VerificationError: the map is damaged.
    """
    values, proof = reader.prove_many([key.digest for key in keys])
    verify_many(root, values, proof)  # a millisecond: nothing rotten is ever told
    # Before any is read: this thread shares the interpreter with decisions.
    counts = [0 if value is None else int.from_bytes(value[:8], "big") for value in values.values()]
    if max(counts) > MAX_LISTED or sum(counts) > MAX_LEAVES:
        raise FormatError(
            f"{sum(counts)} leaves, {max(counts)} of one key: a proof is made from at most "
            f"{MAX_LISTED} of a key, and {MAX_LEAVES} in all"
        )
    lists = {key: KeyList.of(reader.indices(key.digest), limit) for key in keys}
    return Lists(lists, proof)


def read_entries(database: Path, lists: Mapping[Key, KeyList], size: int) -> dict[int, bytes]:
    """The leaves of the log that lists name, and where keys were revoked, the manifests behind.

    Manifests tell which key signed a record, and so whether the revocation of a key hits it. Raises
    DatabaseError if a leaf cannot be read.
    """
    named = sorted({index for each in lists.values() for index in each.indices})
    with closing(LogSnapshot(database)) as snapshot:
        source = LeafReader(database, snapshot)
        entries = source.leaves(named)
        if any(_is_of_keys(key) and each.count for key, each in lists.items()):
            found = [source.manifest_after(index, size=size) for index in named]
            entries.update(one for one in found if one is not None)
    return entries


def _is_of_keys(key: Key) -> bool:
    return key.kind == "revocations" and key.parts[0] in ("key", "key_name")
