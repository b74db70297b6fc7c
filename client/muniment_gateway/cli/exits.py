"""Exit codes of the command `muniment-gateway`, and how it ends with one.

0 done; 1 the service failed while it ran; 2 wrong usage (click's); 3 a configuration or key cannot
be used; 4 the database or spool cannot be used (in use, damaged, another program's); 5 the address
cannot be bound; 7 the gateway refused; 8 `doctor` found something wrong; 9 the gateway does not
run; 10 nothing can be written now: the file system is full or read-only, or another program keeps
the database locked. After what may pass (1, 5, 10) a service is to be started again.
"""

from typing import Final, NoReturn

from muniment_service.exits import end

EXIT_REFUSED: Final = 7
EXIT_UNWELL: Final = 8
EXIT_NOT_RUNNING: Final = 9


def fail(code: int, error: object) -> NoReturn:
    """Says the first line of an error, and ends the process."""
    end("muniment-gateway", code, error)
