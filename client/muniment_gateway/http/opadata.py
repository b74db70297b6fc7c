"""OPA's Data API in front of an OPA: `POST /v1/data/{path}`, for the rules that are configured.

The only exact place to record what OPA decides: what it uploads later may be rounded, or lost. A
denial that OPA did not say has the result that the rule would have, with false in the place of its
boolean. Errors have OPA's form.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from muniment.tlog.encoding import FormatError
from muniment_gateway.core.anyjson import encode_any
from muniment_gateway.core.authzen import OWN
from muniment_gateway.deciding.decider import Decider
from muniment_gateway.deciding.decisions import Decided
from muniment_gateway.engines.opa import DATA_PREFIX, request_of
from muniment_gateway.http.access import Clients
from muniment_gateway.http.requests import call_of, in_form, read_asked
from muniment_service.http import Problem, Request, Response
from muniment_service.routing import App

_QUERY: Final = re.compile(
    r"(?:(?:pretty|metrics|instrument|provenance|strict-builtin-errors)"
    r"(?:=[a-z]*)?(?:&|\Z))*"
)
_CODES: Final = {
    401: "unauthorized",
    404: "resource_not_found",
    413: "request_entity_too_large",
    500: "internal_error",
}


class OpaDataFacade:
    """The handlers of the rules of one OPA."""

    def __init__(
        self,
        deciders: Mapping[str, Decider],
        pointers: Mapping[str, str],
        clients: Clients,
    ) -> None:
        """Takes, by the path of each rule, who decides it and where its result has its boolean."""
        self._deciders = deciders
        self._pointers = pointers
        self._clients = clients

    def add_routes(self, app: App) -> None:
        """Adds the route, if there is any rule."""
        if self._deciders:
            app.prefix("POST", DATA_PREFIX, in_form(self._data, _worded))

    async def _data(self, request: Request) -> Response:
        call = call_of(request, self._clients, "opa", request.query)
        rule = request.rest.strip("/")
        decider = self._deciders.get(rule)
        if decider is None:
            raise Problem(404, "not-found", f"no [[opa.rule]] is configured for {rule[:200]}")
        value, is_exact = await read_asked(request, decider, call)
        try:
            if not _QUERY.fullmatch(request.query):
                raise FormatError("a query that is not passed on")
            if not isinstance(value, dict):
                raise FormatError("expected a JSON object")
            # OPA takes a missing input for undefined, which is not null; rules tell them apart.
            if "input" not in value:
                raise FormatError("input: missing")
        except FormatError as error:
            await decider.refuse(None, call, str(error))
            raise
        asked = request_of(rule, value["input"], call.client)
        decided = await decider.decide(asked, replace(call, is_exact=is_exact))
        return Response(200, encode_any(self._answer(decided, rule, request.query)))

    def _answer(self, decided: Decided, rule: str, query: str) -> dict[str, Any]:
        answer = decided.answers[0] if decided.answers else None
        if answer is not None and answer.allows is decided.decision:
            said = dict(answer.raw)
            if "provenance" not in query:
                said.pop("provenance", None)
        else:
            said = {"result": _denying(self._pointers[rule])}
        return {**said, OWN: decided.own}


def _denying(pointer: str) -> Any:
    """A result whose boolean, where the pointer says, is false."""
    result: Any = False
    for token in reversed(pointer.split("/")[1:]):
        result = {token.replace("~1", "/").replace("~0", "~"): result}
    return result


def _worded(status: int, text: str) -> dict[str, str]:
    """OPA's form of an error."""
    return {"code": _CODES.get(status, "invalid_parameter"), "message": text}
