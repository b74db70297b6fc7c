"""Builds an authority and serves it."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

from muniment.http.client import HttpSession
from muniment_gateway.config import AuthorityConfig
from muniment_gateway.deciding.counts import Counts
from muniment_gateway.deciding.panel import Panel
from muniment_gateway.deciding.tickets import Tickets
from muniment_gateway.http.access import Clients
from muniment_gateway.http.authority import AuthorityHttp
from muniment_service.http import Problem
from muniment_service.metrics import Metrics
from muniment_service.process import allow_connections
from muniment_service.routing import App
from muniment_service.serving import serve_until_signal
from muniment_service.tls import server_context

PREFIX: Final = "muniment_authority"

PROBE_SECONDS: Final = 10.0
"""Time between two questions to the engine for its policy, which tell whether it answers."""

_LOGGER: Final = logging.getLogger(__name__)


async def serve_authority(config: AuthorityConfig) -> None:
    """Serves until SIGTERM or SIGINT; OSError if the address cannot be bound."""
    file = config.file
    allow_connections(file.limits.connections)
    access = file.outgoing.access
    async with HttpSession(headers={"User-Agent": access.agent()}, tls=access.ssl()) as http:
        metrics = Metrics(PREFIX)
        panel = Panel((config.authority,), http, Counts(metrics))

        def is_ready() -> Mapping[str, Any]:
            if trouble := panel.unusable.get(file.name):
                raise Problem(503, "engine-silent", trouble)
            return {"name": file.name}

        routes = AuthorityHttp(
            Tickets(config, panel), panel, Clients(config.clients), metrics, is_ready
        )

        async def probe() -> None:
            while True:
                await panel.look()
                await asyncio.sleep(PROBE_SECONDS)

        probing = asyncio.create_task(probe())
        try:
            await serve_until_signal(
                routes,
                App(Metrics(f"{PREFIX}_admin")),
                file,
                tls=server_context(file.tls),
                logger=_LOGGER,
                line="authority is ready",
                name=file.name,
                engine=file.engine.kind,
            )
        finally:
            probing.cancel()
