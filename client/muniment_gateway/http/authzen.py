"""The AuthZEN facade: any PEP points here, and the configured authorities are asked.

Errors have the form of AuthZEN, an error message as a string; a denial is a 200.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

from muniment.tlog.encoding import FormatError
from muniment_gateway.core.anyjson import encode_any
from muniment_gateway.core.authzen import (
    EVALUATION_PATH,
    EVALUATIONS_PATH,
    METADATA_PATH,
    Evaluations,
    check_request,
    metadata,
    parse_batch,
    single_of,
)
from muniment_gateway.deciding.decider import Decider
from muniment_gateway.deciding.decisions import Decided, RequestDetails
from muniment_gateway.http.access import Clients
from muniment_gateway.http.requests import as_message, call_of, in_form, read_asked
from muniment_service.http import Problem, Request, Response
from muniment_service.routing import App

AT_ONCE: Final = 64
"""Evaluations of one request that are decided at one time."""


class AuthzenFacade:
    """The handlers of one gateway."""

    def __init__(
        self,
        decider: Decider,
        clients: Clients,
        url: Callable[[Request], str],
        of_engine: Callable[[], Awaitable[dict[str, Any]]],
        *,
        takes_requests: bool = False,
    ) -> None:
        """Decides by `decider`.

        `url` tells the gateway's URL as a client reaches it, `of_engine` gives the metadata of the
        PDP behind it, as far as there are any. `takes_requests` says whether access requests are
        served, too.
        """
        self._decider = decider
        self._clients = clients
        self._url = url
        self._of_engine = of_engine
        self._takes_requests = takes_requests

    def add_routes(self, app: App) -> None:
        """Adds the routes."""
        app.route("POST", EVALUATION_PATH, in_form(self._evaluation, as_message))
        app.route("POST", EVALUATIONS_PATH, in_form(self._evaluations, as_message))
        app.route("GET", METADATA_PATH, self._metadata)

    async def _evaluation(self, request: Request) -> Response:
        call = call_of(request, self._clients)
        value, is_exact = await read_asked(request, self._decider, call)
        call = replace(call, is_exact=is_exact)
        return await self._single(value, call)

    async def _single(self, value: Any, call: RequestDetails) -> Response:
        try:
            checked = check_request(value)
        except FormatError as error:
            await self._decider.refuse(value, call, str(error))
            raise Problem(400, "malformed", str(error)) from error
        decided = await self._decider.decide(checked, call)
        return _answer(decided.authzen())

    async def _evaluations(self, request: Request) -> Response:
        call = call_of(request, self._clients)
        value, is_exact = await read_asked(request, self._decider, call)
        call = replace(call, is_exact=is_exact)
        try:
            batch = parse_batch(value)
        except FormatError as error:
            await self._decider.refuse(value, call, str(error))
            raise
        if batch is None:
            return await self._single(single_of(value), call)
        return _answer({"evaluations": await self._decide_all(batch, call)})

    async def _decide_all(self, batch: Evaluations, call: RequestDetails) -> list[dict[str, Any]]:
        answers: list[dict[str, Any]] = []
        if batch.semantic == "execute_all":
            for start in range(0, len(batch.requests), AT_ONCE):
                some = batch.requests[start : start + AT_ONCE]
                decided = await asyncio.gather(*(self._item(one, call) for one in some))
                answers += [one.authzen() for one in decided]
            return answers
        for one in batch.requests:
            decided_one = await self._item(one, call)
            answers.append(decided_one.authzen())
            if batch.ends_with(decision=decided_one.decision):
                break
        return answers

    async def _item(self, value: Any, call: RequestDetails) -> Decided:
        """One of several: what is wrong with it is its own answer."""
        try:
            checked = check_request(value)
        except FormatError as error:
            return await self._decider.refuse(value, call, str(error))
        return await self._decider.decide(checked, call)

    async def _metadata(self, request: Request) -> Response:
        of_engine = await self._of_engine()
        told = metadata(self._url(request), of_engine, takes_requests=self._takes_requests)
        return _answer(told)


def _answer(value: object) -> Response:
    return Response(200, encode_any(value))
