"""Exit codes of the command `muniment-witness`, and how it ends with one.

0 done; 1 the service failed while it ran; 2 wrong usage (click's); 3 a configuration or key cannot
be used; 4 the database cannot be used (absent, empty, in use, damaged, another witness's); 5 the
address cannot be bound; 6 a log or witness cannot be reached, or did not give what it must; 7 the
witness refused; 8 there are alarms; 9 `check`: the database is damaged; 10 nothing can be written
now: the file system is full or read-only, or another program keeps the database locked. What may
pass has codes (1, 5, 10) after which a service is to be started again.
"""

from typing import Final, NoReturn

from muniment_service.exits import end

EXIT_UNREACHABLE: Final = 6
EXIT_REFUSED: Final = 7
EXIT_ALARMS: Final = 8
EXIT_DAMAGED: Final = 9


def fail(code: int, error: object) -> NoReturn:
    """Says the first line of an error, and ends the process."""
    end("muniment-witness", code, error)
