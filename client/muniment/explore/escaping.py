"""Text that strangers chose, in a page: markup escaped, and nothing of it invisible."""

import re
from typing import Final

from markupsafe import Markup, escape

_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)
"""Controls, what sets a direction (UAX 9), what is drawn as nothing, and lone surrogates."""


def visible(text: str) -> str:
    r"""The text with each character that nobody would see as its escape, as ``\u202e``."""
    return _UNSEEN.sub(lambda found: _escape_of(found[0]), text)


def shown(value: object) -> Markup:
    """Text for a page, which keeps its direction to itself (HTML, ``bdi``)."""
    return Markup("<bdi>{}</bdi>").format(escape(visible(str(value))))


def _escape_of(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
