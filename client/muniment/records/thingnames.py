"""Ids of any script as the ASCII names that edges hold, and back.

AuthZEN lets an id be any text. A thing's name in an edge is 1 to MAX_NAME visible ASCII characters,
so what is not is written as RFC 8187 section 3.2.1 writes a value of a header: ``UTF-8''`` and the
percent-encoding of its UTF-8. An id that begins with a mark itself is written so as well, and every
other ASCII id stands for itself, a ``%`` in it included: no two ids have one name.
"""

import re
from hashlib import sha256
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from muniment.records.members import MAX_NAME
from muniment.tlog.encoding import FormatError

ENCODED: Final = "UTF-8''"
"""Begins the name of an id that is not 1 to MAX_NAME visible ASCII characters."""

HASHED: Final = "SHA-256''"
"""Begins the name of an id whose encoding would be too long: the SHA-256 of its UTF-8, in hex."""

_PLAIN: Final = re.compile(rf"[!-~]{{1,{MAX_NAME}}}")
_KEPT: Final = "".join(map(chr, range(0x21, 0x7F))).replace("%", "")


def thing_name(id_: str) -> str:
    """The name under which edges have the thing of an id; FormatError for a lone surrogate."""
    if _PLAIN.fullmatch(id_) and not id_.startswith((ENCODED, HASHED)):
        return id_
    try:
        data = id_.encode()
    except UnicodeEncodeError:
        raise FormatError(f"id {id_[:64]!a}: lone surrogate") from None
    name = ENCODED + quote(data, safe=_KEPT)
    return name if len(name) <= MAX_NAME else HASHED + sha256(data).hexdigest()


def thing_id(name: str) -> str:
    """The id that a name in an edge stands for: itself, too, where the name holds but a digest."""
    if not name.startswith(ENCODED):
        return name
    try:
        id_ = unquote_to_bytes(name.removeprefix(ENCODED)).decode()
    except UnicodeDecodeError:
        return name
    return id_ if thing_name(id_) == name else name
