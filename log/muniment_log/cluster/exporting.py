"""Buckets as both ends of an export."""

from __future__ import annotations

from typing import TYPE_CHECKING

from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.tiles import CHECKPOINT
from muniment_log.cluster.addendaobjects import AddendaObjects
from muniment_log.cluster.objects import ObjectStore
from muniment_log.cluster.s3 import ERASABLE
from muniment_log.cluster.tiles import ObjectTiles
from muniment_log.core.integrate import EMPTY_EDGE

if TYPE_CHECKING:
    from collections.abc import Iterable

PATIENCE_SECONDS = 60.0
"""How long a request is repeated. Nobody waits for an export, and no lease runs out."""


class BucketTarget:
    """A bucket, or a prefix in it, as the target of an export."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @property
    def name(self) -> str:
        """Its URL."""
        return self._store.name

    async def get(self, key: str) -> bytes:
        """An object; see `ObjectStore.get`."""
        return await self._store.get(key)

    async def create_many(self, items: Iterable[tuple[str, bytes]]) -> None:
        """Writes objects that never change; see `ObjectStore.create_many`."""
        await self._store.create_many(items)

    async def create_erasable(self, items: Iterable[tuple[str, bytes]]) -> None:
        """Writes objects that no cache is to keep; see `ObjectStore.create_many`."""
        await self._store.create_many(items, ERASABLE)

    async def remove(self, keys: Iterable[str]) -> None:
        """Deletes objects. A bucket with versions keeps them as old versions."""
        for key in keys:
            await self._store.delete(key)

    async def replace(self, key: str, data: bytes) -> None:
        """Writes an object that changes.

        Raises SwapLostError if another export has written it meanwhile.
        """
        found = await self._store.get_versioned(key)
        await self._store.swap(key, data, None if found is None else found[1])


class BucketAddenda:
    """A cluster's addenda, as its bucket has them."""

    def __init__(self, store: ObjectStore) -> None:
        """Takes the bucket."""
        self._objects = AddendaObjects(store)

    async def addendum(self, digest: bytes) -> bytes | None:
        """The bytes of a digest; see `AddendaObjects.get`."""
        return await self._objects.get(digest)


def open_bucket(url: str, *, is_locked: bool = False) -> ObjectStore:
    """A bucket for an export, from or to; see `ObjectStore.open`.

    Raises FormatError if the URL or what the environment says cannot be used.
    """
    return ObjectStore.open(url, seconds=PATIENCE_SECONDS, is_locked=is_locked)


async def published_tree(store: ObjectStore) -> tuple[ObjectTiles, bytes | None]:
    """A cluster's published tree and its checkpoint, as its bucket has them.

    Raises:
        StorageError, UnavailableError: the bucket cannot be read.
        FormatError: what is there is no checkpoint.
    """
    try:
        note = await store.get(CHECKPOINT)
    except LookupError:
        return ObjectTiles(store, lambda: EMPTY_EDGE.head), None
    known = parse_signed_checkpoint(note).checkpoint
    return ObjectTiles(store, lambda: known.head), note
