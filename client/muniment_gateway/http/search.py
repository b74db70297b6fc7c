"""AuthZEN's searches: checked, passed on to the PDP, and its answer said to permit nothing."""

from typing import Any

from muniment_gateway.core.anyjson import encode_any
from muniment_gateway.core.authzen import KINDS, SEARCH_PATH, Kind
from muniment_gateway.core.search import check_search
from muniment_gateway.deciding.searches import (
    NoSearchError,
    RefusedSearchError,
    Searches,
    TooManySearchesError,
)
from muniment_gateway.engines.port import NoAnswerError
from muniment_gateway.http.access import Clients
from muniment_gateway.http.requests import as_message, call_of, in_form, read_json
from muniment_service.http import Problem, Request, Response, overloaded
from muniment_service.routing import App


class SearchFacade:
    """The handlers of one gateway."""

    def __init__(self, searches: Searches, clients: Clients) -> None:
        """Answers these clients by `searches`."""
        self._searches = searches
        self._clients = clients

    def add_routes(self, app: App) -> None:
        """Adds the routes."""
        for kind in KINDS:
            app.route("POST", SEARCH_PATH + kind, in_form(self._handler(kind), as_message))

    def _handler(self, kind: Kind) -> Any:
        async def search(request: Request) -> Response:
            call = call_of(request, self._clients)
            value, _ = await read_json(request)
            checked = check_search(kind, value)
            try:
                found = await self._searches.search(kind, checked, call.asked)
            except NoSearchError as error:
                raise Problem(404, "no-search", str(error)) from error
            except TooManySearchesError as error:
                raise overloaded("too-many", str(error)) from error
            except RefusedSearchError as error:
                raise Problem(400, "refused", str(error)) from error
            except NoAnswerError as error:
                raise Problem(502, "no-answer", str(error)) from error
            return Response(200, encode_any(found))

        return search
