"""The bytes of addenda in the bucket.

Each has its place by its digest (C2SP draft tlog-addenda), where it is created and never changed.
To erase it is to replace it, once and for all, by a few bytes that say so: a creation that is still
under way somewhere then fails, however late it arrives. Deleting it would not have that effect.

What comes with a request is first one object by itself, under a random key, because it is not known
yet whether its records will be logged. Nobody else writes there, so it can be deleted.
"""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import msgspec

from muniment.local.taskgroup import TaskGroup
from muniment.records.addenda import addendum_path
from muniment_log.cluster.objects import DivergedError, SwapLostError
from muniment_log.cluster.s3 import ERASABLE
from muniment_log.core.addenda import Addendum
from muniment_log.errors import StorageError, UnavailableError
from muniment_service.process import first_error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from muniment_log.cluster.objects import ObjectStore, Version

GONE: Final = b"erased\n"
"""What stands where an addendum was erased, or must not come any more. An addendum is longer."""

ARRIVING: Final = "arriving/"
"""Where the objects are in which addenda come."""

_TRIES: Final = 8
"""How often an erasure looks again, after somebody else has written the object meanwhile."""

_AT_ONCE: Final = 64
"""Addenda that are erased at the same time."""

_NONE: Final[Mapping[bytes, Version]] = {}

_LONG: Final = 1 << 20  # bytes that a thread hashes

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[Addendum]).decode


class AddendaObjects:
    """The objects of addenda in a bucket."""

    def __init__(self, objects: ObjectStore) -> None:
        """Takes the bucket."""
        self._objects = objects

    async def put(self, digest: bytes, data: bytes) -> Version | None:
        """Stores an addendum in its place, and tells its version; None if it was erased there.

        Raises:
            StorageError: the store refuses, or the place holds other bytes.
            UnavailableError: the outcome is unknown.
        """
        path = addendum_path(digest.hex())
        try:
            return await self._objects.create(path, data, ERASABLE)
        except DivergedError as error:
            if await self._objects.get(path) != GONE:
                raise StorageError(str(error)) from error
            return None

    async def get(self, digest: bytes) -> bytes | None:
        """An addendum; None if it is not there, or was erased there.

        Raises:
            StorageError: the store refuses, or holds other bytes.
            UnavailableError: it cannot be reached.
        """
        found = await self.look(digest)
        return None if found == GONE else found

    async def look(self, digest: bytes) -> bytes | None:
        """The same; GONE where it was erased."""
        path = addendum_path(digest.hex())
        found = await self._objects.get_versioned(path)
        if found is None or found[0] == GONE:
            return None if found is None else GONE
        data = found[0]
        if len(data) > _LONG:
            held = await asyncio.to_thread(lambda: sha256(data).digest())
        else:
            held = sha256(data).digest()
        if held != digest:
            raise StorageError(f"{self._objects.name}: {path} holds other bytes than its digest's")
        return data

    async def erase(
        self, digests: Sequence[bytes], known: Mapping[bytes, Version] = _NONE
    ) -> list[str]:
        """Erases addenda in their places, whether they were there or not.

        Returns what a bucket with versions still holds, each as key and version. Raises as `put`.

        Args:
            digests: the addenda.
            known: what was told of some when they were stored: that saves a request for each.
        """
        limit = asyncio.Semaphore(_AT_ONCE)

        async def one(digest: bytes) -> str | None:
            async with limit:
                return await self._replace(addendum_path(digest.hex()), known.get(digest))

        try:
            async with TaskGroup() as tasks:
                working = [tasks.create_task(one(digest)) for digest in digests]
        except ExceptionGroup as group:
            raise first_error(group) from group
        return [held for task in working if (held := task.result()) is not None]

    async def _replace(self, path: str, before: Version | None) -> str | None:
        is_known = before is not None
        for _ in range(_TRIES):
            if not is_known:
                found = await self._objects.get_versioned(path)
                if found is not None and found[0] == GONE:
                    return None
                before = None if found is None else found[1]
            try:
                now = await self._objects.swap(path, GONE, before, ERASABLE)
            except SwapLostError:
                is_known = False  # an addendum was stored meanwhile, or the bucket restored
                continue
            if before is None or (before.version is None and now.version is None):
                return None
            # Versions are kept, since after it was stored perhaps: S3 calls the one of before so.
            return f"{path} {before.version or 'null'}"
        raise UnavailableError(f"{self._objects.name}: {path} is always being written")

    async def arrive(self, key: str, addenda: Sequence[Addendum]) -> None:
        """Stores what came with a request, under a key of its own.

        Raises:
            StorageError: the store refuses.
            UnavailableError: it is not known whether it is stored, or will be.
        """
        await self._objects.create_new(key, _encode(addenda), ERASABLE)

    async def arrived(self, key: str) -> list[Addendum] | None:
        """What came with a request; None if it is not there, and then it never will be.

        Raises:
            StorageError: the store refuses, or has lost some of it.
            UnavailableError: it cannot be reached.
        """
        for _ in range(_TRIES):
            found = await self._objects.get_versioned(key)
            if found is None:
                # What stores it may still be under way, of a process that is gone.
                try:
                    await self._objects.create(key, GONE, ERASABLE)
                except DivergedError:
                    continue
                return None
            return None if found[0] == GONE else self._unpack(key, found[0])
        raise UnavailableError(f"{self._objects.name}: {key} is there and is not")

    async def find_arriving(self, key: str, digest: bytes) -> bytes | None:
        """An addendum out of what came with a request; None if it is not there. Raises as `get`."""
        found = await self._objects.get_versioned(key)
        if found is None or found[0] == GONE:
            return None
        came = self._unpack(key, found[0])
        return next((one.data for one in came if one.digest == digest), None)

    def _unpack(self, key: str, data: bytes) -> list[Addendum]:
        try:
            return _decode(data)
        except msgspec.DecodeError as error:
            raise StorageError(f"{self._objects.name}: {key} is damaged: {error}") from error

    async def clear(self, key: str) -> None:
        """Deletes what came with a request, which was stored by one request that has ended.

        Raises StorageError or UnavailableError if it may still be there.
        """
        await self._objects.delete(key)
