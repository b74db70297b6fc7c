"""Exit codes of the command `muniment-witness`, and how it ends with one.

0 done; 1 the service failed while it ran; 2 wrong usage (click's); 3 a configuration or key cannot
be used; 4 the database cannot be used (in use, damaged, another witness's); 5 the address cannot be
bound; 6 a log or witness cannot be reached, or did not give what it must; 7 the witness refused;
8 there are alarms; 9 `check`: the database is damaged.
"""

import sys
from typing import Final, NoReturn

import click

EXIT_FAILED: Final = 1
EXIT_CONFIG: Final = 3
EXIT_DATABASE: Final = 4
EXIT_ADDRESS: Final = 5
EXIT_UNREACHABLE: Final = 6
EXIT_REFUSED: Final = 7
EXIT_ALARMS: Final = 8
EXIT_DAMAGED: Final = 9


def fail(code: int, error: object) -> NoReturn:
    """Says the first line of an error, and ends the process."""
    first_line = str(error).partition("\n")[0] or type(error).__name__
    click.echo(f"muniment-witness: {first_line}", err=True)
    sys.exit(code)
