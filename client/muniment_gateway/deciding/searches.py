"""Searches, which the PDP behind the gateway answers. They decide nothing, so none is logged.

What was found has to be asked about before it is done: that is a decision, of all authorities and
people, and on record.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from muniment.http.client import HttpSession
from muniment.local.outside import Contained
from muniment.records.codec import encode_json
from muniment.tlog.encoding import FormatError, MunimentError
from muniment_gateway.authorities import PDPS, Authority
from muniment_gateway.core.anyjson import encode_any
from muniment_gateway.core.authzen import SEARCH_PATH, Kind, endpoint
from muniment_gateway.core.search import check_results, said_by
from muniment_gateway.engines.http import StatusError, ask_json, bearer
from muniment_gateway.engines.port import NoAnswerError, PassedOn
from muniment_service.metrics import Metrics

MOST_SEARCHES: Final = 32
"""Searches under way at one time: each may be much work for the PDP."""


class NoSearchError(MunimentError):
    """There is nobody who could answer a search of this kind."""


class TooManySearchesError(MunimentError):
    """So many searches are under way that no other one is begun."""


class RefusedSearchError(MunimentError):
    """The PDP says that it cannot answer this request."""


class Searches:
    """The searches of one configuration: its first authority that is a PDP answers them."""

    def __init__(
        self,
        authorities: Sequence[Authority],
        http: HttpSession,
        of_engine: Callable[[], Awaitable[dict[str, Any]]],
        metrics: Metrics,
    ) -> None:
        """Asks at the URLs that `of_engine`, the metadata of that PDP, has."""
        self._pdp = pdp_of(authorities)
        self._http = http
        self._of_engine = of_engine
        self._under_way = 0
        self._counted = metrics.counter("searches", "Searches, by what they ended with.", ("end",))

    async def search(self, kind: Kind, request: dict[str, Any], asked: PassedOn) -> dict[str, Any]:
        """Answers a request that `check_search` has accepted.

        Raises NoSearchError if nobody could, TooManySearchesError or RefusedSearchError, and
        NoAnswerError if there is no answer in time, or none that is to be passed on.
        """
        if self._pdp is None:
            raise NoSearchError("no authority here is a PDP that could be searched")
        if self._under_way >= MOST_SEARCHES:
            self._counted.labels("too_many").inc()
            raise TooManySearchesError(f"{self._under_way} searches are under way")
        self._under_way += 1
        try:
            found = await self._ask(self._pdp, kind, request, asked)
        except NoSearchError:
            self._counted.labels("none").inc()
            raise
        except RefusedSearchError:
            self._counted.labels("refused").inc()
            raise
        except NoAnswerError:
            self._counted.labels("failed").inc()
            raise
        finally:
            self._under_way -= 1
        self._counted.labels("answered").inc()
        return said_by(found, self._pdp.entry.name)

    async def _ask(
        self, pdp: Authority, kind: Kind, request: dict[str, Any], asked: PassedOn
    ) -> dict[str, Any]:
        name, seconds = pdp.entry.name, pdp.entry.deadline_seconds
        found: dict[str, Any] = {}
        with Contained(name) as outcome:
            try:
                async with asyncio.timeout(seconds):
                    url = await self._url(pdp, kind)
                    headers = {**asked.headers, **bearer(pdp.token)}
                    answer = await ask_json(self._http, "POST", url, _sent(request), headers)
                    found = check_results(kind, request, answer)
            except TimeoutError as error:
                raise NoAnswerError(f"no answer within {seconds:g} s") from error
            except FormatError as error:
                raise NoAnswerError(f"not the answer to a search: {error}") from error
        if isinstance(outcome.cause, StatusError):
            if outcome.cause.status in {404, 405, 501}:
                raise NoSearchError(f"{name} has no search for {kind}s")
            if outcome.cause.status in {400, 422}:
                raise RefusedSearchError(f"{name} refuses this search")
        if outcome.error:
            raise NoAnswerError(f"{name}: {outcome.error}")
        return found

    async def _url(self, pdp: Authority, kind: Kind) -> str:
        """Where the PDP is searched: as its metadata say, on its own host; else where it should."""
        told = (await self._of_engine()).get(endpoint(kind))
        if isinstance(told, str) and _origin(told) == _origin(pdp.url):
            return told
        return f"{pdp.url}{SEARCH_PATH}{kind}"


def _sent(request: dict[str, Any]) -> bytes:
    """What the PDP is sent: as an evaluation of the same would be, where that could be recorded."""
    try:
        return encode_json(request)
    except FormatError:
        return encode_any(request)


def pdp_of(authorities: Sequence[Authority]) -> Authority | None:
    """The authority whose metadata and searches are the gateway's: the first that is a PDP."""
    return next((one for one in authorities if one.entry.kind in PDPS), None)


def _origin(url: str) -> tuple[str, str] | None:
    """Scheme and host of a URL; the token of a PDP goes to no other."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return parts.scheme, parts.netloc
