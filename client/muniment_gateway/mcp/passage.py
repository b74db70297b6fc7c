"""What may pass a gate: a message, the permits that it goes on with, and how its runs end."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from muniment.errors import MunimentError
from muniment.gateway.outcomes import PendingOutcome
from muniment.permit.meta import META_KEY, meta_of
from muniment.records.kinds import RunStatus
from muniment_gateway.mcp.mapping import Caller
from muniment_gateway.mcp.messages import Message, with_meta


@dataclass(slots=True)
class PassedMessage:
    """A message that may pass.

    Attributes:
        message: What came.
        data: What goes on.
        about: What tells its call from others, which may have to be repeated; else empty.
        permits: Of each evaluation the run and the permit.
        is_again: Whether its run has begun already, by an earlier request.
        is_answered: Whether its answer was seen.
    """

    message: Message
    data: bytes
    caller: Caller
    about: bytes = b""
    is_again: bool = False
    is_answered: bool = False
    permits: Sequence[tuple[str, str]] = ()
    outcomes: list[PendingOutcome] = field(default_factory=list)

    @property
    def is_of_request(self) -> bool:
        """Whether it is a request, which has an answer."""
        return self.message.kind == "request"

    def permit(self, permits: Sequence[tuple[str, str]]) -> None:
        """Has it go on with permits: of each evaluation the run and the permit."""
        self.permits = permits
        self.data = with_meta(self.message, META_KEY, meta_of(permits) if permits else None)

    async def end(self, status: RunStatus, *, at_leisure: bool = False) -> None:
        """Says how the runs ended that this has begun; the first word counts."""
        outcomes, self.outcomes = self.outcomes, []
        is_begun = self.is_again and status == "not_run"
        await end_all(outcomes, "unknown" if is_begun else status, at_leisure=at_leisure)


async def end_all(
    outcomes: Sequence[PendingOutcome],
    status: RunStatus = "unknown",
    *,
    at_leisure: bool = False,
) -> None:
    """Says how runs ended; what cannot be written is `unknown` on disk, and stays so."""
    for one in outcomes:
        with suppress(MunimentError):
            await one.keep(status, at_leisure=at_leisure)
