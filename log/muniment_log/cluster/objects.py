"""Objects that are written once or by compare-and-swap (S3 conditional writes).

Whoever writes an object may have written it before and not know it: the answer was lost, or it was
somebody else who integrated the same leaves. So a condition that fails is looked into: the object
is read back, and when it is what was to be written all is well.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import nullcontext, suppress
from itertools import chain
from typing import TYPE_CHECKING, Final

from muniment.local.taskgroup import TaskGroup
from muniment_log.cluster.s3 import (
    IMMUTABLE,
    NOTE,
    TOTAL_SECONDS,
    ConditionFailedError,
    S3Client,
    Version,
    open_client,
)
from muniment_log.errors import LogError, StorageError, UnavailableError
from muniment_service.process import first_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from obstore import Attributes

    from muniment_log.cluster.s3 import Folder
    from muniment_service.metrics import Metrics

__all__ = ["DivergedError", "ObjectStore", "SwapLostError", "Version"]

WRITES: Final = 64
"""Objects of one `create_many` that are written at the same time."""

RACERS: Final = 4
"""Writes that race for one object in `probe`."""

ROUNDS: Final = 100
"""Rounds of `probe`: a store that looks first and writes then is lucky most of the time. Mostly the
time ends it before."""

PROBE_SECONDS: Final = 2.0
"""How long `probe` begins rounds: only such as will have ended by then, if they take as long as the
last one. The first is had also of a store that is slow to tell who has lost: SeaweedFS takes a
second for each race."""

_CONFLICTS: Final = 8
"""Times that a write gives way to others under way that in the end wrote nothing."""

_CONFLICT_SECONDS: Final = 0.05
"""Pause after the first of them, doubled by each."""


class DivergedError(StorageError):
    """An object that may be written only once holds something else: two histories, or rot."""


class SwapLostError(LogError):
    """The object is not of the version expected: somebody else has written it."""


class ObjectStore:
    """A bucket of an S3-compatible store, all keys below one prefix. Belongs to one event loop."""

    def __init__(self, client: S3Client) -> None:
        self._client = client

    @classmethod
    def open(
        cls,
        url: str,
        *,
        environment: Mapping[str, str] | None = None,
        seconds: float = TOTAL_SECONDS,
        is_anonymous: bool = False,
        is_locked: bool = False,
        metrics: Metrics | None = None,
    ) -> ObjectStore:
        """A store by its URL; nothing is asked of it yet.

        Raises FormatError if the URL or what the environment says cannot be used.

        Args:
            url: ``s3://bucket`` or ``s3://bucket/prefix``.
            environment: where `AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
                `AWS_SESSION_TOKEN` and `AWS_REGION` are; the process's own if not given. Without
                keys, see `s3.ROLE_VARIABLE`. An endpoint without TLS that is not on this machine
                takes `AWS_ALLOW_HTTP=true`.
            seconds: how long a request is repeated; less than the lease of an integrator.
            is_anonymous: ask without any credentials.
            is_locked: the bucket has Object Lock with a default retention.
            metrics: where to count requests.
        """
        return cls(
            open_client(
                url,
                environment=environment,
                seconds=seconds,
                is_anonymous=is_anonymous,
                is_locked=is_locked,
                metrics=metrics,
            )
        )

    @property
    def name(self) -> str:
        """Its URL, for messages."""
        return self._client.name

    async def close(self) -> None:
        """Waits for requests under way, for no longer than one may take."""
        await self._client.close()

    async def get(self, key: str) -> bytes:
        """An object.

        Raises:
            LookupError: there is none.
            StorageError: the store refuses.
            UnavailableError: it does not answer in time.
        """
        found = await self._client.get(key)
        if found is None:
            raise LookupError(f"{self.name} has no {key}")
        return found[0]

    async def get_versioned(self, key: str) -> tuple[bytes, Version] | None:
        """An object with its version, for `swap`; None when there is none.

        Raises:
            StorageError: the store refuses.
            UnavailableError: it does not answer in time.
        """
        return await self._client.get(key)

    async def create(self, key: str, data: bytes, attributes: Attributes = IMMUTABLE) -> Version:
        """Writes an object that never changes; one that is there already must be the same.

        Returns its version.

        Raises:
            DivergedError: it holds something else.
            StorageError: the store refuses.
            UnavailableError: it does not answer in time; the outcome is unknown.
        """
        for conflicts in range(_CONFLICTS):
            try:
                return await self._client.put(key, data, None, attributes)
            except ConditionFailedError:
                found = await self._client.get(key)
                if found is None:
                    # Another write of it is under way (409): it needs time to end.
                    await _give_way(conflicts)
                    continue
                if found[0] != data:
                    raise DivergedError(
                        f"{self.name}: {key} holds other {len(found[0])} bytes than the "
                        f"{len(data)} that belong there"
                    ) from None
                return found[1]
        raise UnavailableError(f"{self.name}: {key} is there and is not")

    async def create_new(self, key: str, data: bytes, attributes: Attributes) -> None:
        """Writes an object by one request, under a key that nobody used before.

        After an error that request may still be under way.

        Raises:
            StorageError: the store refuses.
            UnavailableError: it failed, or the key is used; whether it is written is unknown.
        """
        try:
            await self._client.put(key, data, None, attributes, is_repeated=False)
        except ConditionFailedError as error:
            raise UnavailableError(f"{self.name}: put {key}: {error}") from error

    async def create_many(
        self, items: Iterable[tuple[str, bytes]], attributes: Attributes = IMMUTABLE
    ) -> None:
        """Writes many objects that never change, several at a time; see `create`.

        When one fails the others under way are given up, and which of them were written is unknown.
        """
        waiting = iter(items)

        async def work(rest: Iterator[tuple[str, bytes]]) -> None:
            for key, data in rest:
                await self.create(key, data, attributes)

        try:
            async with TaskGroup() as tasks:
                for _ in range(WRITES):
                    first = next(waiting, None)
                    if first is None:
                        break
                    tasks.create_task(work(chain((first,), waiting)))
        except ExceptionGroup as group:
            # One is enough to say, and callers look at its class.
            raise first_error(group) from group

    async def delete(self, key: str) -> None:
        """Deletes an object, whether it is there or not.

        Raises:
            StorageError: the store refuses.
            UnavailableError: it does not answer in time.
        """
        await self._client.delete(key)

    async def list_folder(self, prefix: str) -> Folder:
        """What is directly below a prefix, which has no final slash.

        Raises:
            StorageError: the store refuses.
            UnavailableError: it does not answer in time.
        """
        return await self._client.list_folder(prefix)

    async def swap(
        self, key: str, data: bytes, expected: Version | None, attributes: Attributes = NOTE
    ) -> Version:
        """Writes an object that changes, if it is still of the version that the caller has read.

        Returns the new version; None expects that there is no object. One that holds `data` already
        counts as written: by an attempt whose answer was lost, most likely.

        Raises:
            SwapLostError: it is of another version.
            StorageError: the store refuses.
            UnavailableError: it does not answer in time; the outcome is unknown.
        """
        for conflicts in range(_CONFLICTS):
            try:
                return await self._client.put(key, data, expected, attributes)
            except ConditionFailedError:
                found = await self._client.get(key)
                if found is not None and found[0] == data:
                    return found[1]
                if (found and found[1]) != expected:
                    raise SwapLostError(f"{self.name}: somebody else has written {key}") from None
                await _give_way(conflicts)
        raise UnavailableError(f"{self.name}: {key} is always being written")

    async def probe(self, *, races: bool = True) -> None:
        """Finds out by writes whether the store heeds conditions; leaves nothing behind.

        One race after another, on connections that are open by then: what comes first arrives one
        by one. Both conditions, because stores exist that keep only the promise of creations. Only
        the first two races are side by side: a store may make the losers wait, and then there is
        no time for others. They find less than two that have the store for themselves.

        Args:
            races: whether writes race. Without, a store passes that looks first and writes then:
                enough for a frontend, as the integrators, who erase and publish, refuse it.

        Raises:
            StorageError: it does not, or refuses; the message says what it did.
            UnavailableError: it does not answer in time.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        racers, rounds = (RACERS, ROUNDS) if races else (1, 1)
        for number in range(rounds):
            key = f"probe/{secrets.token_hex(16)}"
            round_began = loop.time()
            try:
                if races and number == 0:
                    await asyncio.gather(*(self._client.get(key) for _ in range(2 * racers)))
                    await self._race_both(key)
                else:
                    first = await self._winner(key, None, racers)
                    await self._replace(key, first, racers)
            except LogError:
                # Why it is refused is worth more than that it cannot delete, either.
                with suppress(LogError):
                    await self._client.delete(key)
                raise
            await self._client.delete(key)
            now = loop.time()
            if now - began + now - round_began > PROBE_SECONDS:
                return

    async def _race_both(self, key: str) -> None:
        """A race of each kind, side by side, of which the other object is deleted again."""
        other = f"{key}-created"
        first = await self._winner(key, None, 1)
        races = self._winner(other, None, RACERS), self._replace(key, first, RACERS)
        results = await asyncio.gather(*races, return_exceptions=True)
        failed = [result for result in results if isinstance(result, BaseException)]
        with suppress(LogError) if failed else nullcontext():
            await self._client.delete(other)
        for error in failed:
            raise error

    async def _replace(self, key: str, first: Version, racers: int) -> None:
        await self._winner(key, first, racers)
        for expected, header, did in (
            (first, "If-Match", "replaced a version that was gone"),
            (None, "If-None-Match: *", "created what was there"),
        ):
            with suppress(ConditionFailedError):
                await self._client.put(key, b"stale", expected, NOTE)
                raise StorageError(f"{self.name}: the store ignores {header}: it {did}")

    async def _winner(self, key: str, expected: Version | None, number: int) -> Version:
        """Races for one object; the version of whoever was the only one to win."""
        header, what = (
            ("If-None-Match: *", "creations")
            if expected is None
            else ("If-Match", "replacements of one version")
        )

        async def write(data: bytes) -> bytes | None:
            try:
                await self._client.put(key, data, expected, NOTE)
            except ConditionFailedError:
                return None
            return data

        racers = [f"{what} {racer}".encode() for racer in range(number)]
        for conflicts in range(_CONFLICTS):
            results = await asyncio.gather(*map(write, racers), return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    raise result
            found = await self._client.get(key)
            winners = [data for data in results if data is not None]
            if len(winners) > 1:
                raise StorageError(
                    f"{self.name}: the store ignores {header}: {len(winners)} of {number} {what} "
                    "at the same time succeeded"
                )
            # An attempt whose answer was lost was repeated, and then nobody knows that it won.
            if found is not None and found[0] in (winners or racers):
                return found[1]
            if winners or (found and found[1]) != expected:
                raise StorageError(f"{self.name}: the store lost what it said it had written")
            # Each gave way to the others (409).
            await _give_way(conflicts)
        raise UnavailableError(f"{self.name}: of {number} {what} at the same time none succeeded")


async def _give_way(conflicts: int) -> None:
    await asyncio.sleep(_CONFLICT_SECONDS * 2**conflicts)
