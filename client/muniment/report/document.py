"""A report as a document: sections of paragraphs, lists, tables and drawings, in no form yet."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from muniment.report.pictures import Drawing

MAX_SHOWN: Final = 200
"""Characters of a text that are shown; JSON has all of it."""


class Code(str):
    """Text of a stranger or for a machine: shown as it is, in a font of fixed width."""

    __slots__ = ()


class QueryNumbers(NamedTuple):
    """The numbers of the commands behind a figure, in the document's list of queries."""

    numbers: tuple[int, ...]


Cell: TypeAlias = str | int | QueryNumbers | None


class Paragraph(NamedTuple):
    """Words of our own."""

    text: str


class Items(NamedTuple):
    """A list of sentences of our own."""

    texts: Sequence[str]


class Listing(NamedTuple):
    """Lines to copy: commands, or a file; `name` says what they are."""

    name: str
    lines: Sequence[str]


class Table(NamedTuple):
    """A table; each row has a cell for each column."""

    caption: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[Cell, ...]]


class Picture(NamedTuple):
    """A drawing."""

    drawing: Drawing


Block: TypeAlias = Paragraph | Items | Listing | Table | Picture


class Section(NamedTuple):
    """A section; the name is that of its place in the document."""

    name: str
    title: str
    blocks: Sequence[Block]


class Document(NamedTuple):
    """A report that is ready to be written.

    Attributes:
        title: What it is about.
        subtitle: Of which log and window.
        sections: In order.
        queries: The commands, by their numbers from 1.
        seed: The JSON text that a repeat needs.
        made: When the tree was cosigned that it is about, Unix seconds.
    """

    title: str
    subtitle: str
    sections: Sequence[Section]
    queries: Sequence[str]
    seed: str
    made: int


class Queries:
    """Numbers commands in the order in which they are first named."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def __call__(self, commands: Sequence[str]) -> QueryNumbers:
        """The numbers of some commands."""
        numbers = self._numbers
        return QueryNumbers(tuple(numbers.setdefault(one, len(numbers) + 1) for one in commands))

    @property
    def commands(self) -> list[str]:
        """All of them, in order."""
        return list(self._numbers)


def visible(text: str, most: int = MAX_SHOWN) -> str:
    """Text with every character visible: controls, direction marks and the like as escapes.

    What is longer than `most` is cut, and says how long it is.
    """
    cut = text if len(text) <= most else text[:most]
    shown = "".join(c if c.isprintable() else _escape(c) for c in cut)
    return shown if len(cut) == len(text) else f"{shown}... ({len(text):,} characters)"


def leaves_text(leaves: dict[str, Any]) -> str:
    """The leaf indices behind a figure, in words."""
    spans = [
        str(first) if end == first + 1 else f"{first}-{end - 1}" for first, end in leaves["ranges"]
    ]
    if not spans:
        return "none"
    told = ", ".join(spans)
    return told if leaves["whole"] else f"{told}, ... {leaves['last']}"


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
