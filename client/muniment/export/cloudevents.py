"""CloudEvents 1.0.2: a record as an event in the JSON format, several as a batch over HTTP.

`source` and `id` name the event for ever: the log's origin and the leaf index. Whoever gets an
event twice knows it by them ("Consumers MAY assume that Events with identical source and id are
duplicates").
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

import msgspec

from muniment.export.forms import Form, plain_members
from muniment.export.source import Exported
from muniment.records.kinds import Decision, Outcome, Record, Verification
from muniment.tlog.encoding import format_base64

TYPE_PREFIX: Final = "dev.muniment."
"""Before the kind of a record in the `type` of its event."""

_URI_SAFE: Final = "/:@!$&'()*+,;=-._~"  # of a host and a path: RFC 3986


def source_of(origin: str) -> str:
    """A log's origin as a URI reference with an authority (RFC 3986 section 4.2)."""
    return f"//{quote(origin, safe=_URI_SAFE)}"


def timestamp(milliseconds: int) -> str:
    """A point in time as RFC 3339 has it, in UTC."""
    when = datetime.fromtimestamp(milliseconds // 1000, UTC)
    return f"{when:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03}Z"


def about(record: Record) -> str:
    """What a record is about: the run of which it tells, or itself."""
    match record:
        case (
            Decision(execution=str() as run) | Outcome(execution=run) | Verification(execution=run)
        ):
            return f"run/{run}"
        case _:
            return f"{kind_of(record)}/{record.id}"


def kind_of(record: Record) -> str:
    """The `kind` of a record."""
    return type(record).__name__.lower()


def traceparent_of(record: Record) -> str | None:
    """The W3C trace context that a record states."""
    return getattr(record, "traceparent", None)


def _event(exported: Exported) -> bytes:
    record = exported.record
    members: dict[str, Any] = {
        "specversion": "1.0",
        "id": str(exported.index),
        "source": source_of(exported.origin),
        "type": TYPE_PREFIX + kind_of(record),
        "subject": about(record),
        "time": timestamp(record.time),
        "datacontenttype": "application/json",
        "leafhash": format_base64(exported.leaf_hash),
    }
    if (trace := traceparent_of(record)) is not None:
        members["traceparent"] = trace  # the extension "distributed tracing"
    return msgspec.json.encode({**members, "data": plain_members(exported)})


def _body(events: Sequence[bytes]) -> bytes:
    return events[0] if len(events) == 1 else b"[" + b",".join(events) + b"]"


def _media_type(count: int) -> str:
    batch = "" if count == 1 else "-batch"
    return f"application/cloudevents{batch}+json; charset=UTF-8"


CLOUD_EVENTS: Final = Form(name="cloudevents", event=_event, body=_body, media_type=_media_type)
"""Structured mode for a lone event, batched mode for several; a file has one event a line."""
