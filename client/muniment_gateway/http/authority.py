"""What an authority serves: it answers as any PDP does, and signs what rests on its answers."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from muniment_gateway.core.authzen import EVALUATION_PATH, OWN, check_request
from muniment_gateway.deciding.panel import Panel
from muniment_gateway.deciding.tickets import NotSignedError, Tickets, check_ticket
from muniment_gateway.engines.authzen import POLICY_PATH, SIGN_PATH
from muniment_gateway.http.access import Clients
from muniment_gateway.http.requests import (
    as_message,
    in_form,
    passed_on,
    read_json,
    with_request_id,
)
from muniment_service.http import Problem, Request, Response, json_response
from muniment_service.metrics import Metrics
from muniment_service.routing import App

ERRORS: Final[dict[type[Exception], tuple[int, str]]] = {NotSignedError: (403, "not-signed")}


class AuthorityHttp:
    """The handlers of one authority."""

    def __init__(
        self,
        tickets: Tickets,
        panel: Panel,
        clients: Clients,
        metrics: Metrics,
        ready: Callable[[], Mapping[str, Any]],
    ) -> None:
        """Makes the routes; `ready` as for `App.operations`."""
        self._tickets = tickets
        self._panel = panel
        self._clients = clients
        self._app = App(metrics, ERRORS)
        self._app.operations(ready)
        self._app.route("POST", EVALUATION_PATH, in_form(self._evaluation, as_message))
        self._app.route("POST", SIGN_PATH, self._sign)
        self._app.route("GET", POLICY_PATH, self._policy)

    async def respond(self, request: Request) -> Response:
        """Answers a request."""
        return with_request_id(request, await self._app.respond(request))

    async def _evaluation(self, request: Request) -> Response:
        self._clients.name(request)
        asked = check_request((await read_json(request))[0])
        answer = await self._tickets.answer(asked, passed_on(request))
        if answer.response is None:
            # Not a denial: nobody has decided.
            raise Problem(500, "could-not-evaluate", answer.error)
        own: dict[str, Any] = {"ticket": self._tickets.issue(asked, answer)}
        if answer.policy is not None:
            own["policy"] = answer.policy
        context = {**answer.response.get("context", {}), OWN: own}
        return json_response({**answer.response, "context": context})

    async def _sign(self, request: Request) -> Response:
        self._clients.name(request)
        ticket, record = check_ticket((await read_json(request))[0])
        return json_response(msgspec.to_builtins(await self._tickets.sign(ticket, record)))

    async def _policy(self, request: Request) -> Response:
        self._clients.name(request)
        policies = await self._panel.policies()
        return json_response(next(iter(policies.values()), None))
