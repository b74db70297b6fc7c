"""What a gate of tests decides by, in place of engines and a log."""

import asyncio
from typing import Any

from muniment.gateway.outcomes import PendingOutcome
from muniment_gateway.deciding.decisions import Decided, RequestDetails


class Policy:
    """Denies what has `deny` in its resource's id; what has `wait` there waits for `go`."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.asked: list[dict[str, Any]] = []
        self.refused: list[tuple[Any, str]] = []
        self.outcomes: list[str] = []

    async def decide(self, request: dict[str, Any], call: RequestDetails) -> Decided:
        self.asked.append(request)
        id_ = request["resource"]["id"]
        if "wait" in id_:
            await self.go.wait()
        if "deny" in id_:
            return Decided(decision=False, response=None, own={"codes": ["denied_by_policy"]})
        execution = request["context"]["muniment"]["execution"]
        own = {"execution": execution, "permit": f"permit of {execution}"}
        return Decided(decision=True, response=None, own=own)

    async def refuse(self, request: object, call: RequestDetails, reason: str) -> Decided:
        self.refused.append((request, reason))
        return Decided(decision=False, response=None, own={"codes": ["could_not_evaluate"]})

    async def would_allow(self, request: dict[str, Any], call: RequestDetails) -> bool:
        return "deny" not in request["resource"]["id"]

    async def begin_outcome(self, execution: str) -> PendingOutcome | None:
        policy = self

        class Outcome(PendingOutcome):
            def __init__(self) -> None:
                pass

            async def keep(self, status: Any, addenda: Any = (), **members: Any) -> None:
                policy.outcomes.append(status)

            def drop(self) -> None:
                policy.outcomes.append("dropped")

        return Outcome()
