"""What serves a service's public API and its administrative socket until a signal ends it."""

import logging
from collections.abc import Callable
from pathlib import Path
from ssl import SSLContext
from typing import Any

from muniment.local.lifecycle import stop_requested
from muniment.local.logs import event
from muniment_service.config import Address
from muniment_service.http import App, Responder
from muniment_service.limits import Limits
from muniment_service.process import spare_collections
from muniment_service.server import serving, serving_unix


async def serve_until_signal(
    api: Responder,
    admin: App,
    *,
    listen: Address,
    admin_path: Path | None,
    limits: Limits,
    tls: SSLContext | None,
    ready: Callable[[str], None],
    logger: logging.Logger,
    line: str,
    **told: Any,
) -> None:
    """Serves until SIGTERM or SIGINT; requests in flight finish first.

    Args:
        api: What is served at `listen`.
        admin: What is served at the administrative socket.
        listen: The address.
        admin_path: The socket; None for none.
        limits: What the server takes at most.
        tls: The certificate; None for plain HTTP.
        ready: Called with the URL once requests are taken.
        logger: Where the service logs.
        line: What it logs when it is ready, with `url` and `told`.
        told: Further fields of that line.

    Raises:
        OSError: If the address cannot be bound.
    """
    async with serving_unix(admin, admin_path), serving(api, listen, limits, tls) as url:
        event(logger, logging.INFO, line, url=url, **told)
        spare_collections()
        stop = stop_requested()
        ready(url)
        which = await stop
        event(logger, logging.INFO, "stopping", signal=which.name)
