"""What a session keeps of one server: how to connect, heads of requests, idle connections."""

import asyncio
import ssl
from collections import deque
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Final, Literal

from muniment.http.clientwire import RequestHeads

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

    from muniment.http.exchange import HttpExchange


@cache
def system_tls() -> ssl.SSLContext:
    """The context that believes the system's CAs; it reads them, which blocks for some 20 ms."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


class Origin:
    """One server, as a session knows it.

    Attributes:
        request: What aiohttp's connector is asked for a connection by, with the headers for there.
        heads: The heads of requests.
        kept: Connections over which nobody is asked now, the oldest first; some have ended.
        is_forgotten: Whether the session keeps nothing of it any more.
    """

    def __init__(self, request: "aiohttp.ClientRequest") -> None:
        """Keeps no connection yet."""
        self.request: Final = request
        self.heads: Final = RequestHeads(request.headers)
        self.kept: Final[deque[HttpExchange]] = deque()
        self.is_forgotten = False

    def keep(self, exchange: "HttpExchange") -> None:
        """Keeps a connection that `is_free`."""
        exchange.is_idle = True
        self.kept.append(exchange)

    def take(self) -> "HttpExchange | None":
        """A connection that was kept, if there is one that can be used."""
        while self.kept:
            exchange = self.kept.popleft()
            if exchange.is_free:
                exchange.is_idle = False
                return exchange
            exchange.close()
        return None

    def give_back(self) -> None:
        """Leaves the connections that are kept to aiohttp."""
        while self.kept:
            self.kept.popleft().give_back()


async def origin_of(
    target: "URL", headers: Mapping[str, str], tls: ssl.SSLContext | Literal[True]
) -> Origin:
    """What is known of the server of a URL; `headers` go with every request."""
    import aiohttp  # noqa: PLC0415  # 0.2 s, which commands that ask nobody do without

    if tls is True and target.scheme == "https":
        tls = await asyncio.to_thread(system_tls)
    return Origin(
        aiohttp.ClientRequest(
            "GET",
            target,
            headers=headers,
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
            loop=asyncio.get_running_loop(),
            ssl=tls,
        )
    )
