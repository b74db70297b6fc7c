"""Who is at work on something that comes from several at once: one at a time, the others wait.

They wait in line, each for those who asked before it for one of its names, and for nobody else. So
a release wakes one, where a thousand wait for the same.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence


class Claim:
    """A claim on some names, until it is released.

    Attributes:
        names: the names.
        before: how many claims it waits for.
        behind: the claims that wait for it, among others.
        turn: set when it waits for nobody any more; made when that is waited for, as few are.
        is_held: whether it is not released.
    """

    __slots__ = ("_claims", "before", "behind", "is_held", "names", "turn")

    def __init__(self, claims: Claims, names: Sequence[Hashable], before: int = 0) -> None:
        """Taken by `Claims`."""
        self._claims = claims
        self.names = names
        self.before = before
        self.behind: list[Claim] = []
        self.turn: asyncio.Future[None] | None = None
        self.is_held = True

    def release(self) -> None:
        """Lets the next one have the names; safe to call twice."""
        if self.is_held:
            self.is_held = False
            self._claims.released(self)


class Claims:
    """Claims on names; belongs to one event loop.

    All names of a claim are asked for at once, so that no two claims can wait for each other.
    """

    def __init__(self) -> None:
        """Nothing is claimed."""
        self._last: dict[Hashable, Claim] = {}  # in line for each name; the first one has it

    async def take(self, names: Sequence[Hashable]) -> Claim:
        """Claims names, when nobody who asked before has any of them any more."""
        last = self._last
        before = {last[name]: None for name in names if name in last}
        claim = Claim(self, names, len(before))
        for one in before:
            one.behind.append(claim)
        last.update(dict.fromkeys(names, claim))
        if before:
            claim.turn = asyncio.get_running_loop().create_future()
            try:
                await claim.turn
            except BaseException:
                claim.release()
                raise
        return claim

    def take_free(self, names: Sequence[Hashable]) -> Claim | None:
        """Claims names, if nobody has any of them, or waits for it; else None."""
        last = self._last
        if not last.keys().isdisjoint(names):
            return None
        claim = Claim(self, names)
        for name in names:
            last[name] = claim
        return claim

    def released(self, claim: Claim) -> None:
        """Wakes those who wait for nobody any more; see `Claim.release`.

        A claim that is given up before its turn keeps its place in line until then: those behind
        it would get past those before it.
        """
        if not (claim.before or claim.behind):  # as of most
            self._forget(claim)
            return
        ended = [] if claim.before else [claim]
        while ended:  # one after the other, as many as were given up
            one = ended.pop()
            self._forget(one)
            for following in one.behind:
                following.before -= 1
                if following.before:
                    continue
                if not following.is_held:
                    ended.append(following)
                elif following.turn is not None and not following.turn.done():
                    following.turn.set_result(None)

    def _forget(self, claim: Claim) -> None:
        for name in claim.names:
            if self._last.get(name) is claim:
                del self._last[name]
