"""The access request profile of AuthZEN: a denial that people may lift, its request and its task.

A PEP that was denied for want of an approval submits the request with the id of that denial, gets a
task, looks at it until people have decided, and asks for the evaluation again. Several denials may
be submitted at once; each is decided on, and evaluated again, on its own.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from muniment.records.canonical import encode_canonical
from muniment.tlog.encoding import FormatError
from muniment_gateway.core.accessrequests import (
    added_context,
    describe,
    parse_submission,
    parse_task,
    status_of,
    task_id,
)
from muniment_gateway.core.approvals import ApprovalRefusedError, Held
from muniment_gateway.core.authzen import REQUESTS_PATH
from muniment_gateway.deciding.approvals import MOST_ASKED_BYTES, Approvals
from muniment_gateway.deciding.callbacks import CallbackSender
from muniment_gateway.http.access import Clients
from muniment_gateway.http.requests import read_json
from muniment_gateway.store.held import TooManyError
from muniment_service.http import Problem, Request, Response, json_response
from muniment_service.routing import App

PROBLEMS: Final = "urn:openid:authzen:access-request:error:"
CANCEL_PATH: Final = f"{REQUESTS_PATH}/cancel/"
"""Before the id of a task that is taken back."""

RETRY_SECONDS: Final = 2
"""How long a PEP is asked to wait before it looks at a task again."""

_KEY: Final = re.compile(r'"?([^"\s]{1,255})"?')


class AccessRequestsHttp:
    """The handlers of one gateway."""

    def __init__(
        self,
        approvals: Approvals,
        clients: Clients,
        url: Callable[[Request], str],
        callbacks: CallbackSender,
    ) -> None:
        """Serves these approvals to these clients; `url` tells the gateway's URL."""
        self._approvals = approvals
        self._callbacks = callbacks
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
            submission = parse_submission(value)
            if submission.callback is not None:
                self._callbacks.check(client, submission.callback)
            calls: list[Held] = []
            asked: list[dict[str, Any]] = []
            for one, shown in zip(submission.requests, submission.shown, strict=True):
                held = await self._approvals.of_evaluation(one["denial"]["evaluation_id"])
                if held is None or held.client != client or held.id in {call.id for call in calls}:
                    text = "denial.evaluation_id: no denial of yours that can be requested"
                    raise FormatError(text)
                calls.append(held)
                asked.append({**shown, "context": added_context(one, held)})
                if len(encode_canonical(asked[-1])) > MOST_ASKED_BYTES:
                    raise FormatError(f"more than {MOST_ASKED_BYTES} bytes beside the request")
            again = await self._repeated(request, client, value, calls[0])
            if again is not None and again != calls[0].id:
                return _problem(409, "duplicate_request", "another body had this Idempotency-Key")
            # Whoever is told to come again later finds those that people were asked about by then.
            calls = [
                await self._approvals.request(held, shown)
                for held, shown in zip(calls, asked, strict=True)
            ]
        except FormatError as error:
            return _problem(400, "invalid_denial_binding", str(error))
        except ApprovalRefusedError as error:
            return _problem(410, "expired_denial", str(error))
        except TooManyError as error:
            raise Problem(
                429, "too-many-waiting", str(error), headers={"Retry-After": "60"}
            ) from error
        is_bundle, callback = submission.is_bundle, submission.callback
        if callback is not None and status_of(calls, self._approvals.now()) == "pending":
            task = task_id(calls, is_bundle=is_bundle)
            await self._callbacks.note(task, client, callback, calls)
        return self._answer(request, calls, submitted=True, is_bundle=is_bundle)

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
        calls, is_bundle = await self._own(request)
        if not calls:
            return _problem(404, "unknown_task", "no such task of yours")
        return self._answer(request, calls, submitted=False, is_bundle=is_bundle)

    async def _own(self, request: Request) -> tuple[list[Held], bool]:
        """The calls of the task that a path names, and whether it has items.

        There are none unless this client has submitted all of them.
        """
        client = self._clients.name(request)
        ids, is_bundle = parse_task(request.rest)
        found: list[Held] = []
        for id_ in ids:
            held = await self._approvals.get(id_)
            if held is None or held.client != client or held.asked is None:
                return [], is_bundle
            found.append(held)
        return found, is_bundle

    async def _cancel(self, request: Request) -> Response:
        calls, is_bundle = await self._own(request)
        if not calls:
            return _problem(404, "unknown_task", "no such task of yours")
        await request.body(MOST_ASKED_BYTES)  # a reason or comment, which nobody needs here
        refusals: list[str] = []
        for number, held in enumerate(calls):
            try:
                calls[number] = await self._approvals.cancel(held)
            except ApprovalRefusedError as error:
                refusals.append(str(error))
                calls[number] = await self._approvals.get(held.id) or held
        if len(refusals) == len(calls):
            return _problem(409, "invalid_task_state", refusals[0])
        return self._answer(request, calls, submitted=False, is_bundle=is_bundle)

    def _answer(
        self, request: Request, calls: list[Held], *, submitted: bool, is_bundle: bool
    ) -> Response:
        now = self._approvals.now()
        base, id_ = self._url(request), task_id(calls, is_bundle=is_bundle)
        url = f"{base}{REQUESTS_PATH}/{id_}"
        told = describe(calls, now, url, f"{base}{CANCEL_PATH}{id_}", is_bundle=is_bundle)
        headers = {"Location": url} if submitted else {}
        waits = status_of(calls, now) == "pending"
        if waits:
            headers["Retry-After"] = str(RETRY_SECONDS)
        done = 202 if waits else 201
        return json_response(told, done if submitted else 200, headers)


def _problem(status: int, slug: str, detail: str) -> Response:
    told = {
        "type": PROBLEMS + slug,
        "title": slug.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail.encode("utf-8", "backslashreplace").decode("utf-8"),
    }
    response = json_response(told, status)
    return Response(status, response.body, "application/problem+json")
