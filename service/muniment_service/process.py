"""A service process: the event loop, the ready line, and the signals that end it."""

import asyncio
import gc
import logging
import resource
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import msgspec

from muniment.local.lifecycle import notify
from muniment.local.logs import event

RESERVED_FILES: Final = 256
"""Open files that a service needs besides those of its clients: databases, threads, peers."""

COLLECT_AFTER: Final = 10_000
"""Objects that are new, and not gone again, before the garbage collector looks at them."""

_LOGGER: Final = logging.getLogger(__name__)
_T = TypeVar("_T")


def run(main: Coroutine[Any, Any, _T]) -> _T:
    """Runs a coroutine on a new event loop, uvloop's when it is installed."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    try:
        import uvloop  # noqa: PLC0415  # optional
    except ImportError:
        pass
    else:
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def allow_connections(count: int) -> None:
    """Raises the process's limit of open files, so that a service can have its connections.

    Many systems start a process with 1,024, and let it raise that itself.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + RESERVED_FILES
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < wanted:
        event(
            _LOGGER,
            logging.WARNING,
            "the limit of open files is below that of connections",
            files=most,
            connections=count,
        )


def freeze_startup_objects() -> None:
    """Keeps what the process has built so far out of the garbage collector's sight.

    It lives as long as the process. Looking through all of it takes tens of milliseconds, in which
    a request waits; and most of what requests make goes by its reference count alone.
    """
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


def unix_seconds() -> int:
    """The time, as services go by it unless a test has a clock of its own."""
    return int(time.time())


def print_ready(url: str) -> None:
    """Tells whoever started the process where it listens: one line of JSON on stdout, flushed.

    A service manager that asked for it (systemd's `Type=notify`) is told too.
    """
    sys.stdout.write(msgspec.json.encode({"event": "ready", "url": url}).decode() + "\n")
    sys.stdout.flush()
    notify(f"READY=1\nSTATUS={url}")


def first_error(error: BaseException) -> BaseException:
    """The first real error in nested exception groups; what a one-line message should say."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
