"""OTLP 1.x logs in their JSON encoding (opentelemetry-proto): a record as a log record, an event.

The JSON is that of protobuf with OTLP's own rules: names in lowerCamelCase, trace and span ids in
hexadecimal digits, enums as numbers, 64-bit integers as decimal strings. A log record is an event
with the name `muniment.` and the kind. Its body is the leaf verbatim, so that it can be hashed.
`log.record.uid` of the semantic conventions is what makes a second copy known as one. There is no
convention for decisions (semantic-conventions#4022): the attributes `muniment.…` are our own, and
those of `gen_ai.…` are there to join a tool call's telemetry with its decision.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from muniment.export.cloudevents import kind_of, traceparent_of
from muniment.export.forms import Form, Rejected
from muniment.export.source import Exported
from muniment.records.kinds import Approval, Decision, Outcome, Record, Revocation, Verification
from muniment.tlog.encoding import FormatError, format_base64

_INFO: Final = (9, "INFO")
_WARN: Final = (13, "WARN")

_BEFORE: Final = (
    b'{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":'
    b'{"stringValue":"muniment"}}]},"scopeLogs":[{"scope":{"name":"muniment.export"},"logRecords":['
)
_AFTER: Final = b"]}]}]}"

_AGAIN: Final = frozenset({429, 502, 503, 504})
"""OTLP/HTTP, "Retryable Response Codes"; after others the same request MUST NOT be sent again."""


def attributes_of(exported: Exported) -> dict[str, str | int | bool | Sequence[str]]:
    """The attributes of a record, by name."""
    record = exported.record
    found: dict[str, str | int | bool | Sequence[str] | None] = {
        "log.record.uid": f"{exported.origin}#{exported.index}",
        "muniment.origin": exported.origin,
        "muniment.index": exported.index,
        "muniment.leaf": format_base64(exported.leaf_hash),
        "muniment.id": record.id,
        "muniment.producer": record.producer,
        "muniment.run": getattr(record, "execution", None),
    }
    match record:
        case Decision():
            found |= _of_decision(record)
        case Outcome():
            found["muniment.outcome.status"] = record.status
        case Verification():
            found["muniment.verification.state"] = record.state
        case Approval():
            found["muniment.approval.allowed"] = record.approval.decision
            found["muniment.approval.approver"] = record.approval.approver
        case _:
            pass
    if (denial := getattr(record, "denial", None)) is not None:
        found["muniment.denial.codes"] = denial.codes
    if (withholding := exported.withholding) is not None:
        found["muniment.withheld"] = withholding.withheld
        found["muniment.erased"] = tuple(dict(withholding.erased))
    return {name: value for name, value in found.items() if value is not None and value != ()}


def _of_decision(record: Decision) -> dict[str, str | bool | None]:
    subject, resource = record.subject, record.resource
    found: dict[str, str | bool | None] = {
        "muniment.decision.allowed": record.allowed,
        "muniment.subject.type": subject.type,
        "muniment.subject.id": subject.id,
        "muniment.action": record.action,
        "muniment.resource.type": resource.type,
        "muniment.resource.id": resource.id,
    }
    if record.artifact is not None:
        found["muniment.policy.id"] = record.artifact.policy.id
        found["muniment.policy.revision"] = record.artifact.policy.revision
    if subject.type == "agent":
        found["gen_ai.agent.id"] = subject.id
    if resource.type == "tool":
        found["gen_ai.operation.name"] = "execute_tool"
        found["gen_ai.tool.name"] = resource.id
    ids = call_ids(record)
    found["gen_ai.tool.call.id"] = ids.get("call")
    found["gen_ai.conversation.id"] = ids.get("session")
    found["user.id"] = ids.get("user")
    return found


def call_ids(record: Decision) -> Mapping[str, str]:
    """The ids that a call of a tool states, as far as they are in the record and are text."""
    context = record.request.get("context")
    ids = context.get("ids") if isinstance(context, dict) else None
    if not isinstance(ids, dict):
        return {}
    return {name: value for name, value in ids.items() if isinstance(value, str)}


def is_alarming(record: Record) -> bool:
    """Whether somebody was kept from something, or something did not go as it should."""
    match record:
        case Decision():
            return not record.allowed
        case Outcome():
            return record.status in ("failed", "aborted")
        case Verification():
            return record.state == "failed"
        case Approval():
            return not record.approval.decision
        case _:
            return isinstance(record, Revocation)


def _value(value: str | int | bool | Sequence[str]) -> dict[str, Any]:  # noqa: FBT001 - JSON
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case str():
            return {"stringValue": value}
        case _:
            return {"arrayValue": {"values": [{"stringValue": one} for one in value]}}


def _event(exported: Exported) -> bytes:
    record = exported.record
    number, text = _WARN if is_alarming(record) else _INFO
    members: dict[str, Any] = {
        "timeUnixNano": str(record.time * 1_000_000),
        "severityNumber": number,
        "severityText": text,
        "eventName": f"muniment.{kind_of(record)}",
        "body": {"stringValue": exported.data.decode()},
        "attributes": [
            {"key": name, "value": _value(value)} for name, value in attributes_of(exported).items()
        ],
    }
    if exported.taken.latest is not None:
        # When the log is known to have had it: that it was observed then, witnesses attest.
        members["observedTimeUnixNano"] = str(exported.taken.latest * 1_000_000_000)
    if (trace := traceparent_of(record)) is not None:
        _, members["traceId"], members["spanId"], flags = trace.split("-")
        members["flags"] = int(flags, 16)
    return msgspec.json.encode(members)


def _request(events: Sequence[bytes]) -> bytes:
    return _BEFORE + b",".join(events) + _AFTER


class _PartialSuccess(msgspec.Struct, rename="camel"):
    rejected_log_records: int | str = 0
    error_message: str = ""


class _Response(msgspec.Struct, rename="camel"):
    partial_success: _PartialSuccess | None = None


def _rejected(body: bytes) -> Rejected:
    """Reads an ExportLogsServiceResponse.

    An empty body is one without members, as of a receiver that has nothing to say.
    """
    try:
        part = msgspec.json.decode(body or b"{}", type=_Response).partial_success
        if part is None:
            return Rejected()
        return Rejected(int(part.rejected_log_records), part.error_message)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise FormatError(f"the answer is no ExportLogsServiceResponse: {error}") from None


OTLP: Final = Form(
    name="otlp",
    event=_event,
    body=_request,
    media_type=lambda _: "application/json",
    line=_request,
    retriable=_AGAIN,
    path="/v1/logs",
    rejected=_rejected,
)
"""OTLP/HTTP with JSON; in a file, a line is a request (OTLP file exporter)."""
