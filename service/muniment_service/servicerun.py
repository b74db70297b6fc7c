"""Runs a service from its configuration to the exit code that says how it ended."""

from collections.abc import Callable, Coroutine
from logging import ERROR, getLogger
from typing import Any, Final, NoReturn, Protocol, TypeVar

from muniment.local.logs import configure, event
from muniment.local.memory import protect_memory
from muniment.local.sqlitefile import is_unwritable
from muniment.tlog.encoding import MunimentError
from muniment_service import exits
from muniment_service.process import first_error, run
from muniment_service.servicefile import ServiceFile

_LOGGER: Final = getLogger(__name__)


class LoadedConfig(Protocol):
    """A configuration that was read from a file."""

    @property
    def file(self) -> ServiceFile:
        """What the file says."""
        ...


C = TypeVar("C", bound=LoadedConfig)


def run_service(
    read: Callable[[], C],
    start: Callable[[C], Coroutine[Any, Any, None]],
    fail: Callable[[int, object], NoReturn],
    *,
    code_of: Callable[[BaseException], int] = exits.code_of,
    coded: tuple[type[BaseException], ...] = (OSError,),
) -> None:
    """Reads a configuration and runs a service until it ends.

    Args:
        read: Gives the configuration.
        start: Serves by it, until a signal.
        fail: Says why with an exit code, and ends the process.
        code_of: The exit code of an error.
        coded: What has that code also when the service ran already, as a file system that cannot
            be written always has. All else is a failure, whose traceback is logged.
    """
    protect_memory()
    try:
        loaded = read()
        configure(loaded.file.log_level, loaded.file.log_format)
        run(start(loaded))
    except (MunimentError, OSError) as error:
        fail(code_of(error), error)
    except ExceptionGroup as group:
        # TaskGroup's wrapping says nothing; what failed is inside.
        cause = first_error(group)
        if isinstance(cause, coded) or is_unwritable(cause):
            fail(code_of(cause), cause)
        event(_LOGGER, ERROR, "the service failed", exc_info=group)
        fail(exits.EXIT_FAILED, cause)
    except KeyboardInterrupt:
        fail(exits.EXIT_FAILED, "interrupted")
