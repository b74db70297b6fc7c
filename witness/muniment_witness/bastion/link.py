"""The connection to one bastion: opened, served, and opened again when it is gone."""

import asyncio
import logging
import re
import ssl
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from muniment.local.backoff import Backoff
from muniment.local.logs import event
from muniment.local.outside import Contained
from muniment.tlog.encoding import MunimentError
from muniment.tlog.witnesswire import origin_hash
from muniment_service.http import Problem, Request, Responder, Response
from muniment_service.limits import Budget, Limits
from muniment_witness.bastion.identity import ALPN, client_context
from muniment_witness.bastion.table import Bastion

if TYPE_CHECKING:
    from muniment_service.http2 import Http2Connection

CONNECT_SECONDS: Final = 10.0
"""Deadline of the connection and the TLS handshake."""

FIRST_PAUSE: Final = 0.5
"""Longest time before a connection that has ended is opened again, the first time."""

LONGEST_PAUSE: Final = 120.0
"""The longest of these pauses."""

STEADY_SECONDS: Final = 10.0
"""A connection that was served for so long begins the pauses anew: two witnesses with one key
would otherwise put each other out without end."""

_LOGGER: Final = logging.getLogger(__name__)


_SUBMISSIONS: Final = frozenset({"/add-checkpoint", "/sign-subtree"})
_SHARED: Final = frozenset({"/gossip/heads", "/gossip/evidence", "/witness.v0.json"})
_BELOW: Final = re.compile(r"/(?:[0-9a-f]{64}|gossip/evidence)/")


class Way:
    """Answers what comes through one bastion.

    A bastion gives an address to a service that may have none for good reasons, so what is served
    that way is the protocol of witnesses and no more: neither pages (one origin is all backends',
    says the specification) nor what an operator watches. With chosen logs it is what concerns these
    alone.
    """

    def __init__(self, app: Responder, logs: frozenset[str] | None) -> None:
        """Serves `app` to submitters of some logs, by origin, or of all."""
        self._app = app
        self._logs = logs
        self._hashes = None if logs is None else frozenset(map(origin_hash, logs))

    async def respond(self, request: Request) -> Response:
        """Answers a request; its client is who the bastion says."""
        request.client = forwarded_for(request.headers.get("X-Forwarded-For", ""))
        request.about = self._logs
        if not self._leads_to(request.path):
            return Problem(404, "not-found", "there is nothing at this path").response()
        return await self._app.respond(request)

    def _leads_to(self, path: str) -> bool:
        if path in _SUBMISSIONS:
            return True
        if self._hashes is None:
            return path in _SHARED or _BELOW.match(path) is not None
        return path[1:].partition("/")[0] in self._hashes


def forwarded_for(field: str) -> str:
    """The client's address in the one X-Forwarded-For that a bastion sets; empty if it is none."""
    try:
        return str(ip_address(field.strip()))
    except ValueError:
        return ""


class BastionError(MunimentError):
    """A bastion cannot be served through; says why, without addresses."""


class BastionState(Struct):
    """What came of serving through a bastion. Times are Unix seconds, 0 for never.

    Attributes:
        since: Since when the bastion has taken this witness; 0 while it does not.
        reached: When it last did.
        error: Why it does not; empty while it does.
        connections: How often it has begun to.
        requests: How many requests came through it.
    """

    since: int = 0
    reached: int = 0
    error: str = ""
    connections: int = 0
    requests: int = 0


class BastionLink:
    """Serves through one bastion."""

    def __init__(
        self,
        bastion: Bastion,
        state: BastionState,
        app: Responder,
        limits: Limits,
        budget: Budget,
        ca: Callable[[], Path | None],
        clock: Callable[[], int],
    ) -> None:
        """`ca` gives the file with the CAs to believe, None for the system's; as for `limits`.

        The state is this link's own to change; the clock gives Unix seconds.
        """
        self._bastion = bastion
        self._state = state
        self._way = Way(app, bastion.logs)
        self._limits = limits
        self._budget = budget
        self._ca = ca
        self._clock = clock
        self._connection: Http2Connection | None = None

    async def run(self) -> None:
        """Serves until cancelled."""
        state, backoff = self._state, Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            with Contained(self._bastion.prefix) as outcome:
                await self._serve()
            error = outcome.error or "it ended the connection"
            if state.since or error != state.error:
                event(
                    _LOGGER,
                    logging.WARNING,
                    "not served through the bastion",
                    bastion=self._bastion.prefix,
                    error=error,
                )
            if state.since:
                state.since, state.reached = 0, self._clock()
                if loop.time() - begun >= STEADY_SECONDS:
                    backoff.reset()
            state.error = error
            await asyncio.sleep(backoff.next())

    async def finish(self) -> None:
        """Answers what has come, and ends the connection."""
        if self._connection is not None:
            await self._connection.finish()

    async def respond(self, request: Request) -> Response:
        """Answers what comes through the bastion."""
        self._state.requests += 1
        return await self._way.respond(request)

    async def _serve(self) -> None:
        # Imported here: h2 is an extra, and nobody else needs it.
        from muniment_service.http2 import Http2Connection  # noqa: PLC0415

        reader, writer = await self._connect()
        connection = Http2Connection(
            reader, writer, self, self._limits, self._budget, began=self._began
        )
        self._connection = connection
        try:
            await connection.serve()
        except MunimentError as error:
            if connection.is_begun:
                raise
            # A refused certificate is told in TLS 1.3 when the client's side is done already.
            raise BastionError(
                f"{error}, before it asked for anything: has its operator allowed the key "
                f"{self._bastion.prefix.rpartition('/')[2]}?"
            ) from error
        finally:
            self._connection = None

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        bastion = self._bastion
        context = await asyncio.to_thread(client_context, bastion, self._ca())
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection(
                    bastion.host, bastion.port, ssl=context, server_hostname=bastion.host
                )
        except TimeoutError:
            raise BastionError(f"no connection within {CONNECT_SECONDS:g} seconds") from None
        except ssl.SSLError as error:
            raise BastionError(f"TLS: {_reason(error)}") from error
        except OSError as error:
            reason = error.strerror or str(error) or type(error).__name__
            raise BastionError(f"no connection: {reason}") from error
        chosen = writer.get_extra_info("ssl_object").selected_alpn_protocol()
        if chosen != ALPN:
            writer.transport.abort()
            raise BastionError(f"it is no bastion: it does not know the protocol {ALPN}")
        return reader, writer

    def _began(self) -> None:
        state = self._state
        state.since = state.reached = self._clock()
        state.connections += 1
        state.error = ""
        event(_LOGGER, logging.INFO, "served through the bastion", bastion=self._bastion.prefix)


def _reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate: {error.verify_message}"
    return (error.reason or str(error)).replace("_", " ").lower()
