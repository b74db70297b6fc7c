"""What a completeness proof can be asked about: the keys of the map, as people and files name them.

A key is a kind and its parts. In text both stand in one line, parted by spaces, each part
percent-encoded (RFC 3986, unreserved characters kept): ``revocations execution run-17``.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple, cast, get_args
from urllib.parse import quote, unquote

from msgspec import ValidationError, convert

from muniment.lineage import mapkeys
from muniment.lineage.facts import Role, TargetKind
from muniment.records.members import RevokedKey
from muniment.records.touched import Kind, map_key
from muniment.tlog.encoding import FormatError

PARTS: Final[Mapping[str, tuple[int, int]]] = {
    "revocations": (2, 2),
    "execution": (1, 1),
    "from": (2, 3),
    "to": (2, 3),
    "decision": (1, 1),
    "approval": (1, 1),
    "subject": (2, 2),
    "stream": (1, 1),
    "erasure": (1, 1),
}
"""How many parts a key of each kind (`touched.Kind`) has, at least and at most."""

REVOCABLE: Final[tuple[TargetKind, ...]] = get_args(TargetKind)
"""What the first part of a key of ``revocations`` says that the second one names."""

MAX_KEY_TEXT: Final = 16 * 1024
"""Longest text of a key: an id, a name and an origin, percent-encoded."""


class Key(NamedTuple):
    """A key of the map: all that a log holds on one thing, in one respect."""

    kind: Kind
    parts: tuple[str, ...]

    @property
    def text(self) -> str:
        """The key in one line; `parse_key` gives back an equal key."""
        return " ".join((self.kind, *(quote(part, safe="") for part in self.parts)))

    @property
    def digest(self) -> bytes:
        """Where the map has it, 32 bytes."""
        return _digest(self)


@lru_cache(maxsize=4096)
def _digest(key: Key) -> bytes:
    return map_key(key.kind, "\0".join(key.parts))


def key(kind: str, *parts: str) -> Key:
    """Makes a key; FormatError if there is none of such a kind and so many parts."""
    least, most = PARTS.get(kind, (0, 0))
    if not most:
        raise FormatError(f"key: no kind {kind[:64]!a}: expected one of {', '.join(PARTS)}")
    if not least <= len(parts) <= most or not all(parts):
        raise FormatError(f"key: {kind} has {least} to {most} parts, none of them empty")
    # No leaf is ever under such a key: that there is none would say nothing, and sound as if.
    if kind == "revocations" and parts[0] not in REVOCABLE:
        raise FormatError(f"key: revocations: expected one of {', '.join(REVOCABLE)} first")
    if kind == "revocations" and parts[0] == "key" and not _is_key(parts[1]):
        raise FormatError("key: revocations: a key is <key name>+<key ID>, or a digest")
    if kind == "from" and parts[0] == "run" and len(parts) == 2:
        raise FormatError("key: from: the edges from a run are under execution")
    if any("\0" in part for part in parts):
        raise FormatError("key: a NUL in a part")
    try:
        made = Key(cast("Kind", kind), parts)
        if len(made.text) > MAX_KEY_TEXT:
            raise FormatError(f"key: longer than {MAX_KEY_TEXT} characters")
    except UnicodeEncodeError:
        raise FormatError("key: a lone surrogate in a part") from None
    return made


def _is_key(text: str) -> bool:
    try:
        convert(text, RevokedKey)
    except ValidationError:
        return False
    return True


def parse_key(text: str) -> Key:
    """Reads the one spelling of a key; FormatError if it is not that."""
    if len(text) > MAX_KEY_TEXT:
        raise FormatError(f"key: longer than {MAX_KEY_TEXT} characters")
    kind, *parts = text.split(" ")
    try:
        found = key(kind, *(unquote(part, errors="strict") for part in parts))
    except UnicodeDecodeError:
        raise FormatError("key: a part is not the percent-encoding of UTF-8") from None
    if found.text != text:
        raise FormatError(f"key: {kind}: not in its one spelling")
    return found


def key_of(role: Role, asked: Any, origin: str) -> Key:
    """The key of the records that play a role for what `Facts` is asked about, see `mapkeys`."""
    kind, value = mapkeys.key_of(role, asked, origin)
    return Key(kind, tuple(value.split("\0")))
