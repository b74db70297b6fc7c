"""Which leaves go with a completeness proof when its records are asked for."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from muniment.complete.keys import Key
from muniment.complete.listing import Listing


class Leaves(Protocol):
    """Where leaves are read: `index.bundles.LeafReader`."""

    def leaves(self, indices: Iterable[int]) -> Mapping[int, bytes]:
        """The leaves at some indices."""
        ...

    def manifest_after(self, index: int, *, size: int) -> tuple[int, bytes] | None:
        """The first manifest behind a leaf, with its leaf index; None if none is near enough."""
        ...


def entries_of(lists: Mapping[Key, Listing], source: Leaves, size: int) -> dict[int, bytes]:
    """The leaves that lists name, and where keys were revoked, the manifests behind them.

    Manifests tell which key signed a record, and so whether the revocation of a key hits it.
    """
    named = sorted({index for listing in lists.values() for index in listing.indices})
    entries = dict(source.leaves(named))
    if any(_is_of_keys(key) and listing.count for key, listing in lists.items()):
        found = [source.manifest_after(index, size=size) for index in named]
        entries.update(one for one in found if one is not None)
    return entries


def _is_of_keys(key: Key) -> bool:
    return key.kind == "revocations" and key.parts[0] in ("key", "key_name")
