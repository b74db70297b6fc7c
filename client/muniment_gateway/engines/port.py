"""What every engine does and is sent, and the errors by which one says that it has not answered."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias

from muniment.records.artifact import PolicyRef
from muniment.records.codec import encode_json
from muniment.tlog.encoding import FormatError, MunimentError

JsonObject: TypeAlias = dict[str, Any]


class NoAnswerError(MunimentError):
    """An engine has not answered, or not with a decision; the message says how, in one line."""


class UnfitError(NoAnswerError):
    """An engine cannot evaluate this request: it may well answer another one.

    Attributes:
        plain: The message without what may be a part of the request, for records that withhold it.
    """

    def __init__(self, message: str, plain: str | None = None) -> None:
        """Takes the message, which is plain unless something else is."""
        super().__init__(message)
        self.plain = message if plain is None else plain


class Evaluation(NamedTuple):
    """An engine's answer.

    Attributes:
        response: An AuthZEN response: a boolean `decision`, and what else it has said.
        policy: The policy that it decided by, where it says so itself.
        ticket: What names the answer at an authority that signs it.
        raw: All that it has said, where that is more than an AuthZEN response.
    """

    response: JsonObject
    policy: PolicyRef | None = None
    ticket: str | None = None
    raw: Any = None


@dataclass(frozen=True, slots=True)
class PassedOn:
    """What goes with a request, and is not part of it.

    Attributes:
        headers: Headers to be passed on.
        query: A query, likewise.
        is_alone: Whether nothing else is being decided: who would be held up by an answer that is
            made on the event loop.
    """

    headers: Mapping[str, str]
    query: str = ""
    is_alone: bool = False


class Engine(Protocol):
    """A policy engine."""

    async def evaluate(self, request: JsonObject, asked: PassedOn) -> Evaluation:
        """Answers an AuthZEN request; the caller bounds the time.

        Raises NoAnswerError if it does not.
        """
        ...

    async def policy(self) -> PolicyRef | None:
        """The policy in force, where that can be told without a request.

        Raises NoAnswerError if it cannot be told now.
        """
        ...


def as_recorded(value: JsonObject, whose: str) -> bytes:
    """What an engine is sent: the bytes that records have of a value, their canonical JSON.

    JSON has several texts for one number, and some engines tell them apart: to OPA 10 and 10.0 are
    equal, and yet two texts and two digests. Whoever looks at the record must be able to ask again
    what was asked. Raises UnfitError if no record can hold the value.
    """
    try:
        return encode_json(value)
    except FormatError as error:
        text = f"{whose}: no record can hold what is asked"
        raise UnfitError(f"{text}: {error}", text) from error


def response_of(value: object, whose: str) -> JsonObject:
    """Checks that a value is an AuthZEN response.

    Raises NoAnswerError if it has no boolean `decision`, or a `context` that is no object.
    """
    if not isinstance(value, dict):
        raise NoAnswerError(f"{whose}: the response is no JSON object")
    if not isinstance(value.get("decision"), bool):
        raise NoAnswerError(f"{whose}: the response has no boolean decision")
    if not isinstance(value.get("context", {}), dict):
        raise NoAnswerError(f"{whose}: the context is no JSON object")
    return value
