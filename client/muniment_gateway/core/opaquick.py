"""Usual events of an OPA as records, in a third of the time: their members stay as they are.

OPA writes compact JSON with sorted members, which is what a record needs. So the members of an
event go into its record as text; only those are read that say what it is. Whether what this makes
is a record, a check of it has to tell: it is none when an event has a number, say, that no record
can hold. Then, and for what is unusual, there is `opaevents`; both make the same of an event, byte
for byte.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final, TypedDict

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from muniment.records.canonical import MAX_DEPTH
from muniment_gateway.core.authzen import OWN
from muniment_gateway.core.opaevents import (
    MOST_INPUT,
    MOST_OTHERS,
    MOST_RESULT,
    SOURCE,
    TOLD,
    decide,
    milliseconds,
    name_event,
    refer_to_trace,
    rule_of,
)

_FEW_BRACKETS: Final = MAX_DEPTH // 2 - 2
"""An event with more may have a member that is too deep for a record."""

_SORTED: Final = sorted(TOLD)

_decode: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_encode: Final = msgspec.json.encode
_encode_in_order: Final = msgspec.json.Encoder(order="sorted").encode


class _Told(TypedDict, total=False):
    """What is read of an event; of any type, for whoever may upload may write anything."""

    labels: Any
    decision_id: Any
    path: Any
    custom: Any
    error: Any
    erased: Any
    masked: Any
    result: Any
    timestamp: Any
    trace_id: Any
    span_id: Any


class _Entity(Struct):
    type: str
    id: str
    properties: dict[str, Raw] | UnsetType = UNSET


class _Action(Struct):
    name: str
    properties: dict[str, Raw] | UnsetType = UNSET


class _Request(Struct):
    """What `authzen.check_request` wants of a request."""

    subject: _Entity
    action: _Action
    resource: _Entity
    context: dict[str, Raw] | UnsetType = UNSET


_read: Final = msgspec.json.Decoder(_Told).decode
_check_request: Final = msgspec.json.Decoder(_Request).decode


def compose_record(
    data: bytes, producer: str, client: str, rules: Mapping[str, str]
) -> tuple[bytes, bytes] | None:
    """The name of an event, and its record if that is one; None if the event is unusual.

    Args:
        data: The event's bytes.
        producer: Who writes the record.
        client: As `opaevents.read_event` takes it.
        rules: Likewise.
    """
    if data.count(b"{") + data.count(b"[") > _FEW_BRACKETS:
        return None
    try:
        members = _decode(data)
        if _encode(members) != data:  # it has white space, or a member twice
            return None
        event: Mapping[str, Any] = _read(data)
    except (ValueError, RecursionError):
        return None
    if len(data) > MOST_OTHERS and _is_long(members):
        return None
    name, time = name_event(event, client), milliseconds(event.get("timestamp"))
    if name is None or time is None:
        return None
    decision, reason = decide(event, rules)
    own: dict[str, Any] = {"after_the_fact": True}
    if client:
        own["client"] = client
    own["event"] = {key: members[key] for key in _SORTED if key in members}
    if reason:
        own["reason"] = reason
    if "result" in members:
        own["result"] = members["result"]
    own["sha256"] = sha256(data).hexdigest()
    own["source"] = SOURCE
    record: dict[str, Any] = {}  # its members have to be in order
    if decision is not True:
        code = "denied_by_policy" if decision is False else "could_not_evaluate"
        record["denial"] = {"codes": [code]}
    record["id"] = f"opa-{name.hex()[:48]}"
    record["kind"] = "decision"
    record["producer"] = producer
    record["request"] = _request(members.get("input"), event)
    record["response"] = {"context": _context(members, event, own), "decision": decision is True}
    record["time"] = time
    if (trace := refer_to_trace(event)) is not None:
        record["traceparent"] = trace
    record["v"] = 1
    try:
        return name, _encode(record)
    except ValueError:  # a surrogate, from an escape
        return None


def put_in_order(record: bytes) -> bytes:
    """Sorts the members of all objects of a record; as it is if that would change anything else."""
    value = msgspec.json.decode(record)
    return _encode_in_order(value) if _encode(value) == record else record


def _is_long(members: Mapping[str, Raw]) -> bool:
    """Whether a member that is recorded has to be left out, for its length."""
    most = {"input": MOST_INPUT, "result": MOST_RESULT} | dict.fromkeys(TOLD, MOST_OTHERS)
    return any(len(memoryview(members[key])) > most[key] for key in members.keys() & most.keys())


def _context(
    members: Mapping[str, Raw], event: Mapping[str, Any], own: Mapping[str, Any]
) -> Mapping[str, Any]:
    """What a result has as AuthZEN's context, and what we say."""
    result = event.get("result")
    if not isinstance(result, dict) or not isinstance(result.get("context"), dict):
        return {OWN: own}
    context: dict[str, Any] = _decode(_decode(members["result"])["context"])
    context[OWN] = own
    return dict(sorted(context.items()))


def _request(given: Raw | None, event: Mapping[str, Any]) -> Raw | dict[str, Any]:
    if given is not None:
        try:
            _check_request(given)
        except ValueError:
            pass
        else:
            return given
    return {
        "action": {"name": "query"},
        "context": {} if given is None else {"input": given},
        "resource": {"id": rule_of(event), "type": "opa.rule"},
        "subject": {"id": "unknown", "type": "client"},
    }
