"""Who is at work on something that comes from several at once: one at a time, the others wait."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence


class Claim:
    """A claim on some names, until it is released."""

    __slots__ = ("_claims", "_is_held", "_names", "_released")

    def __init__(self, claims: Claims, names: Sequence[Hashable]) -> None:
        """Taken by `Claims.take`."""
        self._claims = claims
        self._names = names
        self._is_held = True
        self._released: asyncio.Event | None = None  # made when somebody waits, as few do

    async def released(self) -> None:
        """Waits until it is released."""
        if self._released is None:
            self._released = asyncio.Event()
        if self._is_held:
            await self._released.wait()

    def release(self) -> None:
        """Lets the next one have the names; safe to call twice."""
        if self._is_held:
            self._is_held = False
            self._claims.forget(self._names)
            if self._released is not None:
                self._released.set()


class Claims:
    """Claims on names; belongs to one event loop.

    All names of a claim are taken at once, so that no two claims can wait for each other.
    """

    def __init__(self) -> None:
        """Nothing is claimed."""
        self._held: dict[Hashable, Claim] = {}

    async def take(self, names: Sequence[Hashable]) -> Claim:
        """Claims names, when nobody has any of them any more."""
        held = self._held
        while (claim := self.take_free(names)) is None:
            await next(held[name] for name in names if name in held).released()
        return claim

    def take_free(self, names: Sequence[Hashable]) -> Claim | None:
        """Claims names, if nobody has any of them; else None."""
        held = self._held
        if not held.keys().isdisjoint(names):
            return None
        claim = Claim(self, names)
        for name in names:
            held[name] = claim
        return claim

    def forget(self, names: Sequence[Hashable]) -> None:
        """Takes the names of a claim back; see `Claim.release`."""
        for name in names:
            del self._held[name]
