"""What approvers' own tools ask: what waits, all of one call, and to take a person's word.

Who reads signs the URL with an approver's key: a request's arguments are for those who decide, and
not for everybody who has a client's token. A word is signed itself, and needs nothing else.
"""

import base64
from collections.abc import Callable
from typing import Any, Final

import msgspec

from muniment.errors import MunimentError
from muniment.http.approvals import PATH, SCHEME, verify_reading
from muniment.records.approval import SignedApproval
from muniment.tlog.encoding import VerificationError
from muniment.tlog.note import VKey
from muniment_gateway.core.accessrequests import timestamp
from muniment_gateway.core.approvals import ApprovalRefusedError, Held
from muniment_gateway.deciding.approvals import Approvals, recorded_request
from muniment_service.http import Problem, Request, Response, json_response, overloaded
from muniment_service.routing import App

MOST_LISTED: Final = 1000
"""Most calls in one listing: the oldest."""

MAX_WORD: Final = 16 << 10
"""Largest body of a person's word, in bytes."""

_STATUSES: Final = {
    "unknown-approver": 403,
    "bad-signature": 403,
    "self-approval": 403,
    "other-call": 409,
    "not-pending": 409,
    "said-already": 409,
    "bad-times": 409,
    "expired": 410,
}


class ApproversHttp:
    """The handlers of one gateway."""

    def __init__(self, approvals: Approvals, url: Callable[[Request], str]) -> None:
        """Serves these approvals; `url` tells the gateway's URL as approvers reach it."""
        self._approvals = approvals
        self._url = url
        self._vkeys = {vkey for people in approvals.people for vkey in people.approvers}

    def add_routes(self, app: App) -> None:
        """Adds the routes."""
        app.route("GET", PATH, self._list)
        app.prefix("GET", f"{PATH}/", self._show)
        app.prefix("POST", f"{PATH}/", self._decide)

    def _approver(self, request: Request) -> VKey:
        """The approver who reads; Problem 401 if it is nobody."""
        url = self._url(request) + request.path
        now = self._approvals.now()
        header = request.headers.get("Authorization", "")
        try:
            return verify_reading(header, "GET", url, now, self._vkeys)
        except VerificationError as error:
            headers = {"WWW-Authenticate": SCHEME}
            raise Problem(401, "no-approver", str(error), headers=headers) from error

    async def _list(self, request: Request) -> Response:
        vkey = self._approver(request)
        authorities = frozenset(one.name for one in self._approvals.people if vkey in one.approvers)
        found = await self._approvals.pending(authorities, MOST_LISTED)
        now = self._approvals.now()
        shown = [{**_summary(held, now), **self._count(held)} for held in found]
        return json_response({"gateway": self._approvals.gateway, "approvals": shown})

    async def _show(self, request: Request) -> Response:
        vkey = self._approver(request)
        held = await self._approvals.get(request.rest)
        people = None if held is None else self._approvals.named(held.authority)
        if held is None or people is None or vkey not in people.approvers:
            raise Problem(404, "no-approval", "no such request waits here")
        _, digests, addenda = recorded_request(held)
        whole = {
            **_summary(held, self._approvals.now()),
            **self._count(held),
            "gateway": self._approvals.gateway,
            "context": held.request.get("context", {}),
            "asked": held.asked or {},
            "evaluation_id": held.evaluation,
            "evaluation": held.request,
            "addenda": {
                pointer: base64.b64encode(one).decode()
                for pointer, one in zip(digests, addenda, strict=True)
            },
            "approver": people.approvers[vkey],
            "use_seconds": people.use_seconds,
        }
        return json_response(whole)

    async def _decide(self, request: Request) -> Response:
        body = await request.body(MAX_WORD)
        try:
            approval = msgspec.json.decode(body, type=SignedApproval)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Problem(400, "malformed", f"the approval: {error}") from error
        if approval.request != request.rest:
            raise Problem(409, "other-call", "signed for another request than this path names")
        try:
            held = await self._approvals.decide(request.rest, approval)
        except ApprovalRefusedError as error:
            raise Problem(_STATUSES[error.slug], error.slug, str(error)) from error
        except MunimentError as error:
            # Nothing counts that is not on record: the call goes on waiting.
            raise overloaded("log-away", f"not logged, and so not taken: {error}") from error
        if held is None:
            raise Problem(404, "no-approval", "no such request waits here")
        status = held.status(self._approvals.now())
        told = {"request": held.id, "status": status, "leaf": held.words[-1].leaf}
        return json_response(told | self._count(held))

    def _count(self, held: Held) -> dict[str, int]:
        """How many people have approved a call so far, and how many have to."""
        people = self._approvals.named(held.authority)
        approved = (
            held.approvals if held.approval is not None else held.in_time(self._approvals.now())
        )
        return {"approved": len(approved), "required": 1 if people is None else people.required}


def _summary(held: Held, now: int) -> dict[str, Any]:
    request = held.request
    shown: dict[str, Any] = {
        "request": held.id,
        "status": held.status(now),
        "authority": held.authority,
        "client": held.client,
        "subject": request["subject"],
        "action": request["action"],
        "resource": request["resource"],
        "call": held.call,
        "made_at": timestamp(held.made),
        "expires_at": timestamp(held.expires),
    }
    if held.approval is not None:
        shown["approval"] = msgspec.to_builtins(held.approval) | {"leaf": held.leaf}
    if held.earlier:
        shown["earlier"] = [
            msgspec.to_builtins(approval) | {"leaf": leaf} for approval, leaf in held.earlier
        ]
    return shown
