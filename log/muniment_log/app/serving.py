"""Serves a log's API and its administrative socket beside the tasks that are the log."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from muniment.local.lifecycle import stop_requested
from muniment.local.logs import event
from muniment_service.process import spare_collections
from muniment_service.server import serving, serving_unix

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from pathlib import Path
    from ssl import SSLContext

    from muniment_log.config import LogFile
    from muniment_service.config import Address
    from muniment_service.http import App

_LOGGER: Final = logging.getLogger("muniment_log.app")


class BackgroundTask(NamedTuple):
    """A task that runs as long as the log serves; when one ends by an error, the process ends."""

    name: str
    run: Callable[[], Coroutine[Any, Any, None]]


async def serve_until_signal(
    file: LogFile,
    api: App,
    admin: App,
    tasks: Sequence[BackgroundTask],
    *,
    listen: Address,
    admin_path: Path | None,
    tls: SSLContext | None,
    ready: Callable[[str], None],
    told: Mapping[str, Any],
) -> None:
    """Serves until SIGTERM or SIGINT; requests in flight finish before the tasks are cancelled.

    `ready` is called with the URL once requests are taken; `told` goes to the line in the logs that
    tells of it.

    Raises:
        OSError: the address cannot be bound.
        ExceptionGroup: a background task failed.
    """
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(task.run(), name=task.name) for task in tasks]
        async with (
            serving_unix(admin, admin_path),
            serving(api, listen, file.limits, tls) as url,
        ):
            event(_LOGGER, logging.INFO, "log is ready", origin=file.origin, url=url, **told)
            spare_collections()
            stop = stop_requested()
            ready(url)
            which = await stop
            event(_LOGGER, logging.INFO, "stopping", signal=which.name)
        for task in running:
            task.cancel()
