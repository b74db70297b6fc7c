"""What serves a service's public API and its administrative socket until a signal ends it."""

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from ssl import SSLContext
from typing import Any

from muniment.local.lifecycle import stop_requested
from muniment.local.logs import event
from muniment_service.http import Responder
from muniment_service.process import freeze_startup_objects, print_ready
from muniment_service.routing import App
from muniment_service.server import serving, serving_unix
from muniment_service.servicefile import ServiceFile


async def serve_until_signal(
    api: Responder,
    admin: App,
    file: ServiceFile,
    *,
    tls: SSLContext | None,
    public: AbstractAsyncContextManager[str] | None = None,
    told: Callable[[str], None] | None = None,
    logger: logging.Logger,
    line: str,
    **fields: Any,
) -> None:
    """Serves `api` at a file's address until SIGTERM or SIGINT; requests in flight finish first.

    `public`, when it is given, serves `api` instead, and gives the URL. `admin` is served at the
    file's administrative socket, if there is one. Once requests are taken, the service logs a line,
    with the URL and the other fields, `told` is called with the URL, and so is `print_ready`.
    Raises OSError if the address cannot be bound.
    """
    if public is None:
        public = serving(api, file.listen, file.limits, tls)
    async with serving_unix(admin, file.admin), public as url:
        event(logger, logging.INFO, line, url=url, **fields)
        freeze_startup_objects()
        stop = stop_requested()
        if told is not None:
            told(url)
        print_ready(url)
        which = await stop
        event(logger, logging.INFO, "stopping", signal=which.name)
