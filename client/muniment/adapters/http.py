"""The upstream's own side of a proxy: a server that answers what has a permit, and nothing else.

    guard = Guard(Trust(policy=…, gateways=…), replica="replica.db")
    side = RequestSide(guard)
    await side.check(request.headers.get(PERMIT_HEADER), "GET", Entity("route", "/todos"))

The gateway gives a proxy the permit for the header `Muniment-Permit`. Here it is verified on what
the server itself has received, so that going round the proxy gets nothing.
"""

import time
from typing import Any, Unpack

from msgspec import UNSET

from muniment.adapters.permits import Permits, ServerContext, failing_closed
from muniment.adapters.used import unauthorized
from muniment.gateway.guard import Guard
from muniment.permit import Verdict
from muniment.permit.header import PERMIT_HEADER, parse_header
from muniment.records.kinds import Entity

__all__ = ["PERMIT_HEADER", "RequestSide"]


class RequestSide:
    """Verifies the permits of one server's requests; each is good for one."""

    def __init__(self, guard: Guard, **known: Unpack[ServerContext]) -> None:
        """Verifies by `guard`; what the server knows of itself is as in `Context`."""
        self._permits = Permits(guard, known)

    async def check(
        self, header: str | None, action: str, resource: Entity, arguments: Any = UNSET
    ) -> Verdict:
        """Verifies a request's permit; gives the verdict, which permits.

        Raises Denied if there is none, it was used, or is not for this; whatever goes wrong.

        Args:
            header: The value of the header `Muniment-Permit`.
            action: What the request does, as the gateway's configuration maps it.
            resource: What it does that to.
            arguments: The body's members, where the gateway is told to decide on bodies
                (`body = "json"`); those decided on have to be the same.
        """
        with failing_closed():
            if not header:
                raise unauthorized(f"no permit: the request has no header {PERMIT_HEADER}")
            permit, execution = parse_header(header)
            return await self._permits.use(
                permit, execution, action, resource, arguments=arguments, now=int(time.time())
            )
