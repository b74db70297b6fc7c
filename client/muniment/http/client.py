"""HTTP for every party that asks another: aiohttp's connections, bounded in size and in time.

aiohttp's connector opens, keeps and shares connections, and its C parser reads what comes, see
`exchange`. Its `ClientSession` is not used: it makes an object for each step of a request and a
task to write it, which costs twice what the request does.

No redirects, cookies or proxies: what a log, a witness or a peer says is checked by what it is, and
a base URL is its owner's word. Bodies are not decoded by aiohttp: a few bytes can decode to very
many, so they are decoded here, up to the caller's limit.

A request that finds its kept connection closed before any answer is sent again on another one; so
only what may be repeated must be sent. All calls of ours may: reads, and writes that the receiver
recognises.
"""

import asyncio
import ctypes
import os
import socket
import ssl
import sys
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Literal, Self

from muniment.http.answer import Answer, HttpError, read_answer
from muniment.http.clientwire import LARGE, failures, send_body, words_of
from muniment.http.importing import importing
from muniment.http.origin import Origin, origin_of
from muniment.http.urls import check_url

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

    from muniment.http.exchange import HttpExchange

KEEP_SECONDS: Final = 300.0
"""How long an idle connection is kept; up to three times as long, if aiohttp looks late."""

_NOTHING: Final[Mapping[str, str]] = {}

_ORIGINS: Final = 1000
"""Servers whose headers are kept ready."""

_CONNECTIONS: Final = 100
"""Connections that are taken up for a request, if the server has spoken on all before."""

_TURNS: Final = 10  # of the event loop, until it has noticed that a socket is shut down


def load_http() -> None:
    """Imports what the first request would, for processes that are forked before they make one.

    For a program that has one thread and uses aiohttp only from here; see `importing`.
    """
    with importing():
        import aiohttp  # noqa: PLC0415, F401  # as below
        import yarl  # noqa: PLC0415, F401


class HttpSession:
    """Kept-alive connections to any number of servers; close it when done.

    It makes aiohttp's connector with the first request, in whichever event loop that is made.
    ``headers`` go with every request; ``tls`` is a context, or True for the system's CAs;
    ``connections`` is how many are open at one time at the most, None for no bound. Raises
    ValueError if a header has a line end.

    In a fork of the process it begins anew: the connections stay the parent's.
    """

    def __init__(
        self,
        *,
        headers: Mapping[str, str],
        tls: ssl.SSLContext | Literal[True] = True,
        connections: int | None = None,
    ) -> None:
        if any("\n" in text or "\r" in text for item in headers.items() for text in item):
            raise ValueError("a line end within a header")
        self._headers: Final = dict(headers)
        self._tls: Final = tls
        self._connections: Final = connections
        # Not aiohttp's limit: a request given up as it gets a connection would not pass it on.
        self._places = self._all_places()
        self._connector: aiohttp.TCPConnector | None = None
        self._origins: Final[dict[tuple[str, str], Origin]] = {}
        self._waiting = 0  # requests that wait for a connection
        self._keeper: asyncio.TimerHandle | None = None
        self._closed = False
        self._sockets: Final[weakref.WeakSet[socket.socket]] = weakref.WeakSet()
        _SESSIONS.add(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes all connections; no request can be made any more.

        What was still being sent when its request was given up is not sent any further.
        """
        self._closed = True
        if self._connector is None:
            return
        self._give_back()
        for _ in range(self._waiting):  # who waits for a connection is told
            self._places.release()
        await self._connector.close()
        # aiohttp lets a connection with unsent bytes end by itself: never, if nobody takes them.
        for one in [*self._sockets]:
            if one.fileno() >= 0:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
        for _ in range(_TURNS):
            if all(one.fileno() < 0 for one in self._sockets):
                return
            await asyncio.sleep(0)

    async def request(
        self,
        method: str,
        url: str,
        *,
        limit: int | None,
        seconds: float,
        body: bytes | None = None,
        headers: Mapping[str, str] = _NOTHING,
    ) -> Answer:
        """Makes one request to an http or https URL, which is encoded.

        A body of a 200 has ``limit`` bytes at the most; with None it does not matter, and is not
        read. Others may have `answer.MAX_ERROR`, if that is more. All of it, connecting included,
        takes ``seconds`` at most.

        Raises:
            TimeoutError: It took too long.
            TooLongError: The answer is longer than the limit.
            HttpError: No answer came, or none that is HTTP.
        """
        import aiohttp  # noqa: PLC0415  # 0.2 s, which commands that ask nobody do without

        answers: list[Answer] = []
        deadline = asyncio.get_running_loop().time() + seconds
        try:
            try:
                await self._exchange(method, [(url, limit)], body, headers, answers, deadline)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                # Servers close idle connections, perhaps just as a request sets out.
                if isinstance(error, aiohttp.ClientConnectorError):
                    raise
                await self._exchange(method, [(url, limit)], body, headers, answers, deadline)
            return answers[0]
        except TimeoutError:
            raise
        except failures() as error:
            raise HttpError(words_of(error)) from error

    async def _exchange(
        self,
        method: str,
        asked: Sequence[tuple[str, int | None]],
        body: bytes | None,
        headers: Mapping[str, str],
        answers: list[Answer],
        deadline: float,
    ) -> None:
        """Makes requests of one server over one connection, and adds the answers as they come.

        Raises TimeoutError when it is the deadline by the event loop's clock.
        """
        import yarl  # noqa: PLC0415  # comes with aiohttp

        targets = [yarl.URL(url, encoded=True) for url, _ in asked]
        target = targets[0]
        if target.scheme not in ("http", "https"):
            raise ValueError("neither http nor https")
        origin = self._origins.get((target.scheme, target.raw_authority))
        if origin is None:
            async with asyncio.timeout_at(deadline):
                origin = await self._origin(target)
        heads = [origin.heads.head(method, one.raw_path_qs, headers, body) for one in targets]
        head = heads[0] if len(heads) == 1 else b"".join(heads)
        bodiless = method == "HEAD"
        exchange = None if bodiless else origin.take()
        if exchange is None:
            async with asyncio.timeout_at(deadline):
                exchange = await self._connected(origin, bodiless=bodiless)
        # As a timeout around all of it does, for half of what that costs.
        timer = asyncio.get_running_loop().call_at(deadline, exchange.expire)
        sending: asyncio.Task[None] | None = None
        try:
            if body is None or len(body) <= LARGE:
                exchange.write(head if body is None else head + body)
            else:
                exchange.write(head)
                sending = asyncio.create_task(send_body(exchange, body))
            for _, limit in asked:
                answers.append(await read_answer(exchange, limit))
        except BaseException:
            exchange.close()
            raise
        finally:
            timer.cancel()
            is_sent = sending is None or sending.done()
            if sending is not None:
                sending.cancel()
        if not (is_sent and exchange.is_free):  # answered early: the rest is not sent
            exchange.close()
        elif not exchange.is_reusable or self._waiting or self._closed or origin.is_forgotten:
            exchange.give_back()
        else:
            self._keep(origin, exchange)

    def _keep(self, origin: Origin, exchange: "HttpExchange") -> None:
        """Keeps a connection for a while, and leaves it to aiohttp then."""
        origin.keep(exchange)
        if self._keeper is None:
            loop = asyncio.get_running_loop()
            self._keeper = loop.call_later(KEEP_SECONDS, self._give_back)

    def _give_back(self) -> None:
        """Leaves all connections that are kept to aiohttp, which closes what is idle for long."""
        if self._keeper is not None:
            self._keeper.cancel()
            self._keeper = None
        for origin in self._origins.values():
            origin.give_back()

    async def _connected(self, origin: Origin, *, bodiless: bool) -> "HttpExchange":
        """One on which nothing came before it is asked: that would be no answer to anything."""
        if self._connections or bodiless:  # what is kept counts, or can be used
            self._give_back()
        self._waiting += 1
        try:
            await self._places.acquire()
            try:
                exchange = await self._connect(origin, bodiless=bodiless)
            except BaseException:
                self._places.release()
                raise
        except asyncio.CancelledError:
            if not self._closed or ((me := asyncio.current_task()) and me.cancelling()):
                raise
            # aiohttp cancels who waits for it when it is closed.
            raise HttpError("the client is closed") from None
        finally:
            self._waiting -= 1
        return exchange

    async def _connect(self, origin: Origin, *, bodiless: bool) -> "HttpExchange":
        """Takes one up, which has its place until it is given back or closed."""
        import aiohttp  # noqa: PLC0415  # as above

        from muniment.http.exchange import HttpExchange  # noqa: PLC0415  # imports aiohttp

        for _ in range(_CONNECTIONS):
            connection = await self._opened().connect(origin.request, [], aiohttp.ClientTimeout())
            if connection.protocol is not None and not connection.protocol.should_close:
                exchange = HttpExchange(connection, bodiless=bodiless)
                connection.add_callback(self._places.release)
                return exchange
            connection.close()
        raise aiohttp.ServerDisconnectedError

    async def _origin(self, target: "URL") -> Origin:
        """What is kept of a server."""
        made = await origin_of(target, self._headers, self._tls)
        if len(self._origins) >= _ORIGINS:
            self._give_back()
            for origin in self._origins.values():
                origin.is_forgotten = True
            self._origins.clear()
        return self._origins.setdefault((target.scheme, target.raw_authority), made)

    def _opened(self) -> "aiohttp.TCPConnector":
        if self._closed:
            raise HttpError("the client is closed")
        if self._connector is None:
            import aiohttp  # noqa: PLC0415  # as above

            self._connector = aiohttp.TCPConnector(
                limit=0,  # see `_places`
                keepalive_timeout=KEEP_SECONDS,
                socket_factory=self._make_socket,
            )
        return self._connector

    def _all_places(self) -> asyncio.Semaphore:
        return asyncio.Semaphore(self._connections or sys.maxsize)

    def _begin_in_fork(self) -> None:
        """Leaves what was inherited as it is, for ever.

        To close a connection, as its last reference does too, takes it out of what the event loop
        waits for with epoll. That is one for both processes: the parent would hear no more from it.
        """
        if self._connector is not None:
            # Not a reference of Python's: those end with the interpreter.
            for one in (self._connector, [*self._origins.values()]):
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(one))
            self._connector = self._keeper = None
            self._waiting = 0
            self._places = self._all_places()
            self._origins.clear()
            self._sockets.clear()

    def _make_socket(self, info: "aiohttp.AddrInfoType") -> socket.socket:
        family, type_, protocol, *_ = info
        made = socket.socket(family, type_, protocol)
        self._sockets.add(made)
        return made


_SESSIONS: Final[weakref.WeakSet[HttpSession]] = weakref.WeakSet()


def _begin_in_fork() -> None:
    for session in list(_SESSIONS):
        session._begin_in_fork()  # noqa: SLF001 - of this module


os.register_at_fork(after_in_child=_begin_in_fork)


class HttpClient(HttpSession):
    """Kept-alive connections to one server, whose base URL `urls.check_url` accepts.

    Raises ValueError if the URL is no base URL, or a header has a line end.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        tls: ssl.SSLContext | Literal[True] = True,
        connections: int | None = None,
    ) -> None:
        super().__init__(headers=headers, tls=tls, connections=connections)
        self._base: Final = check_url(url)

    async def ask(
        self,
        method: str,
        path: str,
        *,
        limit: int,
        seconds: float,
        body: bytes | None = None,
        media_type: str = "application/octet-stream",
        coding: str = "",
    ) -> Answer:
        """Makes one request for an encoded path and query below the base URL; see ``request``.

        `coding` is the content coding that the body has.
        """
        if not (path.isascii() and path.isprintable()) or " " in path:
            raise ValueError(f"not a path: {path!r}")
        headers = {} if body is None else {"Content-Type": media_type}
        if coding:
            headers["Content-Encoding"] = coding
        return await self.request(
            method, self._base + path, limit=limit, seconds=seconds, body=body, headers=headers
        )

    async def ask_in_turn(
        self, asked: Sequence[tuple[str, int]], *, seconds: float
    ) -> list[Answer]:
        """GETs paths, each with the limit of its body, before the first is answered; as ``ask``.

        That is one system call for all, and one turn of who answers (RFC 9112 9.3.2). Returns the
        answers that came in time, perhaps none: some servers give but one over a connection.
        """
        answers: list[Answer] = []
        urls = [(self._base + path, limit) for path, limit in asked]
        deadline = asyncio.get_running_loop().time() + seconds
        with suppress(HttpError, *failures()):  # a TimeoutError is an OSError
            await self._exchange("GET", urls, None, _NOTHING, answers, deadline)
        return answers
