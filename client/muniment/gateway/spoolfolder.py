"""A folder of spools: one for each process that is running, taken over by later ones.

A process takes the first spool that no other one has open, and makes a new one if all are taken.
So what a process left behind is delivered by the next, and there are as many streams as there ever
were processes at once. A spool's file is named after its process's stream, ``<label>.spool``; the
label has a random mark of the folder, so that two folders never write to one stream.
"""

import fcntl
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from muniment.errors import InputError
from muniment.gateway.spool import SPOOL_SUFFIX
from muniment.gateway.spoolfile import SpoolFile
from muniment.local.sqliteopen import reading
from muniment.records.manifest import check_stream_label

MAX_SPOOLS: Final = 1000
"""Most spools in a folder."""

_MARK: Final = "mark"
_MARK_FORM: Final = re.compile(r"[0-9a-f]{8}")


class SpoolFolder:
    """The spools in one folder, which is made when it is needed."""

    def __init__(self, path: Path, stream: str) -> None:
        """Names the streams after ``stream``; FormatError if streams cannot be named so."""
        check_stream_label(f"{stream}-{8 * '0'}-{MAX_SPOOLS}{SPOOL_SUFFIX}")
        self.path = path
        self._stream = stream

    def free(self) -> Iterator[tuple[str, Path]]:
        """The labels and files of spools that nobody has open, those that are there first.

        Between this look and the opening somebody may take one: then the next one is tried. Raises
        InputError if the folder cannot be used.
        """
        prefix = f"{self._stream}-{self._mark()}"
        for number in range(1, MAX_SPOOLS + 1):
            label = f"{prefix}-{number}"
            path = self.path / f"{label}{SPOOL_SUFFIX}"
            if not is_in_use(path):
                yield label, path

    def _mark(self) -> str:
        """The folder's mark, made by the first process."""
        path = self.path / _MARK
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX)  # held for one small write
                mark = os.pread(file, 64, 0).decode("ascii", "replace")
                if not mark:
                    mark = secrets.token_hex(4)
                    os.pwrite(file, mark.encode(), 0)
                    os.fsync(file)
            finally:
                os.close(file)
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}") from None
        if _MARK_FORM.fullmatch(mark) is None:
            raise InputError(f"{path}: damaged: expected 8 hexadecimal digits")
        return mark


@dataclass(frozen=True, slots=True)
class SpoolState:
    """What a spool holds.

    Attributes:
        path: Its file.
        in_use: Whether a process has it open.
        stream: The stream to which its records go.
        records: Records that the log has not acknowledged.
        bytes: Their bytes.
        calls: Calls that are going on, or whose process ended: their outcomes are to come.
        refused: Records that the log will never take.
    """

    path: Path
    in_use: bool
    stream: str
    records: int
    bytes: int
    calls: int
    refused: int

    @classmethod
    def read(cls, path: Path) -> "SpoolState":
        """Reads it, also while a process has it open; a ``DatabaseError`` if it is no spool."""
        with reading(path, "spool") as db:
            file = SpoolFile.load(db)
            (calls,) = db.execute("SELECT count(*) FROM underway").fetchone()
            refused = file.put_aside(db)
        stream = file.place[2] or f"{path.name.removesuffix(SPOOL_SUFFIX)}{SPOOL_SUFFIX}"
        return cls(path, is_in_use(path), stream, file.records, file.size, calls, refused)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be delivered."""
        return not self.records and not self.calls


def find_spools(paths: Sequence[Path]) -> list[Path]:
    """The files of spools: those given, and those in the folders that are.

    Raises InputError if something is not there.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(path.glob(f"*{SPOOL_SUFFIX}"))
        elif path.exists():
            found.append(path)
        else:
            raise InputError(f"{path}: no such file or folder")
    return found


def is_in_use(path: Path) -> bool:
    """Whether a process has a spool open: it has the lock beside the file."""
    try:
        file = os.open(path.with_name(f"{path.name}.lock"), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False
