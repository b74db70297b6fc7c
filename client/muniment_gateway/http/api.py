"""The gateway's routes, and what every answer has: the id of the request that it answers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from muniment.local.sqlitefile import DatabaseError
from muniment_gateway.http.requests import with_request_id
from muniment_service.http import Request, Response, json_response
from muniment_service.metrics import Metrics
from muniment_service.routing import App

ERRORS: Final[dict[type[Exception], tuple[int, str]]] = {
    DatabaseError: (503, "storage-failed"),
}


class Facade(Protocol):
    """A part of what is served."""

    def add_routes(self, app: App) -> None:
        """Adds its routes."""
        ...


class GatewayHttp:
    """What a gateway serves to everybody."""

    def __init__(
        self,
        facades: Sequence[Facade],
        ready: Callable[[], Mapping[str, Any]],
        metrics: Metrics,
        name: str,
        *,
        asks_people: bool = False,
    ) -> None:
        """Makes the routes; `ready` as for `App.operations`, `name` the gateway's."""
        self._app = App(metrics, ERRORS)
        self._app.operations(ready)
        self._name = name
        self._asks_people = asks_people
        self._document: Response | None = None
        self._app.route("GET", "/openapi.json", self._openapi)
        for facade in facades:
            facade.add_routes(self._app)

    async def _openapi(self, _: Request) -> Response:
        if self._document is None:
            # Schemas of all bodies, which hardly anybody asks for.
            from muniment_gateway.http.openapi import document  # noqa: PLC0415

            self._document = json_response(document(self._name, asks_people=self._asks_people))
        return self._document

    async def respond(self, request: Request) -> Response:
        """Answers a request; what its sender calls it goes back with every answer."""
        return with_request_id(request, await self._app.respond(request))
