"""Plain JSON made into records: what curl, an OPA server or NDJSON brings.

Accepted, besides records that lack common members, are OpenID AuthZEN 1.0 evaluation pairs, and
the lines of the AuthZEN interop suite, which state the expected decision in place of a response.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from msgspec import ValidationError, convert

from muniment.records.canonical import (
    BRACKET_OR_STRING,
    MAX_DEPTH,
    MAX_RECORD,
    parse_json,
)
from muniment.records.codec import RecordError, encode_members
from muniment.records.members import Traceparent
from muniment.tlog.encoding import FormatError

MAX_SPELLING: Final = 4 * MAX_RECORD
"""Longest spelling of one record, in bytes: a canonical one with all of it escaped or indented. As
values in memory JSON takes up to thirty times its size, so that only one record is at a time."""

_FILLED_IN: Final = frozenset({"v", "kind", "id", "time", "producer"})
_OPTIONAL: Final = _FILLED_IN | {
    "execution",
    "denial",
    "artifact",
    "signatures",
    "addenda",
    "kept",
    "inputs",
    "outputs",
}
_OPTIONAL_OF: Final = {"erasure": _OPTIONAL | {"reason"}}  # others have to give a reason
_PARTS: Final = {
    "from": frozenset({"origin", "index", "leaf"}),
    "to": frozenset({"origin", "index", "leaf"}),
    "target": frozenset({"decision", "execution", "key"}),
}
"""The members of a record's parts that may be absent. Not those of an artifact: what narrows an
authorization must not be lost because somebody did not know it."""

_EVALUATION: Final = {"request": ("subject", "action", "resource"), "response": ()}
_SPACES: Final = re.compile(rb"[ \t\r\n]*+")


def complete_record(data: bytes, *, producer: str, now_ms: int, new_id: Callable[[], str]) -> bytes:
    """Completes one JSON object to a record, and brings it into canonical form.

    Fills in `v`, `id`, `time` and `producer` where they are missing. An object without `kind` is
    read by `decision_of_evaluation`. Nothing that is there is changed; but two things are taken as
    absent. One is null in a member that may be absent, AuthZEN's `properties` and `context`
    included, those inside of an artifact not: some languages spell absence so. The other is a
    `traceparent` that is none by W3C Trace Context: it came from somebody else, and serves
    correlation only. `now_ms` are the Unix milliseconds of a record without a time; `new_id` makes
    an id that is unique for the producer. Raises FormatError if the text is not an I-JSON object,
    states another producer, or is not a valid record when completed; the message names the member.
    """
    value = parse_json(data, "record", most=MAX_SPELLING)
    return _complete(value, producer=producer, now_ms=now_ms, new_id=new_id)


def split_records(data: bytes) -> Iterator[bytes]:
    """Cuts a JSON array of objects into the objects' texts, or gives back the text of one object.

    One text at a time, and nothing is decoded: whatever the array holds, it takes no memory. Its
    length is the caller's to bound. Raises RecordError for an element that is no object or longer
    than MAX_SPELLING bytes, with its number from 0, when its turn has come; FormatError if the text
    is neither object nor array, or an empty array, or when it ends or goes on where it should not.
    What is between the brackets of an object is not looked at.
    """
    at = _after_space(data, 0)
    if data[at : at + 1] == b"{":
        yield data
        return
    if data[at : at + 1] != b"[":
        raise FormatError("records: expected an array or an object")
    if data[at := _after_space(data, at + 1)] == ord("]"):
        raise FormatError("records: an empty array")
    number = 0
    while True:
        end = _end_of_object(data, at, number)
        yield data[at:end]
        number += 1
        at = _after_space(data, end)
        if data[at] != ord(","):
            break
        at = _after_space(data, at + 1)
    if data[at] != ord("]"):
        raise FormatError(f"records: not JSON at byte {at}: expecting ',' or ']'")
    if not _SPACES.fullmatch(data, at + 1):
        raise FormatError(f"records: not JSON at byte {at + 1}: extra data")


def split_ndjson(data: bytes) -> Iterator[bytes]:
    """Cuts newline-delimited JSON into its lines, without those of white space alone."""
    at = 0
    while True:
        found = _SPACES.match(data, at)  # many blank lines at once
        at = found.end() if found else at
        if at == len(data):
            return
        end = data.find(b"\n", at)
        end = len(data) if end < 0 else end
        yield data[at:end]
        at = end


def _after_space(data: bytes, at: int) -> int:
    found = _SPACES.match(data, at)
    at = found.end() if found else at
    if at == len(data):
        raise FormatError(f"records: not JSON at byte {at}: it ends early")
    return at


def _end_of_object(data: bytes, start: int, number: int) -> int:
    if data[start] != ord("{"):
        raise RecordError(number, "expected an object")
    depth = 0
    for match in BRACKET_OR_STRING.finditer(data, start, start + MAX_SPELLING):
        token = match[0]
        if token in (b"{", b"["):
            depth += 1
            if depth > MAX_DEPTH:
                raise RecordError(number, f"more than {MAX_DEPTH} levels deep")
        elif token in (b"}", b"]"):
            depth -= 1
            if not depth:
                return match.end()
    if len(data) > start + MAX_SPELLING:
        raise RecordError(number, f"more than {MAX_SPELLING} bytes")
    raise FormatError(f"records: not JSON at byte {len(data)}: it ends early")


def decision_of_evaluation(members: dict[str, Any]) -> dict[str, Any]:
    """Makes the members of a decision record of an AuthZEN evaluation.

    Two forms are read; further members that a decision may have (`execution`, `artifact`, …) stay:

    - ``{"request": {…}, "response": {"decision": …, …}}``: request and response verbatim;
    - ``{"request": {…}, "expected": true|false}``, the AuthZEN interop suite's: the response is
      ``{"decision": expected}``.

    A decision of false without a denial gets the code `denied_by_policy`, the plain no. Raises
    FormatError if the object has neither form.
    """
    rest = dict(members)
    request = rest.pop("request", None)
    if "expected" in rest and "response" in rest:
        raise FormatError("expected: not together with response")
    response = {"decision": rest.pop("expected")} if "expected" in rest else rest.pop("response", 0)
    if not isinstance(request, dict) or not isinstance(response, dict):
        raise FormatError("kind: missing, and there is no AuthZEN request with a response")
    if response.get("decision") is False:
        rest.setdefault("denial", {"codes": ["denied_by_policy"]})
    return {"kind": "decision", "request": request, "response": response, **rest}


def without_absent(members: dict[str, Any]) -> dict[str, Any]:
    """The members of a record without those that only spell absence, see `complete_record`."""
    kind = members.get("kind")
    optional = _OPTIONAL_OF.get(kind, _OPTIONAL) if isinstance(kind, str) else _OPTIONAL
    kept = {
        name: value
        for name, value in members.items()
        if not (name in optional and value is None)
        and not (name == "traceparent" and not is_traceparent(value))
    }
    for name, parts in _EVALUATION.items():
        if isinstance(kept.get(name), dict):
            kept[name] = _evaluation(kept[name], parts)
    for name, parts_ in _PARTS.items():
        part = kept.get(name)
        if isinstance(part, dict):
            kept[name] = {
                member: value
                for member, value in part.items()
                if not (member in parts_ and value is None)
            }
    return kept


def is_traceparent(value: Any) -> bool:
    """Whether a value is a `traceparent` of W3C Trace Context, version 00."""
    try:
        convert(value, Traceparent)
    except ValidationError:
        return False
    return True


def _evaluation(value: dict[str, Any], parts: tuple[str, ...]) -> dict[str, Any]:
    """A request or a response without the null in its context, or in the properties of a part."""
    kept = {name: one for name, one in value.items() if not (name == "context" and one is None)}
    for part in parts:
        one = kept.get(part)
        if isinstance(one, dict) and one.get("properties", 0) is None:
            kept[part] = {name: each for name, each in one.items() if name != "properties"}
    return kept


def _complete(value: Any, *, producer: str, now_ms: int, new_id: Callable[[], str]) -> bytes:
    if not isinstance(value, dict):
        raise FormatError("record: expected an object")
    try:
        value = without_absent(value)
        members = value if "kind" in value else decision_of_evaluation(value)
        if members.get("producer", producer) != producer:
            raise FormatError(f"producer: expected {producer!a}, or none")
        common = {"v": 1, "time": now_ms, "producer": producer}
        if "id" not in members:
            common["id"] = new_id()
    except FormatError as error:
        raise FormatError(f"record: {error}") from None
    return encode_members(common | members)
