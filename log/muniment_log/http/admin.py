"""What the log's administrative socket serves: its state, and the reload of its configuration."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from muniment.local.logs import event
from muniment.tlog.encoding import MunimentError
from muniment_log.inforce import PolicyInForce, reread
from muniment_service.http import App, Problem, Request, Response, json_response
from muniment_service.metrics import CONTENT_TYPE, Metrics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from muniment_log.config import LogConfig
    from muniment_log.core.bearer import Tokens
    from muniment_log.http.access import AccessControl

_LOGGER: Final = logging.getLogger(__name__)


class Admin:
    """The handlers of the socket.

    Attributes:
        config: the configuration in force.
    """

    def __init__(
        self,
        *,
        config: LogConfig,
        access: AccessControl,
        state: Callable[[], dict[str, Any]],
        metrics: Metrics,
        apply: Callable[[LogConfig], Awaitable[None]],
    ) -> None:
        """Shows what `state` tells, and puts configurations in force by `apply`.

        `apply` raises MunimentError when it cannot, and has changed nothing then.
        """
        self.config = config
        self._access = access
        self._state = state
        self._metrics = metrics
        self._apply = apply
        self._in_force = PolicyInForce(config)
        self._reloading = asyncio.Lock()

    def app(self) -> App:
        """The routes."""
        app = App(Metrics("muniment_log_admin"))
        app.route("GET", "/status", self._status)
        app.route("GET", "/metrics", self._render)
        app.route("POST", "/reload", self._reload)
        return app

    async def _status(self, _: Request) -> Response:
        return json_response({"origin": self.config.file.origin, **self._state(), **self._doings()})

    async def _render(self, _: Request) -> Response:
        return Response(200, self._metrics.render(), CONTENT_TYPE)

    async def _reload(self, _: Request) -> Response:
        async with self._reloading:
            try:
                config = await asyncio.to_thread(reread, self.config)
                await self._apply(config)
            except MunimentError as error:
                self._in_force.refused(str(error))
                raise Problem(409, "not-reloaded", str(error)) from error
            self.config = config
            self._access.admission = config.admission
            self._in_force.accepted(config)
        event(_LOGGER, logging.INFO, "reloaded", policy=config.policy_sha256 or "none")
        return json_response(self._doings())

    def _doings(self) -> dict[str, Any]:
        admission = self._access.admission
        return {
            **self._in_force.told(),
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
