"""Which configuration a running service works by: since when, and what a reload has refused."""

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from muniment.local.logs import event

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

    def refused(self, reason: str) -> None:
        """A reload was refused: what was in force stays. The operator is told in the log, too."""
        event(
            _LOGGER,
            logging.ERROR,
            "reload refused; what was in force stays in force",
            reason=reason,
        )
        self._refused = {"at": _now(), "reason": reason}

    def told(self) -> dict[str, Any]:
        """As JSON values: `file`, `since`, and `refused` with `at` and `reason`, or null."""
        return {"file": str(self._path), "since": self.since, "refused": self._refused}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
