"""Room on the disk that is set aside for outcomes of calls that go on when it gets full."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

SPARE: Final = 256 * 1024
"""Bytes of disk that are kept for outcomes of calls that were going on when the disk got full: a
thousand of them, which share transactions of a few pages."""


@dataclass(slots=True)
class SpareRoom:
    """A file beside the spool that does nothing but fill ``SPARE`` bytes of the disk.

    When the disk is full, it goes, and the outcomes of the calls that are going on take its place.
    """

    path: Path
    _is_made: bool = field(default=False, init=False)

    @property
    def is_there(self) -> bool:
        """Whether it holds the room now; somebody may have deleted it."""
        try:
            return self._is_made and self.path.stat().st_size >= SPARE
        except OSError:
            return False

    def make(self) -> None:
        """Fills the room, unless that is done; an ``OSError`` if the disk has not so much."""
        if self.is_there:
            return
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(file).st_blocks * 512 < SPARE:
                os.posix_fallocate(file, 0, SPARE)
                os.fsync(file)
        except OSError:
            self.path.unlink()
            raise
        finally:
            os.close(file)
        self._is_made = True

    def spend(self) -> None:
        """Gives the room away."""
        self._is_made = False
        self.path.unlink(missing_ok=True)
