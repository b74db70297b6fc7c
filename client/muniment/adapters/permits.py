"""The permits that a server is shown: verified on what it received, each good for one request."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypedDict

from muniment.adapters.used import Used
from muniment.errors import Denied, MunimentError
from muniment.gateway.authorization import denial_of
from muniment.gateway.guard import Guard
from muniment.permit import Context, Permit, Verdict
from muniment.records.kinds import Entity


class ServerContext(TypedDict, total=False):
    """What the server knows of itself; see `muniment.permit.Context`."""

    subject: Entity | None
    spiffe_id: str | None
    thumbprint: str | None
    measurements: Mapping[str, str]
    governance: Mapping[str, str]


class Permits:
    """Verifies the permits of one server's requests.

    Attributes:
        used: Those that were used.
    """

    def __init__(self, guard: Guard, known: ServerContext) -> None:
        """Verifies by `guard`, for a server that knows this of itself."""
        self.used = Used()
        self._guard = guard
        self._known = known

    async def use(
        self,
        permit: Permit,
        execution: str,
        action: str,
        resource: Entity,
        *,
        arguments: Any,
        now: int,
        state: str | None = None,
    ) -> Verdict:
        """Verifies a permit for a request, and notes it as used; gives the verdict, which permits.

        `state` is that of `Used.use`; the other arguments are those of `Context`. Raises what
        `Guard.check` and `Used.use` do.
        """
        context = Context(
            now=now,
            action=action,
            resource=resource,
            execution=execution,
            arguments=arguments,
            **self._known,
        )
        verdict = await self._guard.check(permit, context)
        self.used.use(execution, permit, now, state)
        return verdict


@contextmanager
def failing_closed() -> Iterator[None]:
    """Turns whatever goes wrong inside into Denied."""
    try:
        yield
    except Denied:
        raise
    except (MunimentError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise denial_of(error) from error
