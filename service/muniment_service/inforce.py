"""Which configuration a running service works by: since when, and what a reload has refused."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from muniment.local.logs import event
from muniment.tlog.encoding import MunimentError
from muniment_service.http import Problem

_LOGGER: Final = logging.getLogger(__name__)


class InForce:
    """What a service's status tells of its configuration, in force `since` a time of RFC 3339."""

    def __init__(self, path: Path) -> None:
        """The start of a process, with the configuration at a path."""
        self._path = path
        self.since = _now()
        self._refused: dict[str, str] | None = None

    def accepted(self) -> None:
        """A reload has put another configuration in force."""
        self.since = _now()
        self._refused = None

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Answers a reload that fails with a 409, and says so in the log and the status.

        A MunimentError says that what was in force still is. Any other error is a fault of the
        service, after which nothing is known of what is in force, and is answered as one.
        """
        try:
            yield
        except MunimentError as error:
            reason = str(error)
            self._refused = {"at": _now(), "reason": reason}
            event(
                _LOGGER,
                logging.ERROR,
                "reload refused; what was in force stays in force",
                reason=reason,
            )
            raise Problem(409, "not-reloaded", reason) from error

    def describe(self) -> dict[str, Any]:
        """As JSON values: `file`, `since`, and `refused` with `at` and `reason`, or null."""
        return {"file": str(self._path), "since": self.since, "refused": self._refused}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
