"""What the log's administrative socket serves: its state, and the reload of who may do what."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from muniment.formats.encoding import MunimentError
from muniment.service.config import config_error, load_config
from muniment.service.http import App, Problem, Request, Response, json_response
from muniment.service.metrics import CONTENT_TYPE, Metrics
from muniment_log.config import LogConfig, LogFile, admission_of, rates_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from muniment_log.bearer import Tokens
    from muniment_log.http.doors import Doors

RELOADED: Final = frozenset({"gateway", "token", "read"})
"""The tables that a running log takes up; all else takes a restart."""


class Admin:
    """The handlers of the socket.

    Attributes:
        config: the configuration in force.
    """

    def __init__(
        self,
        config: LogConfig,
        doors: Doors,
        state: Callable[[], dict[str, Any]],
        metrics: Metrics,
        changed: Callable[[LogConfig], None],
    ) -> None:
        """Takes what it shows and changes.

        Args:
            config: the configuration in force.
            doors: what lets requests in.
            state: tells how far the log is, and its witnesses.
            metrics: the log's metrics, to show.
            changed: told of a configuration that is in force now.
        """
        self.config = config
        self._doors = doors
        self._state = state
        self._metrics = metrics
        self._changed = changed
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
                config = await asyncio.to_thread(_reread, self.config)
            except MunimentError as error:
                raise Problem(409, "not-reloaded", str(error)) from error
            self.config = config
            self._doors.admission = config.admission
            self._changed(config)
        return json_response(self._doings())

    def _doings(self) -> dict[str, Any]:
        admission = self._doors.admission
        return {
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


def _reread(now: LogConfig) -> LogConfig:
    path = now.path
    file = load_config(path, LogFile)
    for name in LogFile.__struct_fields__:
        if name not in RELOADED and getattr(file, name) != getattr(now.file, name):
            config_error(path, name, "has changed; that takes a restart")
    return replace(now, file=file, admission=admission_of(path, file), rates=rates_of(path, file))
