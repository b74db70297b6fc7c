"""The cursor file: up to which leaf a receiver has acknowledged a log's records.

It holds the compact range (RFC 6962) of the leaves before that one. So it can be told, by hashing
no more than the new leaves, that they continue the tree that was exported before, and not another.
"""

import json
from pathlib import Path
from typing import Any, Final, NamedTuple

from muniment.errors import InputError
from muniment.local.atomicfile import read_state, write_atomic
from muniment.tlog.encoding import FormatError, format_base64, parse_base64
from muniment.tlog.merkle import HASH_SIZE, CompactRange

MAX_SIZE: Final = 16 << 10
"""Bytes of a cursor file: 63 hashes and an origin, with room."""

_FORMAT: Final = "muniment/export-cursor/v1"
_MEMBERS: Final = {"format", "origin", "as", "next", "peaks"}
_WHAT: Final = "cursor"


class Cursor(NamedTuple):
    """Where an export goes on.

    Attributes:
        origin: The log.
        form: The name of the form in which it was exported.
        exported: The leaves before the next one; its size is the next one's index.
    """

    origin: str
    form: str
    exported: CompactRange

    def encode(self) -> bytes:
        """The file: one line of JSON."""
        members = {
            "format": _FORMAT,
            "origin": self.origin,
            "as": self.form,
            "next": self.exported.size,
            "peaks": [format_base64(peak) for peak in self.exported.peaks],
        }
        return json.dumps(members).encode() + b"\n"


def parse_cursor(data: bytes) -> Cursor:
    """Reads the bytes of a cursor file; FormatError if they are none."""
    try:
        members: Any = json.loads(data)
        if not isinstance(members, dict) or members.keys() != _MEMBERS:
            raise FormatError(
                f"expected a JSON object with the members {', '.join(sorted(_MEMBERS))}"
            )
        if members["format"] != _FORMAT:
            raise FormatError(f"its format is {members['format']!a}, not {_FORMAT}")
        origin, form, size = members["origin"], members["as"], members["next"]
        if not isinstance(origin, str) or not isinstance(form, str) or type(size) is not int:
            raise FormatError("a member of another type")
        peaks = [parse_base64(peak, "peaks", size=HASH_SIZE) for peak in members["peaks"]]
        return Cursor(origin, form, CompactRange.from_peaks(size, peaks))
    except (ValueError, TypeError, RecursionError) as error:
        raise FormatError(f"no cursor of an export: {error}") from None


class CursorFile:
    """A cursor at a path, replaced in one step and on disk before `move` returns."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, origin: str, form: str) -> CompactRange:
        """What was exported of a log in a form; nothing when there is no file yet.

        Raises InputError if the file cannot be used, or is the cursor of another log or form; names
        it.
        """
        data = read_state(self._path, _WHAT, most=MAX_SIZE)
        if data is None:
            return CompactRange.EMPTY
        try:
            cursor = parse_cursor(data)
        except FormatError as error:
            raise InputError(f"{_WHAT} {self._path}: {error}") from None
        for what, found, expected in (
            ("the log", cursor.origin, origin),
            ("the format", cursor.form, form),
        ):
            if found != expected:
                raise InputError(
                    f"{_WHAT} {self._path}: belongs to {what} {found}, not {expected}; each log "
                    "and each receiver has a cursor of its own: name another file"
                )
        return cursor.exported

    def move(self, origin: str, form: str, exported: CompactRange) -> None:
        """Says that all of these leaves are acknowledged; InputError if it cannot be written."""
        write_atomic(self._path, Cursor(origin, form, exported).encode(), _WHAT)
