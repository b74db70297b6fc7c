"""Serves a log's API and its administrative socket beside the tasks that are the log."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from muniment.local.taskgroup import TaskGroup
from muniment_service.serving import serve_until_signal

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from ssl import SSLContext

    from muniment_log.logfile import LogFile
    from muniment_service.routing import App

_LOGGER: Final = logging.getLogger("muniment_log.app")


class BackgroundTask(NamedTuple):
    """A task that runs until cancelled; when one ends by an error, the process ends.

    Attributes:
        name: Its name.
        run: What it does.
        waits: Whether it begins when requests are taken: they need not wait for it.
    """

    name: str
    run: Callable[[], Coroutine[Any, Any, None]]
    waits: bool = False


async def serve_beside(
    file: LogFile,
    api: App,
    admin: App,
    tasks: Sequence[BackgroundTask],
    *,
    tls: SSLContext | None,
    public: AbstractAsyncContextManager[str] | None = None,
    fields: Mapping[str, Any],
) -> None:
    """Serves as `serve_until_signal` does; the tasks are cancelled when no request is in flight.

    Raises:
        OSError: the address cannot be bound.
        ExceptionGroup: a background task failed.
    """
    async with TaskGroup() as group:
        running = [
            group.create_task(task.run(), name=task.name) for task in tasks if not task.waits
        ]

        def begin_others(_: str) -> None:
            running.extend(
                group.create_task(task.run(), name=task.name) for task in tasks if task.waits
            )

        await serve_until_signal(
            api,
            admin,
            file,
            tls=tls,
            public=public,
            told=begin_others,
            logger=_LOGGER,
            line="log is ready",
            origin=file.origin,
            **fields,
        )
        for task in running:
            task.cancel()
