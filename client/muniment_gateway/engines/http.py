"""One JSON request to an engine over HTTP, and every way in which it may fail, in one error."""

from collections.abc import Mapping
from typing import Any, Final

from muniment.http.answer import HttpError, TooLongError
from muniment.http.client import HttpSession
from muniment.tlog.encoding import FormatError
from muniment_gateway.core.anyjson import parse_any
from muniment_gateway.engines.port import NoAnswerError, UnfitError


class StatusError(NoAnswerError):
    """An answer whose status is not 200.

    Attributes:
        status: That status.
    """

    def __init__(self, text: str, status: int) -> None:
        """Takes the text, and the status."""
        super().__init__(text)
        self.status = status


class UnfitStatusError(StatusError, UnfitError):
    """A status that says that it is the request."""


MAX_ANSWER: Final = 1 << 20
"""Largest answer of an engine, in bytes."""

_UNFIT: Final = frozenset({400, 413, 422})
"""Statuses that say that it is the request."""

NO_DEADLINE: Final = 3600.0
"""Seconds; whoever asks an engine bounds the whole of it."""


async def ask_json(
    http: HttpSession,
    method: str,
    url: str,
    body: bytes | None,
    headers: Mapping[str, str],
    *,
    most: int = MAX_ANSWER,
) -> Any:
    """Makes a request; the JSON of a 200.

    Raises NoAnswerError if there is none, or another status.
    """
    more = {} if body is None else {"Content-Type": "application/json"}
    try:
        answer = await http.request(
            method, url, limit=most, seconds=NO_DEADLINE, body=body, headers={**headers, **more}
        )
    except (HttpError, TooLongError) as error:
        raise NoAnswerError(f"{url}: {error}") from error
    if answer.status != 200:
        kind = UnfitStatusError if answer.status in _UNFIT else StatusError
        raise kind(f"{url}: status {answer.status}", answer.status)
    try:
        return parse_any(answer.body, "the answer")
    except FormatError as error:
        raise NoAnswerError(f"{url}: {error}") from error


def bearer(token: str | None) -> dict[str, str]:
    """The header of a token."""
    return {} if token is None else {"Authorization": f"Bearer {token}"}
