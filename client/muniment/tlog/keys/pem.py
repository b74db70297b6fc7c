"""Text that holds PEM blocks (RFC 7468), as editors, shells and other tools hand it on.

A byte order mark, indentation and lines outside the blocks, in whatever encoding, do no harm.
"""

import codecs
import re
from binascii import a2b_base64
from typing import Final, NamedTuple

from muniment.tlog.encoding import FormatError

_BEGIN: Final = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----")
_END: Final = "-----END {}-----"
_LINE_END: Final = re.compile(r"\r\n|\r|\n")


class Block(NamedTuple):
    """A PEM block, such as ``PRIVATE KEY``.

    Its lines are without BEGIN and END, indentation and white space at their ends; `ends` tells
    whether its END line is there; `before` has the lines outside of blocks from the file's begin.
    """

    label: str
    lines: tuple[str, ...]
    ends: bool
    before: tuple[str, ...]

    def content(self) -> bytes:
        """The bytes in it; FormatError if the block is cut off or is not base64."""
        if not self.ends:
            raise FormatError(f"the {self.label} block has no END line")
        try:
            return a2b_base64("".join(self.lines), strict_mode=True)
        except ValueError:
            raise FormatError(f"the {self.label} block is not base64") from None


def decode_text(data: bytes) -> str:
    """The text of a file: UTF-8, or UTF-16 with a byte order mark; what is neither is replaced."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace")
    return data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace")


def text_lines(text: str) -> list[str]:
    """The lines of a text without indentation and white space at their ends."""
    return [line.strip() for line in _LINE_END.split(text)]


def find_blocks(text: str) -> list[Block]:
    """The PEM blocks of a text, in order; a block that another one begins in has no end."""
    found: list[Block] = []
    before: list[str] = []
    label, lines = "", list[str]()
    for line in text_lines(text):
        begin = _BEGIN.fullmatch(line)
        if begin is not None or (label and line == _END.format(label)):
            if label:
                found.append(Block(label, tuple(lines), begin is None, tuple(before)))
            label, lines = "" if begin is None else begin[1], []
        else:
            (lines if label else before).append(line)
    if label:
        found.append(Block(label, tuple(lines), ends=False, before=tuple(before)))
    return found
