"""Requests to configured addresses, and to no others: bounded in size and time, no redirects.

`Transport` is all that pulling and gossip know of the network, so that tests can put a simulated
one in its place. What comes back is unverified bytes.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol

from msgspec import Struct

from muniment.http.access import ANYBODY, Access
from muniment.http.answer import HttpError
from muniment.http.client import HttpSession
from muniment.tlog.encoding import MunimentError
from muniment.tlog.note import MAX_NOTE_SIZE

MAX_ANSWER: Final = MAX_NOTE_SIZE
"""Most bytes of an answer, unless the caller expects more."""

MAX_CONNECTIONS: Final = 64
"""Open connections to all logs and peers together."""

MAX_ETAG: Final = 256
"""Longest entity tag that is kept, in characters. Others, and those that cannot be sent back, are
as none: or a tag that spoils the next request would keep its sender from ever being read again."""

_NO_TOKENS: Final[Mapping[str, str]] = {}


class UnreachableError(MunimentError):
    """No whole answer came, or one beyond the limits: nothing is known of the other side's state.

    The message is one line without addresses: statuses and logs name the peer or log instead.
    """


class TransportAnswer(Struct, frozen=True):
    """An answer. Redirects are answers, too; an entity tag that is unusable is empty."""

    status: int
    body: bytes = b""
    etag: str = ""
    content_type: str = ""


class Transport(Protocol):
    """Makes requests."""

    async def get(self, url: str, *, most: int = MAX_ANSWER, etag: str = "") -> TransportAnswer:
        """Reads at most `most` bytes of a URL.

        With the entity tag of what the caller has, the answer may be a 304 without a body. Raises
        UnreachableError if no whole answer came within the limits.
        """
        ...

    async def post(self, url: str, body: bytes) -> TransportAnswer:
        """Sends a body; UnreachableError if no whole answer came within the limits."""
        ...


async def get_first(
    transport: Transport,
    prefix: str,
    paths: Sequence[str],
    *,
    most: int = MAX_ANSWER,
    etag: str = "",
) -> TransportAnswer:
    """Reads the first of some paths, at least one, that is there; else what the first one answered.

    See `Transport.get`.
    """
    failed: TransportAnswer | None = None
    for path in paths:
        answer = await transport.get(f"{prefix}/{path}", most=most, etag=etag)
        if answer.status in {200, 304}:
            return answer
        failed = failed or answer
    if failed is None:
        raise ValueError("no path")
    return failed


class HttpTransport:
    """The real transport: one session with kept-alive connections; see `transport`."""

    def __init__(self, seconds: float, access: Access, tokens: Mapping[str, str]) -> None:
        """Takes the arguments of `transport`; `close` it."""
        self._seconds = seconds
        self._files = access.fingerprint()
        self._session = _session(access)
        self.use(tokens)

    async def connect_by(self, access: Access) -> None:
        """Connects by another CA and certificate, or their new content, from now on.

        Requests under way are as those that got no answer. Raises InputError if a file cannot be
        used; nothing has changed then.
        """
        files = access.fingerprint()
        if files != self._files:
            session = _session(access)
            before, self._session, self._files = self._session, session, files
            await before.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._session.close()

    def use(self, tokens: Mapping[str, str]) -> None:
        """Takes other tokens."""
        self._tokens = {f"{url}/": f"Bearer {token}" for url, token in tokens.items()}

    async def get(self, url: str, *, most: int = MAX_ANSWER, etag: str = "") -> TransportAnswer:
        """Reads a URL; see `Transport`."""
        return await self._request("GET", url, {"If-None-Match": etag} if etag else {}, most=most)

    async def post(self, url: str, body: bytes) -> TransportAnswer:
        """Sends a body; see `Transport`."""
        headers = {"Content-Type": "application/octet-stream"}
        return await self._request("POST", url, headers, body=body)

    async def _request(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        *,
        body: bytes | None = None,
        most: int = MAX_ANSWER,
    ) -> TransportAnswer:
        for base, credentials in self._tokens.items():
            if url.startswith(base):
                headers["Authorization"] = credentials
        try:
            answer = await self._session.request(
                method, url, limit=most, seconds=self._seconds, body=body, headers=headers
            )
        except TimeoutError as error:
            raise UnreachableError("no answer in time") from error
        except HttpError as error:
            raise UnreachableError(str(error)) from error
        etag = answer.headers.get("etag", "")
        usable = len(etag) <= MAX_ETAG and etag.isascii() and etag.isprintable()
        return TransportAnswer(
            answer.status, answer.body, etag if usable else "", answer.media_type
        )


@asynccontextmanager
async def transport(
    request_seconds: float, access: Access = ANYBODY, tokens: Mapping[str, str] = _NO_TOKENS
) -> AsyncIterator[HttpTransport]:
    """Opens the real transport.

    One request has `request_seconds` from the connection to the last byte. `tokens` are read tokens
    by the base URLs, without a final slash, that they are for. Raises InputError if a file of
    `access` cannot be used.
    """
    network = HttpTransport(request_seconds, access, tokens)
    try:
        yield network
    finally:
        await network.close()


def _session(access: Access) -> HttpSession:
    return HttpSession(
        headers={"User-Agent": access.agent("muniment-witness"), "Accept-Encoding": "identity"},
        tls=access.ssl(),
        connections=MAX_CONNECTIONS,
    )
