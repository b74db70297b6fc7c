"""What the log's administrative socket serves: its state, and the reload of its configuration."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from muniment.local.logs import event
from muniment_log.inforce import PolicyInForce, reread
from muniment_service.http import Request, Response, json_response
from muniment_service.metrics import CONTENT_TYPE, Metrics
from muniment_service.routing import App

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from muniment_log.config import LogConfig
    from muniment_log.core.bearer import Tokens
    from muniment_log.http.access import AccessControl
    from muniment_service.http import Handler

_LOGGER: Final = logging.getLogger(__name__)


@dataclass(kw_only=True, eq=False)
class Admin:
    """The handlers of the socket.

    Attributes:
        config: the configuration in force.
        state: tells what `/status` shows besides.
        apply: puts a configuration in force; raises MunimentError when it cannot, and has changed
            nothing then.
        clock: gives Unix seconds, for what of a policy is in force.
        erase: answers requests to erase addenda, where the log keeps some.
    """

    config: LogConfig
    access: AccessControl
    state: Callable[[], dict[str, Any]]
    metrics: Metrics
    apply: Callable[[LogConfig], Awaitable[None]]
    clock: Callable[[], int]
    erase: Handler | None = None

    def __post_init__(self) -> None:
        self._in_force = PolicyInForce(self.config)
        self._reloading = asyncio.Lock()

    def app(self) -> App:
        """The routes."""
        app = App(Metrics("muniment_log_admin"))
        app.route("GET", "/status", self._status)
        app.route("GET", "/metrics", self._render)
        app.route("POST", "/reload", self._reload)
        if self.erase is not None:
            app.route("POST", "/erase", self.erase)
        return app

    async def _status(self, _: Request) -> Response:
        return json_response({"origin": self.config.file.origin, **self.state(), **self._doings()})

    async def _render(self, _: Request) -> Response:
        return Response(200, await self.metrics.of_all(), CONTENT_TYPE)

    async def _reload(self, _: Request) -> Response:
        await self.reload()
        return json_response(self._doings())

    async def reload(self) -> None:
        """Puts in force what the configuration and its files say now.

        Raises a Problem, having told of it, if that cannot be; nothing has changed then.
        """
        async with self._reloading:
            with self._in_force.refusing():
                config = await asyncio.to_thread(reread, self.config, self.clock())
                await self.apply(config)
            self.config = config
            self.access.admission = config.admission
            self._in_force.accepted(config)
        event(_LOGGER, logging.INFO, "reloaded", policy=config.policy_sha256 or "none")

    def _doings(self) -> dict[str, Any]:
        admission = self.access.admission
        return {
            **self._in_force.describe(),
            "gateways": {
                name: [f"{verifier.vkey.key_id:08x}" for verifier in verifiers]
                for name, verifiers in sorted(admission.gateways.items())
            },
            "tokens": _ends(admission.tokens),
            "readers": _ends(admission.readers),
        }


def _ends(tokens: Tokens) -> list[dict[str, str | None]]:
    return [
        {
            "holder": token.holder,
            "expires": None
            if token.expires is None
            else datetime.fromtimestamp(token.expires, UTC).isoformat(timespec="seconds"),
        }
        for token in tokens
    ]
