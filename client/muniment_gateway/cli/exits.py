"""Exit codes of the command `muniment-gateway`, and how it ends with one.

0 done; 1 the service failed while it ran; 2 wrong usage (click's); 3 a configuration or key cannot
be used; 4 the database or spool cannot be used (in use, damaged, another program's); 5 the address
cannot be bound; 7 the gateway refused; 8 `doctor` found something wrong; 9 the gateway does not
run; 10 nothing can be written now: the file system is full or read-only, or another program keeps
the database locked. After what may pass (1, 5, 10) a service is to be started again.
"""

import sys
from typing import Final, NoReturn

import click

from muniment.local.sqlitefile import DatabaseError, FatalDatabaseError, is_unwritable
from muniment.tlog.encoding import MunimentError

EXIT_FAILED: Final = 1
EXIT_CONFIG: Final = 3
EXIT_DATABASE: Final = 4
EXIT_ADDRESS: Final = 5
EXIT_REFUSED: Final = 7
EXIT_UNWELL: Final = 8
EXIT_NOT_RUNNING: Final = 9
EXIT_UNWRITABLE: Final = 10


def code_of(error: BaseException) -> int:
    """The exit code of what stopped the service before it was ready."""
    if is_unwritable(error):
        return EXIT_UNWRITABLE
    if isinstance(error, (DatabaseError, FatalDatabaseError)):
        return EXIT_DATABASE
    return EXIT_CONFIG if isinstance(error, MunimentError) else EXIT_ADDRESS


def fail(code: int, error: object) -> NoReturn:
    """Says the first line of an error, and ends the process."""
    first_line = str(error).partition("\n")[0] or type(error).__name__
    click.echo(f"muniment-gateway: {first_line}", err=True)
    sys.exit(code)
