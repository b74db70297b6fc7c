"""C2SP tlog-list: which logs a witness is to know, and how often each may ask it. Pure.

A list is somebody else's word: what a witness has taken from one before, another list does not
change. `muniment_witness.gossip.lists` sees to that.
"""

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from muniment.tlog.checkpoint import Checkpoint
from muniment.tlog.encoding import FormatError, parse_decimal
from muniment.tlog.merkle import EMPTY_ROOT
from muniment.tlog.note import VKey, parse_vkey

HEADER: Final = "logs/v0"
"""The first line that is no comment."""

MAX_LIST_SIZE: Final = 32 << 20
"""Largest list in bytes: 40,000 logs of some 250 bytes are a third of it."""

MAX_PER_DAY: Final = 2**31 - 1
"""Most requests a day that a list can grant."""


class ListedLog(Struct, frozen=True):
    """A log of a list: FormatError if a member cannot stand in one.

    Attributes:
        vkey: Its key.
        origin: Its origin, mostly the key's name.
        per_day: How many add-checkpoint requests it may send in a day ("qpd").
        contact: How its operator is reached.
    """

    vkey: VKey
    origin: str
    per_day: int
    contact: str

    def __post_init__(self) -> None:
        Checkpoint(self.origin, 0, EMPTY_ROOT)
        if not 1 <= self.per_day <= MAX_PER_DAY:
            raise FormatError(f"log list: qpd is not between 1 and {MAX_PER_DAY}")
        for what, text in (("origin", self.origin), ("contact", self.contact)):
            if not text or text.strip(" \t") != text or "\n" in text:
                raise FormatError(f"log list: {what} cannot stand in a list")

    @property
    def lines(self) -> str:
        """The log's lines of a list."""
        origin = "" if self.origin == self.vkey.name else f"origin {self.origin}\n"
        return f"vkey {self.vkey}\n{origin}qpd {self.per_day}\ncontact {self.contact}\n"


def parse_log_list(data: bytes) -> tuple[ListedLog, ...]:
    """Parses a list of at most MAX_LIST_SIZE bytes.

    Raises FormatError, which names the line, 1-based, if it breaks a rule of the spec.
    """
    if len(data) > MAX_LIST_SIZE:
        raise FormatError(f"log list: more than {MAX_LIST_SIZE} bytes")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        place = data.count(b"\n", 0, error.start) + 1
        raise FormatError(f"log list: line {place}: not UTF-8") from None
    parser = _Parser()
    for place, line in enumerate(text.split("\n"), 1):
        stripped = line.strip(" \t")
        if stripped and not stripped.startswith("#"):
            try:
                parser.feed(stripped)
            except FormatError as error:
                raise FormatError(f"log list: line {place}: {error}") from None
    return parser.finish()


class _Parser:
    """Takes lines that are no comments, in order."""

    def __init__(self) -> None:
        self._has_header = False
        self._logs: dict[str, ListedLog] = {}
        self._begun: list[str] = []  # what the lines of the log under way have said

    def feed(self, text: str) -> None:
        if not self._has_header:
            if text != HEADER:
                raise FormatError(f"not {HEADER}")
            self._has_header = True
            return
        keyword, _, value = text.partition(" ")
        value = value.strip(" \t")
        expected = ("vkey", "origin", "qpd", "contact")[len(self._begun)]
        if keyword == "qpd" and expected == "origin":
            self._begun.append(parse_vkey(self._begun[0]).name)
        elif keyword != expected:
            raise FormatError(f"{expected} is due")
        if not value:
            raise FormatError(f"{keyword} without a value")
        if keyword == "vkey":
            parse_vkey(value)
        self._begun.append(value)
        if keyword == "contact":
            self._end()

    def _end(self) -> None:
        vkey, origin, per_day, contact = self._begun
        if origin in self._logs:
            raise FormatError(f"{origin} is listed twice")
        number = parse_decimal(per_day, "qpd")
        self._logs[origin] = ListedLog(parse_vkey(vkey), origin, number, contact)
        self._begun = []

    def finish(self) -> tuple[ListedLog, ...]:
        if not self._has_header:
            raise FormatError(f"log list: no line {HEADER}")
        if self._begun:
            raise FormatError("log list: the last log is not complete")
        return tuple(self._logs.values())


def format_log_list(logs: Iterable[ListedLog]) -> bytes:
    """Writes a list, which `parse_log_list` reads as the same logs."""
    return "\n".join([f"{HEADER}\n", *(log.lines for log in logs)]).encode()
