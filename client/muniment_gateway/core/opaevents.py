"""What an OPA uploads of its decisions, as records: evidence after the fact, and each one says so.

https://www.openpolicyagent.org/docs/management-decision-logs. An event is a decision when a rule is
configured for its path, and the rule's result has a boolean where that says; no other result is
taken for one. What no record can hold is left out of it, with its size and digest.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

import msgspec

from muniment.records.canonical import BRACKET_OR_STRING
from muniment.records.submission import is_traceparent
from muniment.records.times import EARLIEST, LATEST
from muniment.tlog.encoding import FormatError
from muniment_gateway.core.anyjson import Recordable, read_any
from muniment_gateway.core.authzen import OWN, check_request
from muniment_gateway.core.pointers import resolve

SOURCE: Final = "opa-decision-log"

MAX_INFLATED: Final = 64 << 20
"""Bytes of one upload without its coding: OPA's own chunks are 32 KiB with it, by default."""

MOST_INPUT: Final = 24 << 10
MOST_RESULT: Final = 8 << 10
MOST_OTHERS: Final = 2 << 10
"""Bytes of canonical JSON of an input, a result, and each other member that is recorded as it is:
all of them together are less than a record may have."""

TOLD: Final = (
    *("decision_id", "labels", "path", "query", "bundles", "revision", "error"),
    *("erased", "masked", "timestamp", "trace_id", "span_id", "req_id", "nd_builtin_cache"),
)
"""Members that are recorded. Not those of the client's address and headers, nor the metrics."""

FILTER: Final = "open-policy-agent/compile"
"""`custom.type` of an event of OPA's Compile API: its result is a filter, or none for "no row"."""

_SPACE: Final = re.compile(rb"[\s,]*")


@dataclass(frozen=True, slots=True)
class OpaEvent:
    """An event as a record.

    Attributes:
        name: What it is recognised by when it comes again: 32 bytes.
        members: The members of its record, without producer and version.
        original: The event's bytes as they came, when the record does not have all of it.
    """

    name: bytes
    members: dict[str, Any]
    original: bytes | None


def split_events(data: bytes) -> list[bytes]:
    """The bytes of each event of an upload, which is a JSON array.

    Raises FormatError if it is none, so that nobody can tell where one ends.
    """
    try:
        return [bytes(one) for one in msgspec.json.decode(data, type=list[msgspec.Raw])]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return list(_objects(data))


def _objects(data: bytes) -> Iterator[bytes]:
    """The objects of an array, by its brackets alone: whatever is wrong, or deep, within them."""
    text = data.strip()
    if not (text.startswith(b"[") and text.endswith(b"]")):
        raise FormatError("not a JSON array")
    depth, start, end = 0, 0, 1
    for found in BRACKET_OR_STRING.finditer(text):
        char = found[0]
        if char in b"[{" and len(char) == 1:
            depth += 1
            if depth == 2:
                start = found.start()
        elif char in b"]}" and len(char) == 1:
            depth -= 1
            if depth == 1:
                if not _SPACE.fullmatch(text, end, start):
                    raise FormatError("not a JSON array of objects")
                end = found.end()
                yield text[start:end]
            elif depth == 0 and found.end() != len(text):
                raise FormatError("more than one JSON value")
    if depth or not _SPACE.fullmatch(text, end, len(text) - 1):
        raise FormatError("not a JSON array of objects")


def read_event(data: bytes, client: str, rules: Mapping[str, str]) -> OpaEvent:
    """Makes a record of an event; whatever it is, there is one.

    Args:
        data: The event's bytes.
        client: Who uploaded it, by its token: an OPA's own word on who it is could be another's.
        rules: By the path of each rule, the pointer from its result to its boolean.
    """
    digest = sha256(data).hexdigest()
    try:
        event, kept = read_any(data, "the event")
        if not isinstance(event, dict):
            raise FormatError("the event: not an object")
    except FormatError as error:
        return unreadable_event(data, client, str(error))
    name = name_event(event, client) or sha256(data).digest()
    decision, reason = decide(event, rules)
    told = {key: kept(event[key], MOST_OTHERS) for key in TOLD if key in event}
    own: dict[str, Any] = {"source": SOURCE, "after_the_fact": True, "event": told}
    own["sha256"] = digest
    if client:
        own["client"] = client
    if reason:
        own["reason"] = reason
    if "result" in event:
        own["result"] = kept(event["result"], MOST_RESULT)
    request = _request(event, kept)
    context = {**_context(event, kept), OWN: own}
    members: dict[str, Any] = {
        "kind": "decision",
        "id": f"opa-{name.hex()[:48]}",
        "request": request,
        "response": {"decision": decision is True, "context": context},
    }
    if decision is not True:
        code = "denied_by_policy" if decision is False else "could_not_evaluate"
        members["denial"] = {"codes": [code]}
    if (time := milliseconds(event.get("timestamp"))) is not None:
        members["time"] = time
    if (trace := refer_to_trace(event)) is not None:
        members["traceparent"] = trace
    return OpaEvent(name, members, data if kept.is_cut else None)


def unreadable_upload(data: bytes, client: str, reason: str) -> OpaEvent:
    """The record of an upload in which no event can be told from another."""
    return _unreadable(data, client, reason, "opa.upload")


def unreadable_event(data: bytes, client: str, reason: str) -> OpaEvent:
    """The record of an event of which there can be no other record."""
    return _unreadable(data, client, reason, "opa.event")


def _unreadable(data: bytes, client: str, reason: str, kind: str) -> OpaEvent:
    digest = sha256(data)
    own = {
        "source": SOURCE,
        "after_the_fact": True,
        "sha256": digest.hexdigest(),
        "size": len(data),
        "reason": reason[:500],
        **({"client": client} if client else {}),
    }
    name = sha256(b"unreadable\n" + client.encode() + b"\n" + digest.digest()).digest()
    members = {
        "kind": "decision",
        "id": f"opa-{name.hex()[:48]}",
        "request": {
            "subject": {"type": "client", "id": client or "unknown"},
            "action": {"name": "upload"},
            "resource": {"type": kind, "id": digest.hexdigest()},
        },
        "response": {"decision": False, "context": {OWN: own}},
        "denial": {"codes": ["could_not_evaluate"]},
    }
    return OpaEvent(name, members, data)


def name_event(event: Mapping[str, Any], client: str) -> bytes | None:
    """What an event is known by: the client, OPA's own id and that of the decision."""
    labels, id_ = event.get("labels"), event.get("decision_id")
    own = labels.get("id") if isinstance(labels, dict) else None
    if not isinstance(id_, str) or not id_:
        return None
    own = own if isinstance(own, str) else ""
    text = f"{len(client)}:{client}{len(own)}:{own}{len(id_)}:{id_}"
    return sha256(text.encode("utf-8", "surrogatepass")).digest()


def decide(event: Mapping[str, Any], rules: Mapping[str, str]) -> tuple[bool | None, str]:
    """The rule's answer; None, with a reason, when there is none, or nobody can tell it."""
    if event.get("error"):
        return None, "the evaluation failed"
    custom = event.get("custom")
    if isinstance(custom, dict) and custom.get("type") == FILTER:
        return None, "a filter was compiled, and nothing decided"
    path = event.get("path")
    pointer = rules.get(path.strip("/")) if isinstance(path, str) else None
    if pointer is None:
        return None, "no rule is configured for this path"
    if "result" not in event:
        return None, "the rule is undefined for this input"
    place = f"/result{pointer}"
    hidden = [*_list(event.get("erased")), *_list(event.get("masked"))]
    if any(_within(place, one) or _within(one, place) for one in hidden if isinstance(one, str)):
        return None, "the result was masked"
    try:
        found = resolve(event["result"], pointer)
    except LookupError:
        return None, f"the result has nothing at {pointer}"
    if not isinstance(found, bool):
        return None, "the result is not a boolean"
    return found, ""


def _request(event: Mapping[str, Any], kept: Recordable) -> dict[str, Any]:
    given = event.get("input")
    if isinstance(given, dict):
        try:
            request = check_request(given)
        except FormatError:
            pass
        else:
            if kept(request, MOST_INPUT) is request:
                return dict(request)
            return {
                "subject": _entity(request["subject"]),
                "action": {"name": _text(request["action"]["name"])},
                "resource": _entity(request["resource"]),
                "context": {"input": kept(request, MOST_INPUT)},
            }
    context = {"input": kept(given, MOST_INPUT)} if "input" in event else {}
    return {
        "subject": {"type": "client", "id": "unknown"},
        "action": {"name": "query"},
        "resource": {"type": "opa.rule", "id": rule_of(event)},
        "context": context,
    }


def rule_of(event: Mapping[str, Any]) -> str:
    """The rule that was asked for, as the id of a resource."""
    path = event.get("path")
    return _text(path.strip("/") if isinstance(path, str) else "query")


def _entity(entity: Mapping[str, Any]) -> dict[str, str]:
    return {"type": _text(entity["type"]), "id": _text(entity["id"])}


def _text(text: str) -> str:
    """A text that a record has to have, in what it can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")[:256]


def _context(event: Mapping[str, Any], kept: Recordable) -> dict[str, Any]:
    """The context that a result has, as AuthZEN's."""
    result = event.get("result")
    context = result.get("context") if isinstance(result, dict) else None
    if not isinstance(context, dict):
        return {}
    found: dict[str, Any] = kept(context, MOST_OTHERS)
    return found


def refer_to_trace(event: Mapping[str, Any]) -> str | None:
    """The span of an event's trace, as a record refers to it; None without one."""
    if "trace_id" not in event:
        return None
    trace = f"00-{event['trace_id']}-{event.get('span_id')}-01"
    return trace if is_traceparent(trace) else None


def milliseconds(text: object) -> int | None:
    """RFC 3339 with nanoseconds as Unix milliseconds; None when it is none, or no likely time."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)  # what is finer than microseconds is dropped
        seconds = moment.timestamp()
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None or not EARLIEST <= seconds < LATEST:
        return None
    return int(seconds * 1000)


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else []


def _within(path: str, place: str) -> bool:
    return path == place or path.startswith(place + "/")
