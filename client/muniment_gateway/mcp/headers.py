"""The headers of streamable HTTP, revision 2026-07-28, which repeat what is in the body.

Whoever decides by the headers alone can be lied to; whoever forwards a lie helps. So what differs
is refused, with the code that the revision has for it.
"""

import base64
import binascii
import re
from collections.abc import Iterable
from typing import Final

from muniment_gateway.mcp.messages import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    VERSION_KEY,
    Message,
    MessageError,
)

VERSION: Final = "mcp-protocol-version"
METHOD: Final = "mcp-method"
NAME: Final = "mcp-name"
PARAM: Final = "mcp-param-"
FIRST_MODERN: Final = "2026-07-28"

NAMED_BY: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
"""The parameter that `Mcp-Name` repeats, by method."""

_BASE64: Final = re.compile(r"=\?base64\?(.*)\?=")
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")


def check_headers(message: Message, headers: Iterable[tuple[str, str]]) -> None:
    """Checks the headers of a request or notification, as they came, against its body.

    A request of before 2026-07-28 need not have them; those that it has must be right. Raises
    MessageError if one is missing, there twice, or says something else.
    """
    found: dict[str, str] = {}
    for name, value in headers:
        name = name.lower()
        if name not in (VERSION, METHOD, NAME) and not name.startswith(PARAM):
            continue
        if name in found:
            raise _mismatch(message, f"the header {name} is there twice")
        found[name] = value
    stated = found.get(VERSION, "")
    if message.is_modern:
        if message.params["_meta"][VERSION_KEY] != stated or not stated:
            raise _mismatch(message, f"the header {VERSION} is not the version in params._meta")
    elif _DATE.fullmatch(stated) and stated >= FIRST_MODERN and message.kind == "request":
        text = f"params._meta has no {VERSION_KEY}, which this version asks for"
        raise MessageError(INVALID_PARAMS, text, message.id)
    is_asked = message.is_modern and message.kind == "request"
    if (is_asked or METHOD in found) and found.get(METHOD) != message.method:
        raise _mismatch(message, f"the header {METHOD} is not the method of the body")
    member = NAMED_BY.get(message.method)
    wanted = message.params.get(member) if member is not None else None
    if ((is_asked and wanted is not None) or NAME in found) and (
        decode_header(found.get(NAME)) != wanted
    ):
        raise _mismatch(message, f"the header {NAME} is not what the body names")


def decode_header(value: str | None) -> str | None:
    """What a header says, that may be in base64 between ``=?base64?`` and ``?=``; None if nothing.

    Also None for base64 that is not the one spelling of UTF-8 text.
    """
    match = None if value is None else _BASE64.fullmatch(value)
    if match is None:
        return value
    try:
        decoded = base64.b64decode(match[1], validate=True)
        text = decoded.decode("utf-8")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    return text if base64.b64encode(decoded).decode("ascii") == match[1] else None


def _mismatch(message: Message, text: str) -> MessageError:
    return MessageError(HEADER_MISMATCH, text, message.id)
