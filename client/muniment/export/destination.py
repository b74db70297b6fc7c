"""Where exported events go: the standard output, a file, or an endpoint (`endpoint`)."""

import fcntl
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

from muniment.errors import InputError
from muniment.export.forms import Form
from muniment.local.linefile import close_synced, cut_torn_line


class Event(NamedTuple):
    """One record in the form of the export, with its leaf index."""

    index: int  # type: ignore[assignment]  # hides tuple.index, of no use here
    data: bytes


class Destination(ABC):
    """A receiver. Use it as an async context manager."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Gives back what it holds."""
        return

    @abstractmethod
    async def put(self, events: Sequence[Event]) -> None:
        """Hands events over; returns when all are acknowledged, or told as refused for good.

        Raises MunimentError when they are not; some may have been taken.
        """
        ...


class LineWriter(Destination):
    """Writes lines to a file, or to the standard output.

    A regular file's lines are on disk before `put` returns. A pipe acknowledges nothing: what its
    reader had not read when it died is lost.
    """

    def __init__(self, form: Form, to: Path | BinaryIO) -> None:
        """Takes the path of a file to append to, or an open stream, which stays open."""
        self._form = form
        self._to = to
        self._file = to if not isinstance(to, Path) else None
        self._name = str(to) if isinstance(to, Path) else "the standard output"

    async def __aenter__(self) -> Self:
        if isinstance(self._to, Path):
            self._file = _opened(self._to)
        return self

    async def close(self) -> None:
        """Closes the file."""
        if isinstance(self._to, Path) and self._file is not None:
            close_synced(self._file)

    async def put(self, events: Sequence[Event]) -> None:
        """Writes whole lines. Raises InputError if that fails."""
        file = self._file
        if file is None:
            raise AssertionError("not opened")
        try:
            file.write(self._form.lines([event.data for event in events]))
            file.flush()
            _sync(file)
        except OSError as error:
            raise InputError(f"{self._name}: {error.strerror}") from None


def _sync(file: BinaryIO) -> None:
    try:
        number = file.fileno()
    except OSError:
        return  # not a file of the system
    if stat.S_ISREG(os.fstat(number).st_mode):
        os.fsync(number)


def _opened(path: Path) -> BinaryIO:
    """Opens a file to append to, for this process alone, and cuts off a line without an end."""
    try:
        # What a log records may be confidential.
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise InputError(f"{path}: not a regular file")
        cut_torn_line(file, path, "an export")
    except BlockingIOError:
        file.close()
        raise InputError(f"{path}: another process exports to it") from None
    except OSError as error:
        file.close()
        raise InputError(f"{path}: {error.strerror}") from None
    except BaseException:
        file.close()
        raise
    return file
