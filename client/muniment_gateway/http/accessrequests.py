"""The access request profile of AuthZEN: a denial that people may lift, its request and its task.

A PEP that was denied for want of an approval submits the request with the id of that denial, gets a
task, looks at it until people have decided, and asks for the evaluation again.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from muniment.records.approval import UNBOUND
from muniment.records.canonical import encode_canonical
from muniment.tlog.encoding import FormatError
from muniment_gateway.core.approvals import Held, RefusedError
from muniment_gateway.core.authzen import REQUESTS_PATH
from muniment_gateway.deciding.approvals import MOST_ASKED_BYTES, Approvals
from muniment_gateway.deciding.people import timestamp
from muniment_gateway.http.access import Clients
from muniment_gateway.http.requests import read_json
from muniment_gateway.store.held import TooManyError
from muniment_service.http import App, Problem, Request, Response, json_response

PROBLEMS: Final = "urn:openid:authzen:access-request:error:"
CANCEL_PATH: Final = f"{REQUESTS_PATH}/cancel/"
"""Before the id of a task that is taken back."""

RETRY_SECONDS: Final = 2
"""How long a PEP is asked to wait before it looks at a task again."""

_STATUS: Final = {
    "requestable": "pending",
    "pending": "pending",
    "approved": "approved",
    "used": "approved",
    "lapsed": "approved",
    "denied": "denied",
    "expired": "expired",
    "cancelled": "cancelled",
}
_KEY: Final = re.compile(r'"?([^"\s]{1,255})"?')
_BOUND: Final = ("subject", "resource", "action")


class AccessRequestsHttp:
    """The handlers of one gateway."""

    def __init__(
        self, approvals: Approvals, clients: Clients, url: Callable[[Request], str]
    ) -> None:
        """Serves these approvals to these clients; `url` tells the gateway's URL."""
        self._approvals = approvals
        self._clients = clients
        self._url = url

    def add_routes(self, app: App) -> None:
        """Adds the routes."""
        app.route("POST", REQUESTS_PATH, self._submit)
        app.prefix("POST", CANCEL_PATH, self._cancel)
        app.prefix("GET", f"{REQUESTS_PATH}/", self._task)

    async def _submit(self, request: Request) -> Response:
        client = self._clients.name(request)
        value, _ = await read_json(request)
        try:
            evaluation, asked = _submission(value)
        except FormatError as error:
            return _problem(400, "invalid_denial_binding", str(error))
        held = await self._approvals.of_evaluation(evaluation)
        if held is None or held.client != client:
            text = "denial.evaluation_id: no denial of yours that can be requested"
            return _problem(400, "invalid_denial_binding", text)
        try:
            asked["context"] = _added(value, held)
            if len(encode_canonical(asked)) > MOST_ASKED_BYTES:
                raise FormatError(f"more than {MOST_ASKED_BYTES} bytes beside the denied request")
            again = await self._repeated(request, client, value, held)
            if again is not None and again != held.id:
                return _problem(409, "duplicate_request", "another body had this Idempotency-Key")
            held = await self._approvals.request(held, asked)
        except FormatError as error:
            return _problem(400, "invalid_denial_binding", str(error))
        except RefusedError as error:
            return _problem(410, "expired_denial", str(error))
        except TooManyError as error:
            raise Problem(
                429, "too-many-waiting", str(error), headers={"Retry-After": "60"}
            ) from error
        return self._answer(request, held, submitted=True)

    async def _repeated(
        self, request: Request, client: str, value: Mapping[str, Any], held: Held
    ) -> str | None:
        """The call that a key was first for; "" when that had another body, None without a key."""
        header = request.headers.get("Idempotency-Key")
        if header is None:
            return None
        key = _KEY.fullmatch(header)
        if key is None:
            raise Problem(400, "bad-key", "Idempotency-Key: expected one string")
        body = encode_canonical(value)
        return await self._approvals.note_submission(client, key[1], body, held.id) or ""

    async def _task(self, request: Request) -> Response:
        held = await self._own(request)
        if held is None:
            return _problem(404, "unknown_task", "no such task of yours")
        return self._answer(request, held, submitted=False)

    async def _own(self, request: Request) -> Held | None:
        """The call of the task that a path names, for the client that has submitted it."""
        client = self._clients.name(request)
        held = await self._approvals.get(request.rest)
        return None if held is None or held.client != client or held.asked is None else held

    async def _cancel(self, request: Request) -> Response:
        held = await self._own(request)
        if held is None:
            return _problem(404, "unknown_task", "no such task of yours")
        await request.body(MOST_ASKED_BYTES)  # a reason or comment, which nobody needs here
        try:
            held = await self._approvals.cancel(held)
        except RefusedError as error:
            return _problem(409, "invalid_task_state", str(error))
        return self._answer(request, held, submitted=False)

    def _answer(self, request: Request, held: Held, *, submitted: bool) -> Response:
        now = self._approvals.now()
        url = f"{self._url(request)}{REQUESTS_PATH}/{held.id}"
        status = _STATUS[held.status(now)]
        told: dict[str, Any] = {
            "task": {
                "id": held.id,
                "status": status,
                "status_endpoint": url,
                "expires_at": timestamp(held.expires),
                "display": {"title": _TITLES[status]},
            }
        }
        if status == "pending":
            told["task"]["links"] = {"cancel": self._url(request) + CANCEL_PATH + held.id}
        if status == "approved" and held.approval is not None:
            told["result"] = {
                "mode": "reevaluate",
                "approval": {
                    "id": held.approval.id,
                    "approved_at": timestamp(held.approval.at),
                    "approved_until": timestamp(held.not_after),
                },
            }
        headers = {"Location": url} if submitted else {}
        if status == "pending":
            headers["Retry-After"] = str(RETRY_SECONDS)
        done = 201 if status != "pending" else 202
        return json_response(told, done if submitted else 200, headers)


_TITLES: Final = {
    "pending": "People were asked",
    "approved": "Approved",
    "denied": "Denied",
    "expired": "Nobody has decided in time",
    "cancelled": "Taken back",
}


def _submission(value: object) -> tuple[str, dict[str, Any]]:
    """The denial that is named, and what people are shown beside it; FormatError for none."""
    if not isinstance(value, dict):
        raise FormatError("expected a JSON object")
    if "items" in value:
        raise FormatError("items: each call needs an approval, and a request, of its own")
    for name in (*_BOUND, "denial"):
        if not isinstance(value.get(name), dict):
            raise FormatError(f"{name}: expected an object")
    denial = value["denial"]
    for name in ("evaluation_id", "expires_at"):
        if not isinstance(denial.get(name), str):
            raise FormatError(f"denial.{name}: expected that of the denial")
    asked = {name: value[name] for name in ("requested_access", "client") if name in value}
    return denial["evaluation_id"], asked


def _added(value: Mapping[str, Any], held: Held) -> dict[str, Any]:
    """What the submission has in its context besides the denied one's; FormatError if not that."""
    denied = held.request
    for name in _BOUND:
        if encode_canonical(value[name]) != encode_canonical(denied[name]):
            raise FormatError(f"{name}: not that of the denied evaluation")
    context, bound = value.get("context", {}), denied.get("context", {})
    if not isinstance(context, dict):
        raise FormatError("context: expected an object")
    for name, member in bound.items():
        if name in UNBOUND:
            continue
        if name not in context or encode_canonical(context[name]) != encode_canonical(member):
            raise FormatError(f"context.{name}: not that of the denied evaluation")
    return {name: member for name, member in context.items() if name not in bound}


def _problem(status: int, slug: str, detail: str) -> Response:
    told = {
        "type": PROBLEMS + slug,
        "title": slug.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail.encode("utf-8", "backslashreplace").decode("utf-8"),
    }
    response = json_response(told, status)
    return Response(status, response.body, "application/problem+json")
