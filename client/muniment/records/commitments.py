"""Salted commitments: digests that tell nothing of a value until it is disclosed.

Whoever may read a log could try all values of a small secret against a bare digest. A commitment is
the SHA-256 of an *addendum*, the canonical JSON of ``{"nonce": …, "value": …}``, whose nonce of 128
random bits nobody can try. Who is given the addendum sees the value, and that it is the one.

Content that is no JSON has an *opaque* addendum: a line that says so, the nonce, the content. As in
the C2SP draft tlog-addenda the nonce stands before the content; the line keeps it apart from JSON.
"""

import re
from hashlib import sha256
from typing import Any, Final

from muniment.records.canonical import encode_canonical, parse_json
from muniment.tlog.encoding import FormatError, parse_base64

OPAQUE: Final = b"muniment/opaque-addendum/v1\n"
"""What an addendum begins with that is no JSON; JSON begins with a brace."""

NONCE_SIZE: Final = 16
"""Bytes of a nonce; it is written as twice as many lower-case hexadecimal digits."""

MAX_ADDENDUM: Final = 16 * 1024 * 1024
"""Most bytes of an addendum; a record has at most 65,535, and arguments are often longer."""

_MAX_BASE64: Final = MAX_ADDENDUM // 3 * 4 + 16  # characters, and the quotes
_NONCE: Final = re.compile(rf"[0-9a-f]{{{2 * NONCE_SIZE}}}")


def commitment(nonce: str, value: Any) -> str:
    """The digest (``sha256:…``) of a value's addendum.

    Raises FormatError if the value has no canonical JSON.
    """
    return commitment_of(addendum(nonce, value))


def commitment_of(data: bytes) -> str:
    """The digest (``sha256:…``) of an addendum."""
    return f"sha256:{sha256(data).hexdigest()}"


def addendum(nonce: str, value: Any) -> bytes:
    """What discloses a value: canonical JSON, whose SHA-256 is the commitment.

    Raises FormatError if the value has no canonical JSON.
    """
    return encode_canonical({"nonce": nonce, "value": value})


def opaque_addendum(nonce: str, content: bytes) -> bytes:
    """What discloses content that is no JSON, byte for byte."""
    return OPAQUE + bytes.fromhex(nonce) + content


def read_addendum(data: bytes, what: str = "addendum") -> Any:
    """The value in an addendum; bytes if it is an opaque one.

    Raises FormatError if it is too long, or neither opaque nor the canonical JSON of a nonce and a
    value; begins with `what`.
    """
    if len(data) > MAX_ADDENDUM:
        raise FormatError(f"{what}: an addendum of {len(data)} bytes; at most {MAX_ADDENDUM}")
    if data.startswith(OPAQUE):
        return _content(data, what)
    members = _parse_addendum(data, what)
    if encode_canonical(members) != data:
        raise FormatError(f"{what}: not canonical JSON (RFC 8785)")
    return members["value"]


def _content(data: bytes, what: str) -> bytes:
    begin = len(OPAQUE) + NONCE_SIZE
    if len(data) < begin:
        raise FormatError(f"{what}: an opaque addendum without its nonce of {NONCE_SIZE} bytes")
    return data[begin:]


def shown_value(value: Any) -> Any:
    """The value of an addendum as JSON can show it: of content that is none, size and digest."""
    if not isinstance(value, bytes):
        return value
    return {"opaque": {"bytes": len(value), "sha256": sha256(value).hexdigest()}}


def complete_addendum(text: bytes, what: str) -> bytes:
    """An addendum from its JSON, brought into canonical form; an opaque one from its base64.

    Raises FormatError if it is neither the JSON of a nonce and a value, nor a string with an opaque
    addendum in base64; or longer than MAX_ADDENDUM bytes in either form; begins with `what`.
    """
    if text.startswith(b'"'):
        encoded = parse_json(text, what, most=_MAX_BASE64)
        data = parse_base64(encoded, what) if isinstance(encoded, str) else b""
        if not data.startswith(OPAQUE):
            raise FormatError(f"{what}: expected an opaque addendum in base64, or a JSON object")
        read_addendum(data, what)
        return data
    data = encode_canonical(_parse_addendum(text, what))
    if len(data) > MAX_ADDENDUM:
        raise FormatError(f"{what}: an addendum of {len(data)} bytes; at most {MAX_ADDENDUM}")
    return data


def _parse_addendum(text: bytes, what: str) -> dict[str, Any]:
    members = parse_json(text, what, most=MAX_ADDENDUM)
    if not isinstance(members, dict) or members.keys() != {"nonce", "value"}:
        raise FormatError(f'{what}: expected {{"nonce": …, "value": …}}')
    mark = members["nonce"]
    if not isinstance(mark, str) or _NONCE.fullmatch(mark) is None:
        raise FormatError(f"{what}: nonce: expected {2 * NONCE_SIZE} lower-case hexadecimal digits")
    return members
