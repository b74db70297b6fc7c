"""OCSF 1.8.0: decisions as API Activity (6003), every other record as a Base Event (0).

A decision says who asked for which operation on what, and what came of it: `action_id` and
`disposition_id` of the profile `security_control`, and `actor.authorizations`. The leaf is in
`raw_data`, verbatim, with its SHA-256. `metadata.uid` names the event for ever, `metadata.sequence`
is the leaf index and `metadata.log_name` the log's origin. OCSF 1.9 (in development) has a profile
`record_integrity`; its attestations are over the OCSF event, and what a log signs are leaves, so
that it does not fit.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

import msgspec

from muniment.export.cloudevents import about, kind_of, traceparent_of
from muniment.export.forms import Form, withheld_members
from muniment.export.otlp import call_ids, is_alarming
from muniment.export.source import Exported
from muniment.records.kinds import Decision, Outcome, Record, Revocation
from muniment.tlog.encoding import format_base64

VERSION: Final = "1.8.0"
"""Of the schema."""

_OTHER: Final = 99  # of every enum: a value of the source, named beside it

_API_ACTIVITY: Final[Mapping[str, Any]] = {
    "category_uid": 6,
    "category_name": "Application Activity",
    "class_uid": 6003,
    "class_name": "API Activity",
    "type_uid": 6003 * 100 + _OTHER,
    "type_name": "API Activity: Other",
}
_BASE_EVENT: Final[Mapping[str, Any]] = {
    "category_uid": 0,
    "category_name": "Uncategorized",
    "class_uid": 0,
    "class_name": "Base Event",
    "type_uid": _OTHER,
    "type_name": "Base Event: Other",
}
_SEVERITY: Final = {False: (1, "Informational"), True: (2, "Low")}
_USER_TYPES: Final = {"user": (1, "User"), "service": (4, "Service")}
_STATUS: Final = {"completed": (1, "Success"), "failed": (2, "Failure")}


def _event(exported: Exported) -> bytes:
    record = exported.record
    severity_id, severity = _SEVERITY[is_alarming(record)]
    members: dict[str, Any] = {
        **_BASE_EVENT,
        "activity_id": _OTHER,
        "activity_name": kind_of(record),
        "severity_id": severity_id,
        "severity": severity,
        "time": record.time,
        "message": _message(record),
        "metadata": _metadata(exported),
        "raw_data": exported.data.decode(),
        "raw_data_size": len(exported.data),
        "raw_data_hash": {
            "algorithm_id": 3,
            "algorithm": "SHA-256",
            "value": sha256(exported.data).hexdigest(),
        },
        "unmapped": {
            "muniment": {
                "origin": exported.origin,
                "index": exported.index,
                "leaf": format_base64(exported.leaf_hash),
                "kind": kind_of(record),
                **withheld_members(exported),
            }
        },
    }
    if isinstance(record, Decision):
        members |= _of_decision(record)
    elif isinstance(record, Outcome):
        members["status_id"], members["status"] = _STATUS.get(
            record.status, (_OTHER, record.status)
        )
    if (denial := getattr(record, "denial", None)) is not None:
        members["status_detail"] = ", ".join(denial.codes)
    return msgspec.json.encode(members)


def _metadata(exported: Exported) -> dict[str, Any]:
    record = exported.record
    profiles: list[str] = []
    if isinstance(record, Decision):
        profiles.append("security_control")
        if record.traceparent is not None:
            profiles.append("trace")
    found: dict[str, Any] = {
        "version": VERSION,
        "product": {"name": "Muniment", "vendor_name": "Muniment"},
        "profiles": profiles,
        "uid": f"{exported.origin}#{exported.index}",
        "original_event_uid": record.id,
        "sequence": exported.index,
        "event_code": kind_of(record),
        "log_name": exported.origin,
        "log_provider": record.producer,
        "correlation_uid": about(record),
    }
    if exported.taken.latest is not None:
        found["logged_time"] = exported.taken.latest * 1000
    return found


def _of_decision(record: Decision) -> dict[str, Any]:
    subject, resource, allowed = record.subject, record.resource, record.allowed
    type_id, type_ = _USER_TYPES.get(subject.type, (_OTHER, subject.type))
    authorization: dict[str, Any] = {"decision": "allowed" if allowed else "denied"}
    if record.artifact is not None:
        policy = record.artifact.policy
        authorization["policy"] = {"uid": policy.id, "version": policy.revision}
    actor = {
        "user": {"uid": subject.id, "type": type_, "type_id": type_id},
        "authorizations": [authorization],
    }
    found: dict[str, Any] = {
        **_API_ACTIVITY,
        "activity_name": record.action,
        "actor": actor,
        "api": {
            "operation": record.action,
            "request": {"uid": call_ids(record).get("call", record.id)},
        },
        "src_endpoint": {"svc_name": record.producer},
        "resources": [{"uid": resource.id, "type": resource.type}],
        "action_id": 1 if allowed else 2,
        "action": "Allowed" if allowed else "Denied",
        "disposition_id": 1 if allowed else 2,
        "disposition": "Allowed" if allowed else "Blocked",
    }
    if (trace := traceparent_of(record)) is not None:
        found["trace"] = {"uid": trace.split("-")[1]}
    return found


def _message(record: Record) -> str:
    match record:
        case Decision():
            word = "allowed" if record.allowed else "denied"
            subject, resource = record.subject, record.resource
            return (
                f"{word}: {subject.type} {subject.id} {record.action} {resource.type} {resource.id}"
            )
        case Outcome():
            return f"run {record.execution}: {record.status}"
        case Revocation():
            return f"revocation: {record.reason}"
        case _:
            return f"{kind_of(record)} {record.id}"


def _body(events: Sequence[bytes]) -> bytes:
    return b"[" + b",".join(events) + b"]"


OCSF: Final = Form(name="ocsf", event=_event, body=_body, media_type=lambda _: "application/json")
"""A JSON array in a request; in a file, an event a line."""
