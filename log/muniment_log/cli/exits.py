"""The exit codes of `muniment-log`, and how a service that ends comes to one.

0 done; 1 the service failed while it ran, or what it needs does not answer; 2 wrong usage
(click's); 3 a configuration or key cannot be used; 4 the database or the object store cannot be
used (in use, damaged, another program's, another version's); 5 the address cannot be bound; 6 the
database belongs to another origin or other keys; 7 the database was rolled back: a witness or the
bucket knows more than it holds, or the addenda's file less than it knows; 8 `check`, `repair` or
`restore`: the database, or what a mirror shows, is damaged; 9 the log does not run; 10 nothing can
be written now: the file system is full or read-only, or another program keeps the database locked.
After what may pass (1, 5, 10) a service is to be started again.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from muniment.local.sqlitefile import AbsentDatabaseError
from muniment.tlog.encoding import MunimentError
from muniment_log.config import LogConfig, load
from muniment_log.errors import (
    RolledBackError,
    StorageError,
    UnavailableError,
    WrongIdentityError,
)
from muniment_service import exits as shared
from muniment_service import servicerun
from muniment_service.exits import EXIT_DATABASE, EXIT_FAILED, EXIT_UNWRITABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence
    from pathlib import Path

    from muniment_service.soundness import Damage

EXIT_IDENTITY: Final = 6
EXIT_ROLLED_BACK: Final = 7
EXIT_DAMAGED: Final = 8
EXIT_UNREACHABLE: Final = 9

_CODES: Final[tuple[tuple[type[BaseException], int], ...]] = (
    (WrongIdentityError, EXIT_IDENTITY),
    (RolledBackError, EXIT_ROLLED_BACK),
    (StorageError, EXIT_DATABASE),
    (UnavailableError, EXIT_FAILED),  # it may pass: to be started again
)
"""Exit codes of the log's own errors; the first class that fits."""


def code_of(error: BaseException) -> int:
    """The exit code of what stopped a command before it did anything."""
    code = shared.code_of(error)
    if code == EXIT_UNWRITABLE:
        return code
    return next((own for kind, own in _CODES if isinstance(error, kind)), code)


def fail(code: int, error: object) -> NoReturn:
    """Says the first line of an error, and ends the process."""
    shared.end("muniment-log", code, error)


@contextmanager
def failing(code: int | None = None) -> Iterator[None]:
    """Ends the command when there is an error: with its own code, unless one is given."""
    try:
        yield
    except MunimentError as error:
        fail(code_of(error) if code is None else code, error)


def run_service(config: Path, start: Callable[[LogConfig], Coroutine[Any, Any, None]]) -> None:
    """Loads a configuration and runs a service until it ends; the process's exit code says how."""
    servicerun.run_service(
        lambda: load(config),
        start,
        lambda code, error: fail(code, _with_help(error, config)),
        code_of=code_of,
        coded=(OSError, RolledBackError, WrongIdentityError),
    )


def _with_help(error: object, config: Path) -> object:
    if not isinstance(error, AbsentDatabaseError):
        return error
    # What acknowledged records is gone or out of sight, or the log is new. Only the operator
    # knows which; taken for new, it would give out the same indices again.
    return (
        f"{error}. If the log has run before, mount its volume or restore a backup; if it has "
        f"not: muniment-log new-database --config {config}"
    )


def say_damage(verdict: str, damage: Sequence[Damage]) -> None:
    """Prints each damage on a line of its own."""
    for table, what in damage:
        click.echo(f"{verdict} {table}: {what}")
