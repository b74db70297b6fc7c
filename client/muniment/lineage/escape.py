"""Text that strangers chose, made harmless in each output (Graphviz DOT, Mermaid, a terminal).

Ids are visible ASCII by their grammar, but key names and reasons may hold any Unicode: escape
sequences for the terminal, direction overrides, the quotes and entities of a diagram language.
"""

import re
from typing import Final
from urllib.parse import quote

_MERMAID_SAFE: Final = re.compile(r"[^A-Za-z0-9 _.,/@=+-]")


def terminal(text: str) -> str:
    """Text for one line of a terminal: printable ASCII, all else as Python escapes."""
    return text if text.isascii() and text.isprintable() else ascii(text)[1:-1]


def dot(text: str) -> str:
    r"""A quoted DOT string: quotes and backslashes (``\N``, ``\n`` mean something) escaped."""
    escaped = terminal(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def mermaid(text: str) -> str:
    """The inside of a quoted Mermaid label: whatever could be syntax or HTML as an entity code."""
    return _MERMAID_SAFE.sub(lambda match: f"#{ord(match[0])};", terminal(text))


def local_name(text: str) -> str:
    """The local part of a PROV qualified name: percent-encoded."""
    return quote(text, safe="-._~")
