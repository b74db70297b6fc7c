"""Tells what of a request was logged before, of producers that cannot sign.

Most requests are new, so nothing is asked before the commit, which finds out when one is not. Who
repeats one request repeats others, and each that only the commit recognises costs a commit: after
one that came again, the next requests of its producer are looked up first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from muniment_log.core.claims import Claims
from muniment_log.core.repeats import RequestPlan, resolve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from muniment_log.core.claims import Claim
    from muniment_log.core.ordering import Order
    from muniment_log.core.ports import StreamKey
    from muniment_log.core.recall import Recall
    from muniment_log.core.repeats import RequestRecords

LOOKS: Final = 1000
"""Requests of a producer that are looked up first, after one that had been logged already."""


class Claimed(NamedTuple):
    """What of a request is to be logged, and the claim to release when that has settled.

    The claim is None of a request that nothing recognises.
    """

    plan: RequestPlan
    claim: Claim | None


class Recognizer:
    """Recognises requests that come again; belongs to one event loop."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._claims: dict[StreamKey, Claims] = {}  # producers are configured, so they are few
        self._looking: dict[StreamKey, int] = {}  # one for each producer at the most

    def is_repeating(self, key: StreamKey) -> bool:
        """Whether something came again lately on a stream, so that requests are looked up first."""
        return self._looking.get(key, 0) > 0

    def note_repeat(self, key: StreamKey) -> None:
        """Has the next requests on a stream looked up first."""
        self._looking[key] = LOOKS

    def claim_at_once(self, key: StreamKey, request: RequestRecords) -> Claimed | None:
        """Does `claim` without `looks`; None if somebody is at work on the same."""
        plan = resolve(request, {})
        names = request.names
        if not names:
            return Claimed(plan, None)
        claim = self._claims_on(key).take_free(names)
        return None if claim is None else Claimed(plan, claim)

    async def claim(self, key: StreamKey, request: RequestRecords, *, looks: bool) -> Claimed:
        """Tells what of a request is to be logged, when nobody else is at work on the same.

        Whoever comes with the same meanwhile waits until the claim is released, and looks then.
        Without `looks` all of it is to be logged, if the commit does not know better. Raises what
        `resolve` and the order do; nothing is claimed then.
        """
        names = request.names
        if not (looks and names) and (claimed := self.claim_at_once(key, request)) is not None:
            return claimed
        claim = await self._claims_on(key).take(names)
        try:
            plan = resolve(request, await self._look(key, names))
            if plan.recalls and not plan.records:  # a new key for what is there
                await self._order.remember(key, plan.recalls)
        except BaseException:
            claim.release()
            raise
        return Claimed(plan, claim)

    def _claims_on(self, key: StreamKey) -> Claims:
        claims = self._claims.get(key)
        if claims is None:
            claims = self._claims[key] = Claims()
        return claims

    async def _look(self, key: StreamKey, names: Sequence[bytes]) -> Mapping[bytes, Recall]:
        known = await self._order.recall(key, names)
        if known:
            self.note_repeat(key)
        elif self.is_repeating(key):
            self._looking[key] -= 1
        return known
