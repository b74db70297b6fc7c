"""What the index answers: decisions, runs, keys and lineage, each with its tree size.

The records are the leaves verbatim, with their indices: a client that does not want to believe the
log fetches the proof of an index and hashes the record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, get_args
from urllib.parse import unquote

import msgspec

from muniment.index.query import (
    DEPTH,
    LIMIT,
    MAX_DEPTH,
    MAX_LIMIT,
    EdgeWalk,
    IndexedRecords,
    parse_token,
)
from muniment.index.search import Search
from muniment.lineage.facts import Ref
from muniment.lineage.walk import Direction
from muniment.records.kinds import Entity, ThingType
from muniment.records.members import MAX_ID, MAX_KEY_NAME, MAX_NAME
from muniment.records.thingnames import thing_name
from muniment_log.errors import IndexUnavailableError
from muniment_log.http import bodies
from muniment_log.http.parameters import count_of, number_or
from muniment_log.http.problems import problem_of
from muniment_service.http import Problem, Request, Response, json_response

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from muniment.http.loganswers import KeySeen
    from muniment.index.query import Index
    from muniment_log.index.supervisor import IndexReads

    _T = TypeVar("_T")

_TYPES: Final[dict[str, ThingType]] = {one: one for one in get_args(ThingType)}
_DIRECTIONS: Final[dict[str, Direction]] = {one: one for one in get_args(Direction)}


class Lookup:
    """Handlers of the calls that the index answers."""

    def __init__(self, reads: IndexReads | None) -> None:
        self._reads = reads

    async def decision(self, request: Request) -> Response:
        """``GET /v1/decisions/{id}``: the decision, edges at it, revocations of it."""
        return await self._about(request, "decision")

    async def execution(self, request: Request) -> Response:
        """``GET /v1/executions/{id}``: decisions, outcomes, verifications, edges, revocations."""
        return await self._about(request, "execution")

    async def find(self, request: Request) -> Response:
        """``GET /v1/decisions?subject=&resource=&since=&until=&after=&limit=``: a search."""
        parameters = request.parameters("subject", "resource", "since", "until", "after", "limit")
        since, until = number_or(parameters, "since", None), number_or(parameters, "until", None)
        things = _entity(parameters, "subject"), _entity(parameters, "resource")
        search = Search(*things, since, until)
        after = number_or(parameters, "after", -1)
        limit = count_of(parameters, "limit", LIMIT, MAX_LIMIT)
        answer: IndexedRecords = await self._ask(
            lambda index: index.find(search, after=after, limit=limit)
        )
        return _shown(answer)

    async def key(self, request: Request) -> Response:
        """``GET /v1/keys/{name}+{key id}``: whether the key has signed something here."""
        request.parameters()
        reference = _name(request.rest, MAX_KEY_NAME + 9)
        seen: KeySeen = await self._ask(lambda index: index.key(reference))
        return json_response(bodies.KeySeen(seen.size, seen.index, seen.first))

    async def lineage(self, request: Request) -> Response:
        """``GET /v1/lineage/{type}/{id}?direction=&depth=&limit=&page=``: edges, nearest first."""
        parameters = request.parameters("direction", "depth", "limit", "page")
        name, slash, rest = request.rest.partition("/")
        type_ = _TYPES.get(name)
        if not slash or type_ is None:
            raise Problem(404, "not-found", f"a thing is one of {', '.join(_TYPES)}, and an id")
        is_name = type_ not in ("run", "decision")
        thing = Ref(type_, _thing_name(rest) if is_name else _name(rest, MAX_NAME))
        direction = _DIRECTIONS.get(parameters.get("direction", "ancestors"))
        if direction is None:
            raise Problem(400, "bad-query", f"direction: expected {' or '.join(_DIRECTIONS)}")
        depth = count_of(parameters, "depth", DEPTH, MAX_DEPTH)
        limit = count_of(parameters, "limit", LIMIT, MAX_LIMIT)
        token = parameters.get("page")
        if token is not None:
            parse_token(token)  # before it matters whether there is an index that has the page
        walk: EdgeWalk = await self._ask(
            lambda index: index.lineage(thing, direction, depth=depth, limit=limit, token=token)
        )
        return json_response(
            bodies.Lineage(
                size=walk.size,
                edges=[
                    bodies.FoundEdge(hop.index, hop.depth, msgspec.Raw(hop.data))
                    for hop in walk.hops
                ],
                next=walk.next,
                truncated=walk.is_cut,
            )
        )

    async def _about(self, request: Request, what: Literal["decision", "execution"]) -> Response:
        parameters = request.parameters("after", "limit")
        id_ = _name(request.rest, MAX_ID)
        after = number_or(parameters, "after", -1)
        limit = count_of(parameters, "limit", LIMIT, MAX_LIMIT)
        answer: IndexedRecords = await self._ask(
            lambda index: getattr(index, what)(id_, after=after, limit=limit)
        )
        return _shown(answer)

    async def _ask(self, question: Callable[[Index], _T]) -> _T:
        if self._reads is None:
            raise Problem(404, "index-disabled", "this log keeps no index")
        try:
            return await self._reads.ask(question)
        except IndexUnavailableError as error:
            raise problem_of(error) from error


def _shown(answer: IndexedRecords) -> Response:
    records = [
        bodies.FoundRecord(entry.index, entry.is_conflicting, msgspec.Raw(entry.data))
        for entry in answer.entries
    ]
    return json_response(bodies.Answer(answer.size, records, answer.next))


def _entity(parameters: dict[str, str], name: str) -> Entity | None:
    if name not in parameters:
        return None
    type_, colon, id_ = parameters[name].partition(":")
    if not (type_ and colon and id_):
        raise Problem(400, "bad-query", f"{name}: expected <type>:<id>")
    return Entity(type_, id_)


def _thing_name(text: str) -> str:
    """A thing's name, given as edges have it, or as the id that it is the name of."""
    given = _unquoted(text)
    is_plain = given.isascii() and given.isprintable() and " " not in given
    name = given if is_plain or not given else thing_name(given)
    return _checked(name, MAX_NAME)


def _unquoted(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError as error:
        raise Problem(400, "malformed", "id: not UTF-8") from error


def _name(text: str, most: int) -> str:
    return _checked(_unquoted(text), most)


def _checked(name: str, most: int) -> str:
    if not 1 <= len(name) <= most or not all("!" <= char <= "~" for char in name):
        raise Problem(400, "malformed", f"id: expected 1 to {most} visible ASCII characters")
    return name
