"""Calls whose server wants input first: all requests of one call have one decision.

Since revision 2026-07-28 a server may answer what it wants to know (`input_required`). Its client
repeats the request with the answers, and with the server's state if there was one. That is the same
call, so it goes on by the permits that it has, once for each time that the server has asked, and
has one outcome. Whatever differs in what was decided on is another call: that is decided anew.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from muniment.gateway.outcomes import PendingOutcome
from muniment.permit import parse_permit
from muniment.tlog.encoding import FormatError
from muniment_gateway.deciding.decisions import RequestDetails
from muniment_gateway.mcp.mapping import Caller
from muniment_gateway.mcp.messages import Message

KEPT_SECONDS: Final = 3600.0
"""How long a call may go on for which no permit states an end; with one, it is its permit's."""

MOST_KEPT: Final = 1024
"""Most calls that wait for their client; the oldest one is forgotten, and decided anew."""

MOST_BYTES: Final = 64 << 20
"""Most characters of permits of these calls together: a permit discloses its call's arguments."""

_STATE: Final = "requestState"
_ANSWERS: Final = "inputResponses"


@dataclass(frozen=True, slots=True)
class Begun:
    """A call that was allowed, and whose server has asked for input.

    Attributes:
        permits: Of each evaluation the run and the permit; none in the mode `observe`.
        outcomes: What is to be told how it ends.
        until: When it has to be decided anew, in Unix seconds.
    """

    permits: Sequence[tuple[str, str]]
    outcomes: Sequence[PendingOutcome]
    until: float


class Again:
    """The calls that wait for their clients' answers, of one gate."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """None yet; `clock` gives Unix seconds."""
        self._clock = clock
        self._begun: dict[bytes, list[Begun]] = {}
        self._count = self._size = 0

    def keep(
        self,
        about: bytes,
        result: Mapping[str, Any],
        permits: Sequence[tuple[str, str]],
        outcomes: Sequence[PendingOutcome],
    ) -> None:
        """Keeps a call whose server has asked for input in `result`."""
        now = self._clock()
        until = min([now + KEPT_SECONDS, *(_end(text) for _, text in permits)])
        key = _key(about, result.get(_STATE))
        self._begun.setdefault(key, []).append(Begun(permits, outcomes, until))
        self._count += 1
        self._size += _size(permits)

    def take(self, about: bytes, message: Message) -> Begun | None:
        """The call that a request goes on with; None when it goes on with none."""
        params = message.params
        if not message.is_modern or not (params.keys() & {_STATE, _ANSWERS}):
            return None
        key = _key(about, params.get(_STATE))
        for one in self._begun.get(key, ()):
            if one.until > self._clock():
                self._forget(key, one)
                return one
        return None

    def over(self) -> list[Begun]:
        """Takes out the calls that nobody can go on with, and the oldest ones of too many."""
        now = self._clock()
        found: list[Begun] = []
        for key, begun in [*self._begun.items()]:
            for one in [*begun]:
                if one.until <= now or self._count > MOST_KEPT or self._size > MOST_BYTES:
                    self._forget(key, one)
                    found.append(one)
        return found

    def all(self) -> list[Begun]:
        """Takes out all calls."""
        found = [one for begun in self._begun.values() for one in begun]
        self._begun, self._count, self._size = {}, 0, 0
        return found

    def _forget(self, key: bytes, one: Begun) -> None:
        self._begun[key].remove(one)
        self._count -= 1
        self._size -= _size(one.permits)
        if not self._begun[key]:
            del self._begun[key]


def about_of(
    message: Message,
    caller: Caller,
    call: RequestDetails,
    asked: Sequence[Mapping[str, Any]],
    stated: Mapping[str, Any],
) -> bytes:
    """What tells one call from others: who asks, what for, and with which arguments."""
    arguments = stated.get("arguments")
    told = [call.client, caller.session, message.method, asked, arguments]
    return sha256(json.dumps(told, sort_keys=True).encode()).digest()


def wants_input(result: object) -> bool:
    """Whether a result asks for input."""
    return isinstance(result, dict) and result.get("resultType") == "input_required"


def _key(about: bytes, state: object) -> bytes:
    return sha256(about + json.dumps(state, sort_keys=True).encode()).digest()


def _size(permits: Sequence[tuple[str, str]]) -> int:
    return sum(len(text) for _, text in permits)


def _end(text: str) -> float:
    """When a permit ends; far away when it does not say so."""
    try:
        decision = parse_permit(text.encode()).decision
    except (FormatError, UnicodeEncodeError):
        return float("inf")
    artifact = decision.artifact if decision is not None else None
    return float("inf") if artifact is None else artifact.validity.not_after
