"""Requests to one log: bounded, repeated where that is safe, with errors of ``muniment.errors``.

Each answer has a size limit and each request a deadline; redirects are never followed (a log's URL
is its owner's word, a redirect is not).
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

from muniment.errors import BadAnswer, Problem, Refused, Unreachable
from muniment.http.access import Access
from muniment.http.answer import Answer, HttpError, TooLongError
from muniment.http.client import HttpClient
from muniment.http.retryafter import retry_after
from muniment.http.typedjson import decode_json
from muniment.http.urls import check_url
from muniment.local.backoff import Backoff
from muniment.tlog.encoding import FormatError

READ_ATTEMPTS: Final = 4
"""How often a read is tried; reads are idempotent, and an audit makes thousands of them."""

MAX_RETRY_AFTER: Final = 60.0
"""Seconds; a longer ``Retry-After`` is cut, so that a log cannot park its clients for a day."""

_BUSY: Final = frozenset({429, 503})

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class LogRequests:
    """The connections to one log, and what is asked of it; ``LogClient`` has the arguments."""

    def __init__(
        self, url: str, *, timeout: float, connections: int, access: Access | None, pause: float
    ) -> None:
        """Before a read is tried again it waits ``pause`` seconds, and thrice as long each time.

        Raises ValueError and InputError as ``LogClient``.
        """
        self.url = check_url(url)
        self._access = Access.from_environment() if access is None else access
        self._headers = self._access.headers(self.url)
        self.timeout: Final = timeout
        self.connections = connections
        self._pause = pause
        self._http: HttpClient | None = None
        self._several: HttpClient | None = None
        self.takes_several = True

    def limit_connections(self, most: int) -> None:
        """Opens no more connections than that; AssertionError when it is open already."""
        if self._http is not None:
            raise AssertionError("the connections are open already")
        self.connections = min(self.connections, most)

    def open(self) -> None:
        """Makes requests possible, until it is closed."""
        self._http = self._client()

    def _client(self) -> HttpClient:
        return HttpClient(
            self.url,
            headers={
                "User-Agent": self._access.agent(),
                "Accept-Encoding": self._encodings(),
                **self._headers,
            },
            tls=self._access.ssl(),
            connections=self.connections,
        )

    async def close(self) -> None:
        """Closes the connections; safe to call twice."""
        clients = self._http, self._several
        self._http = self._several = None
        for http in clients:
            if http is not None:
                await http.close()

    def __getstate__(self) -> dict[str, Any]:
        # Pickled for another process, which opens its own connections.
        return {**vars(self), "_http": None, "_several": None}

    @property
    def is_local(self) -> bool:
        """Whether whoever answers is on this machine."""
        return urlsplit(self.url).hostname in _LOOPBACK

    def _encodings(self) -> str:
        # Packing and unpacking a bundle takes longer than carrying it to another process here.
        return "identity" if self.is_local else "gzip, identity"

    async def read(self, path: str, *, limit: int, body: bytes | None = None) -> bytes:
        """Reads what is at a path, several times if need be: ``limit`` bytes at the most.

        With a body it is POSTed, which must change nothing. Raises as ``once``.
        """
        backoff = Backoff(self._pause, factor=3)
        for attempt in range(1, READ_ATTEMPTS + 1):
            try:
                return await self.once(path, limit=limit, body=body)
            except (Unreachable, Refused) as error:
                retry_after = 0.0
                if isinstance(error, Refused):
                    if not error.is_retriable:
                        raise
                    retry_after = error.retry_after or 0.0
                if attempt == READ_ATTEMPTS:
                    raise
                await asyncio.sleep(backoff.next(retry_after))
        raise AssertionError("the loop returns or raises")

    async def in_turn(self, asked: Sequence[tuple[str, int]]) -> list[bytes | None]:
        """GETs paths over one connection, without waiting in between; each with its limit.

        What did not come is None: whoever wants it reads it alone, and is told what is wrong. When
        not all were answered, the server takes no such requests, and gets none any more; nor does
        one that has too much to do.
        """
        if self._http is None:
            raise RuntimeError("LogClient is used outside of its `async with`")
        if not self.takes_several:
            return [None] * len(asked)
        # By connections of their own: who confuses the answers may send one too many, and late.
        if self._several is None:
            self._several = self._client()
        answers = await self._several.ask_in_turn(asked, seconds=self.timeout)
        if len(answers) < len(asked) or any(one.status in _BUSY for one in answers):
            self.takes_several = False
        found = [one.body if one.status == 200 else None for one in answers]
        return found + [None] * (len(asked) - len(found))

    async def once(
        self,
        path: str,
        *,
        limit: int,
        body: bytes | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - handed on
    ) -> bytes:
        """GETs a path, or POSTs a body there; returns the body of a 200.

        Raises:
            Unreachable: If no whole answer came.
            Refused: If the log answered with an error.
            BadAnswer: If the answer is longer than the limit, or neither a 200 nor an error.
        """
        http = self._http
        if http is None:
            raise RuntimeError("LogClient is used outside of its `async with`")
        method = "GET" if body is None else "POST"
        seconds = self.timeout if timeout is None else timeout
        try:
            answer = await http.ask(method, path, limit=limit, seconds=seconds, body=body)
        except TimeoutError:
            raise Unreachable(f"{self.url}{path}: no answer in time") from None
        except TooLongError as error:
            raise BadAnswer(f"{method} {path}: {error}") from None
        except HttpError as error:
            raise Unreachable(f"{self.url}{path}: {error}") from None
        if answer.status != 200:
            raise refusal_of(answer, f"{self.url}{path}")
        return answer.body


def refusal_of(answer: Answer, path: str) -> Refused | BadAnswer:
    """The error that an answer which is not the expected one comes to, of the URL or path asked."""
    status = answer.status
    if status < 400:
        return BadAnswer(f"{path}: HTTP {status} where 200 or an error was expected")
    members: dict[str, Any] = {}
    if answer.media_type == "application/problem+json":
        try:
            members = decode_json(answer.body, dict[str, Any], path)
        except FormatError:
            members = {}  # an error that is also malformed is still that error

    def text(name: str) -> str:
        value = members.pop(name, "")
        return value[:1000] if isinstance(value, str) else ""

    problem = Problem(
        status=status,
        type=text("type") or "about:blank",
        title=text("title"),
        detail=text("detail") or ("" if members else path),
        members=members,
    )
    if problem.slug == "not-found":  # perhaps the URL is that of another service
        problem = replace(problem, detail=f"{path}: {problem.detail}")
    wanted = answer.headers.get("retry-after", "")
    return Refused(problem, retry_after(wanted, time.time(), MAX_RETRY_AFTER))
