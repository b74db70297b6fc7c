"""Exit codes that the commands of the services share, and how a command ends with one.

After what may pass (FAILED, ADDRESS, UNWRITABLE) a service is to be started again.
"""

import sys
from typing import Final, NoReturn

from muniment.local.sqlitefile import DatabaseError, FatalDatabaseError, is_unwritable
from muniment.tlog.encoding import MunimentError, printable

EXIT_FAILED: Final = 1
EXIT_CONFIG: Final = 3
EXIT_DATABASE: Final = 4
EXIT_ADDRESS: Final = 5
EXIT_UNWRITABLE: Final = 10


def code_of(error: BaseException) -> int:
    """The exit code of what stopped a service before it was ready."""
    if is_unwritable(error):
        return EXIT_UNWRITABLE
    if isinstance(error, (DatabaseError, FatalDatabaseError)):
        return EXIT_DATABASE
    return EXIT_CONFIG if isinstance(error, MunimentError) else EXIT_ADDRESS


def end(program: str, code: int, error: object) -> NoReturn:
    """Says the first line of an error in a program's name, and ends the process."""
    first_line = printable(str(error).partition("\n")[0]) or type(error).__name__
    print(f"{program}: {first_line}", file=sys.stderr)  # noqa: T201  # the command's last word
    sys.exit(code)
