"""Work on what others have answered: whatever goes wrong with it is their error, and no more.

A service asks witnesses, peers, logs and engines in tasks whose end ends the process. What they
send is parsed, compared and stored by much code, and one exception that nobody thought of would let
any of them stop the service. So each such task does its work on one answer inside `Contained`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Self

from muniment.local.logs import event
from muniment.local.sqlitefile import FatalDatabaseError
from muniment.tlog.encoding import MunimentError

if TYPE_CHECKING:
    from types import TracebackType

_LOGGER: Final = logging.getLogger(__name__)


class Contained:
    """A context in which every exception becomes `error`, apart from those that must end a process.

    Those are `FatalDatabaseError`, what is no `Exception` (a cancellation, say), and groups with
    one of them in it. An error that is not one of this program's own is logged with its place, as
    it may be a defect. `error` is one line, empty when nothing went wrong; `cause` the exception.
    """

    def __init__(self, whose: str, fatal: tuple[type[Exception], ...] = ()) -> None:
        """Takes who was asked, for the log, and what else must end the process."""
        self.error = ""
        self.cause: Exception | None = None
        self._whose = whose
        self._fatal: tuple[type[Exception], ...] = (FatalDatabaseError, *fatal)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if not isinstance(error, Exception) or self._is_fatal(error):
            return False
        first = self.cause = _first(error)
        self.error = (str(first) or type(first).__name__).partition("\n")[0]
        if not isinstance(first, MunimentError):
            at = first.__traceback__
            while at is not None and at.tb_next is not None:
                at = at.tb_next
            event(
                _LOGGER,
                logging.ERROR,
                "an answer could not be dealt with",
                whose=self._whose,
                error=f"{type(first).__name__}: {self.error}",
                place="" if at is None else f"{at.tb_frame.f_code.co_filename}:{at.tb_lineno}",
            )
        return True

    def _is_fatal(self, error: Exception) -> bool:
        if isinstance(error, ExceptionGroup):
            return error.subgroup(self._fatal) is not None
        return isinstance(error, self._fatal)


def _first(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
