"""Messages of MCP: JSON-RPC 2.0, one at a time, as they came.

A gate decides on what it has read, and passes on what came: so a message that two readers could
read in two ways is none. Batches were part of one revision alone (2025-03-26) and are refused.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias, cast

from muniment.tlog.encoding import FormatError
from muniment_gateway.core.anyjson import encode_any, parse_any, whole_numbers

MAX_MESSAGE: Final = 4 << 20
"""Longest message, in bytes; an answer may have 16 times as many, see `MAX_ANSWER`."""

MAX_ANSWER: Final = 64 << 20
"""Longest message of a server, in bytes: files and pictures come as base64."""

MAX_ID: Final = 1024
"""Longest id, in characters."""

VERSION_KEY: Final = "io.modelcontextprotocol/protocolVersion"
"""The member of `_meta` that every request has since revision 2026-07-28."""

NOTIFICATIONS: Final = "notifications/"
"""How the methods of MCP's notifications begin."""

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
DENIED: Final = -32001
HEADER_MISMATCH: Final = -32020

Id: TypeAlias = str | int
Kind: TypeAlias = Literal["request", "notification", "response"]


class MessageError(FormatError):
    """What came is no message, or not one that can be answered.

    Attributes:
        code: The error code of JSON-RPC, or of MCP.
        id: The id of the request; None when it could not be told.
        status: The status of the answer on HTTP.
    """

    def __init__(self, code: int, message: str, id_: Id | None = None, data: object = None) -> None:
        """Makes the error; `message` is for its sender, and `data` if there is more to say."""
        super().__init__(message)
        self.code = code
        self.id = id_
        self.status = 404 if code == METHOD_NOT_FOUND else 400
        self._data = data

    def answer(self) -> bytes:
        """The error response."""
        return error_answer(self.id, self.code, str(self), self._data)


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    Attributes:
        kind: What it is.
        data: Its bytes, without white space around them.
        id: The id of a request, or of what a response answers; None of a notification, and of an
            error that answers no request.
        method: Of a request or notification.
        params: Its parameters; empty when it has none.
        value: All of it, as read.
    """

    kind: Kind
    data: bytes
    id: Id | None
    method: str
    params: dict[str, Any]
    value: dict[str, Any]

    @property
    def is_modern(self) -> bool:
        """Whether it is of revision 2026-07-28 or later, in which every request says so."""
        meta = self.params.get("_meta")
        return isinstance(meta, dict) and VERSION_KEY in meta

    @property
    def key(self) -> tuple[type, Id | None]:
        """Its id as a key: 1 and "1" are two ids."""
        return type(self.id), self.id


def read_message(data: bytes, most: int = MAX_MESSAGE) -> Message:
    """Reads one message of at most so many bytes; MessageError if it is none."""
    if len(data) > most:
        raise MessageError(INVALID_REQUEST, f"a message of more than {most} bytes")
    data = data.strip(b" \t\r\n")
    try:
        value = parse_any(data, "the message")
    except FormatError as error:
        raise MessageError(PARSE_ERROR, str(error)) from None
    if isinstance(value, list):
        raise MessageError(INVALID_REQUEST, "a batch: send one message at a time")
    if not isinstance(value, dict):
        raise MessageError(INVALID_REQUEST, "expected a JSON object")
    return _message(data, value)


def misspelt(members: Iterable[str], names: Mapping[str, str]) -> str | None:
    """What is wrong with a member that is one of `names` but for its case; None if none is.

    Here it is another member; the readers of Go and .NET take it for that one unless they are told
    otherwise, and of two the last.

    Args:
        members: Names of an object's members.
        names: Those that are read here, see `by_case`.
    """
    for name in members:
        if (meant := names.get(name.casefold())) not in (None, name):
            return f"{name[:64]!a} is no name here: some servers read it as {meant}"
    return None


def by_case(*names: str) -> Mapping[str, str]:
    """Names by their folded case, as `misspelt` takes them."""
    return {one.casefold(): one for one in names}


_MEMBERS: Final = by_case("jsonrpc", "id", "method", "params", "result", "error")


def _message(data: bytes, value: dict[str, Any]) -> Message:
    id_ = value.get("id")
    has_id = "id" in value
    known: Id | None = id_ if _is_id(id_) else None
    if wrong := misspelt(value, _MEMBERS):
        raise MessageError(INVALID_REQUEST, wrong, known)
    if value.get("jsonrpc") != "2.0":
        raise MessageError(INVALID_REQUEST, 'jsonrpc: expected "2.0"', known)
    if "method" not in value:
        if ("result" in value) is ("error" in value):
            raise MessageError(INVALID_REQUEST, "neither a request nor one response", known)
        # An error that answers nothing in particular has an id of null.
        if not has_id or (known is None and not (id_ is None and "error" in value)):
            raise MessageError(INVALID_REQUEST, "id: expected that of a request")
        return Message("response", data, known, "", {}, value)
    if "result" in value or "error" in value:
        raise MessageError(INVALID_REQUEST, "both a request and a response", known)
    method, params = value["method"], value.get("params", {})
    if not isinstance(method, str) or not method:
        raise MessageError(INVALID_REQUEST, "method: expected a name", known)
    if has_id and known is None:
        raise MessageError(INVALID_REQUEST, "id: expected a string or an integer")
    if not isinstance(params, dict):
        raise MessageError(INVALID_PARAMS, "params: expected an object", known)
    if not isinstance(params.get("_meta", {}), dict):
        raise MessageError(INVALID_PARAMS, "params._meta: expected an object", known)
    kind: Kind = "request" if has_id else "notification"
    return Message(kind, data, known, method, params, value)


def _is_id(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_ID
    return isinstance(value, int) and not isinstance(value, bool) and value.bit_length() <= 64


def with_meta(message: Message, key: str, value: dict[str, Any] | None) -> bytes:
    """A request with a member of `params._meta` set, or without it; all else is as it came."""
    meta = cast("dict[str, Any]", message.params.get("_meta", {}))
    if value is None and key not in meta:
        return message.data
    others = {name: one for name, one in meta.items() if name != key}
    changed = others if value is None else {**others, key: value}
    return encode({**message.value, "params": {**message.params, "_meta": changed}})


def with_whole_numbers(message: Message) -> Message:
    """A call with those numbers in its arguments that records have: 10 for 10.0.

    So what is asked, and what a tool gets with its permit, are one; the bytes that came stay.
    """
    given = message.params.get("arguments")
    if not isinstance(given, dict):
        return message
    params = {**message.params, "arguments": whole_numbers(given)}
    return replace(message, params=params, value={**message.value, "params": params})


def encode(value: object) -> bytes:
    """JSON text of one line; a lone surrogate stays the escape that it came as."""
    try:
        return encode_any(value)
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def error_answer(id_: Id | None, code: int, message: str, data: object = None) -> bytes:
    """An error response."""
    told: dict[str, Any] = {"code": code, "message": _printable(message)}
    if data is not None:
        told["data"] = data
    return encode({"jsonrpc": "2.0", "id": id_ if _encodes(id_) else None, "error": told})


def _encodes(id_: Id | None) -> bool:
    return not isinstance(id_, str) or _printable(id_) == id_


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
