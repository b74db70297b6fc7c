"""What of a witness can be reached through a bastion.

A bastion gives an address to a service that may have none for good reasons, so what is served that
way is the protocol of witnesses and no more: neither pages (one origin is all backends', says the
specification) nor what an operator watches. With chosen logs it is what concerns these alone.
"""

import re
from ipaddress import ip_address
from typing import Final

from muniment.tlog.witnesswire import origin_hash
from muniment_service.http import Problem, Request, Responder, Response

_SUBMISSIONS: Final = frozenset({"/add-checkpoint", "/sign-subtree"})
_SHARED: Final = frozenset({"/gossip/heads", "/gossip/evidence", "/witness.v0.json"})
_BELOW: Final = re.compile(r"/(?:[0-9a-f]{64}|gossip/evidence)/")


class Way:
    """Answers what comes through one bastion."""

    def __init__(self, app: Responder, logs: frozenset[str] | None) -> None:
        """Serves `app` to submitters of some logs, by origin, or of all."""
        self._app = app
        self._logs = logs
        self._hashes = None if logs is None else frozenset(map(origin_hash, logs))

    async def respond(self, request: Request) -> Response:
        """Answers a request; its client is who the bastion says."""
        request.client = forwarded_for(request.headers.get("X-Forwarded-For", ""))
        request.about = self._logs
        if not self._leads_to(request.path):
            return Problem(404, "not-found", "there is nothing at this path").response()
        return await self._app.respond(request)

    def _leads_to(self, path: str) -> bool:
        if path in _SUBMISSIONS:
            return True
        if self._hashes is None:
            return path in _SHARED or _BELOW.match(path) is not None
        return path[1:].partition("/")[0] in self._hashes


def forwarded_for(field: str) -> str:
    """The client's address in the one X-Forwarded-For that a bastion sets; empty if it is none."""
    try:
        return str(ip_address(field.strip()))
    except ValueError:
        return ""
