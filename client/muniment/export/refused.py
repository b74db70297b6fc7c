"""Events that a receiver refuses for good, kept in a file, so that the others go on."""

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from muniment.errors import InputError
from muniment.export.destination import Event


class RefusedFile:
    """The file; each line has the `index` of a record, the `reason`, and the `event`.

    It is added to, and on disk before `add` returns: the cursor moves behind these events.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.count = 0

    def add(self, events: Sequence[Event], reason: str) -> None:
        """Keeps some events; InputError if that fails."""
        lines = [
            msgspec.json.encode(
                {"index": event.index, "reason": reason, "event": msgspec.Raw(event.data)}
            )
            for event in events
        ]
        try:
            # It quotes what may be confidential.
            number = os.open(
                self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
            )
            with os.fdopen(number, "ab") as file:
                file.write(b"\n".join([*lines, b""]))
                file.flush()
                os.fsync(number)
        except OSError as error:
            raise InputError(f"{self._path}: {error.strerror}") from None
        self.count += len(events)
