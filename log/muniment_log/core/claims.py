"""Who is at work on something that comes from several at once: one at a time, the others wait."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence


class Claim:
    """A claim on some names, until it is released."""

    def __init__(self, claims: Claims, names: Sequence[Hashable]) -> None:
        """Taken by `Claims.take`."""
        self.released = asyncio.Event()
        self._claims = claims
        self._names = names

    def release(self) -> None:
        """Lets the next one have the names; safe to call twice."""
        if not self.released.is_set():
            self._claims.forget(self._names)
            self.released.set()


class Claims:
    """Claims on names; belongs to one event loop.

    All names of a claim are taken at once, so that no two claims can wait for each other.
    """

    def __init__(self) -> None:
        """Nothing is claimed."""
        self._held: dict[Hashable, Claim] = {}

    async def take(self, names: Sequence[Hashable]) -> Claim:
        """Claims names, when nobody has any of them any more."""
        while (holder := next(filter(None, map(self._held.get, names)), None)) is not None:
            await holder.released.wait()
        claim = Claim(self, names)
        self._held.update(dict.fromkeys(names, claim))
        return claim

    def forget(self, names: Sequence[Hashable]) -> None:
        """Takes the names of a claim back; see `Claim.release`."""
        for name in names:
            del self._held[name]
