"""Lines of an input that cannot be logged, set aside in a file: JSON, one object a line."""

import json
import os
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

from muniment.cli.lines import MAX_LINE, Line
from muniment.errors import InputError
from muniment.local.linefile import close_synced, cut_torn_line

MAX_FILE: Final = 1 << 30
"""Most bytes of a file of lines that is gone on with."""


class SetAside:
    """The file, a context manager that closes it.

    A line has the members `line` (its number in the input, from 1), `reason`, and its bytes:
    `text`, or `base64` where they are no UTF-8. Of a line that is too long they are the first ones.

    With `goes_on` the file is that of an earlier run over the same input, and is added to. The
    lines in it stay set aside, whatever they say now: numbers of records count from the others.
    Raises InputError if it cannot be written, is none such, or exists though it should not.
    """

    def __init__(self, path: Path, *, goes_on: bool) -> None:
        self.count = 0
        self._path = path
        try:
            # It quotes an input that may be confidential.
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._file = os.fdopen(file, "r+b")
            if os.fstat(file).st_size > MAX_FILE:
                raise InputError(f"{path}: larger than {MAX_FILE} bytes")
            self._known = self._read()
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}") from None
        if self._known and not goes_on:
            self._file.close()
            raise InputError(
                f"{path}: lines were set aside there before; go on with --resume, or name another"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        close_synced(self._file)

    def knows(self, line: Line) -> bool:
        """Whether a line was set aside before."""
        return line.number in self._known

    def knows_any_of(self, lines: Sequence[Line]) -> bool:
        """Whether one of some lines was."""
        return bool(self._known) and any(map(self.knows, lines))

    def add(self, line: Line, reason: str) -> None:
        """Sets a line aside, and counts it; see `sync`."""
        found: dict[str, Any] = {"line": line.number, "reason": reason}
        try:
            found["text"] = line.data.decode()
        except UnicodeDecodeError:
            found["base64"] = b64encode(line.data).decode()
        try:
            self._file.write(json.dumps(found).encode() + b"\n")
        except OSError as error:
            raise InputError(f"{self._path}: {error.strerror}") from None
        self.count += 1

    def sync(self) -> None:
        """Has all on disk that was set aside; before anything behind it is logged."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise InputError(f"{self._path}: {error.strerror}") from None

    def _read(self) -> frozenset[int]:
        known: set[int] = set()
        try:
            cut_torn_line(self._file, self._path, "what was set aside")
        except InputError:
            self._file.close()
            raise
        self._file.seek(0)
        for number, text in enumerate(self._file, 1):
            try:
                line = json.loads(text)["line"]
            except (ValueError, KeyError, TypeError):
                line = None
            if not isinstance(line, int) or len(text) > 8 * MAX_LINE:
                self._file.close()
                raise InputError(f"{self._path}: line {number} is no line that was set aside")
            known.add(line)
        return frozenset(known)
