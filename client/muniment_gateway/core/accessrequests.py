"""AuthZEN's access requests: what a submission asks for, and what its task says of it. Pure.

A submission is about one denied evaluation, or about several items. The task of several is named by
the ids of all of them, so it needs no place of its own.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from muniment.records.approval import UNBOUND
from muniment.records.canonical import encode_canonical
from muniment.tlog.encoding import FormatError
from muniment_gateway.core.approvals import Held

MOST_ITEMS: Final = 16
"""Most items of one submission."""

MOST_STATE: Final = 4096
"""Longest `state` of a callback, in bytes of canonical JSON."""

_BUNDLE: Final = "arb."  # before the ids of the items of a task
_BETWEEN: Final = "."
_BOUND: Final = ("subject", "resource", "action")
_STATUS: Final = {
    "requestable": "pending",
    "pending": "pending",
    "approved": "approved",
    "used": "approved",
    "lapsed": "approved",
    "denied": "denied",
    "expired": "expired",
    "cancelled": "cancelled",
}
_TITLES: Final = {
    "pending": "People were asked",
    "approved": "Approved",
    "denied": "Denied",
    "expired": "Nobody has decided in time",
    "cancelled": "Taken back",
    "partial": "Some are approved, or over otherwise, and others not",
}


class Callback(NamedTuple):
    """Who is to be told that a task is over: where, with what state, and of which ends.

    Without `events` it is all of them.
    """

    endpoint: str
    state: Any = None
    events: frozenset[str] = frozenset()

    def wants(self, status: str) -> bool:
        """Whether it is told of an end."""
        return not self.events or status in self.events


class AccessRequestSubmission(NamedTuple):
    """What is asked for: one denied request each, with its denial, and what people are shown."""

    requests: list[dict[str, Any]]
    shown: list[dict[str, Any]]
    is_bundle: bool
    callback: Callback | None = None

    @property
    def evaluations(self) -> list[str]:
        """The ids of the decisions that have denied them."""
        return [one["denial"]["evaluation_id"] for one in self.requests]


def parse_submission(value: object) -> AccessRequestSubmission:
    """Reads a submission; FormatError, which names the member, if it is none."""
    if not isinstance(value, dict):
        raise FormatError("expected a JSON object")
    callback = _callback(value["callback"]) if "callback" in value else None
    if "items" not in value:
        _check(value, "")
        return AccessRequestSubmission(
            [value], [_shown(value, {})], is_bundle=False, callback=callback
        )
    for name in ("resource", "action"):
        if name in value:
            raise FormatError(f"{name}: each item has its own")
    items = value["items"]
    if not isinstance(items, list) or not 0 < len(items) <= MOST_ITEMS:
        raise FormatError(f"items: expected an array of 1 to {MOST_ITEMS}")
    whole = {name: one for name, one in value.items() if name not in {"items", "denial"}}
    requests = []
    for number, item in enumerate(items):
        if not isinstance(item, dict):
            raise FormatError(f"items[{number}]: expected an object")
        request = {**whole, **{name: item.get(name) for name in ("resource", "action", "denial")}}
        _check(request, f"items[{number}]: ")
        requests.append(request)
    shown = [_shown(value, item) for item in items]
    found = AccessRequestSubmission(requests, shown, is_bundle=True, callback=callback)
    if len(set(found.evaluations)) != len(items):
        raise FormatError("items: two have the same denial")
    return found


def _callback(value: object) -> Callback:
    if not isinstance(value, dict):
        raise FormatError("callback: expected an object")
    endpoint, events = value.get("endpoint"), value.get("events", [])
    if not isinstance(endpoint, str):
        raise FormatError("callback.endpoint: expected an https URL")
    if not isinstance(events, list) or not all(isinstance(one, str) for one in events):
        raise FormatError("callback.events: expected an array of names")
    state = value.get("state")
    if len(encode_canonical(state)) > MOST_STATE:
        raise FormatError(f"callback.state: more than {MOST_STATE} bytes")
    # Names that nobody knows are passed over; one who names only those is told of no end.
    known = frozenset(events) & {*_TITLES, "failed"} - {"pending"}
    return Callback(endpoint, state, known or frozenset({"failed"}) if events else frozenset())


def _check(request: Mapping[str, Any], where: str) -> None:
    for name in (*_BOUND, "denial"):
        if not isinstance(request.get(name), dict):
            raise FormatError(f"{where}{name}: expected an object")
    denial = request["denial"]
    for name in ("evaluation_id", "expires_at"):
        if not isinstance(denial.get(name), str):
            raise FormatError(f"{where}denial.{name}: expected that of the denial")


def _shown(value: Mapping[str, Any], item: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: value[name] for name in ("requested_access", "client") if name in value}
    own, given = item.get("requested_access"), shown.get("requested_access")
    if isinstance(own, dict) and isinstance(given, dict):
        shown["requested_access"] = {**given, **own}
    elif own is not None:
        shown["requested_access"] = own
    return shown


def added_context(request: Mapping[str, Any], held: Held) -> dict[str, Any]:
    """What a request has in its context besides the denied one's; FormatError if not that one's."""
    denied = held.request
    for name in _BOUND:
        if encode_canonical(request[name]) != encode_canonical(denied[name]):
            raise FormatError(f"{name}: not that of the denied evaluation")
    context, bound = request.get("context", {}), denied.get("context", {})
    if not isinstance(context, dict):
        raise FormatError("context: expected an object")
    for name, member in bound.items():
        if name in UNBOUND:
            continue
        if name not in context or encode_canonical(context[name]) != encode_canonical(member):
            raise FormatError(f"context.{name}: not that of the denied evaluation")
    return {name: member for name, member in context.items() if name not in bound}


def task_id(calls: Sequence[Held], *, is_bundle: bool) -> str:
    """The id of the task of these calls."""
    ids = _BETWEEN.join(held.id for held in calls)
    return _BUNDLE + ids if is_bundle else ids


def parse_task(task: str) -> tuple[list[str], bool]:
    """The ids of the calls of a task, none of what is no id of one; and whether it has items."""
    if not task.startswith(_BUNDLE):
        return [task], False
    ids = task.removeprefix(_BUNDLE).split(_BETWEEN)
    return (ids if len(ids) <= MOST_ITEMS and len(set(ids)) == len(ids) else []), True


def status_of(calls: Sequence[Held], now: int) -> str:
    """The status of the task of these calls at a time in Unix seconds."""
    found = {_STATUS[held.status(now)] for held in calls}
    if "pending" in found:
        return "pending"
    return found.pop() if len(found) == 1 else "partial"


def describe(
    calls: Sequence[Held], now: int, status_url: str, cancel_url: str, *, is_bundle: bool
) -> dict[str, Any]:
    """The task of these calls, and of an approved one its result."""
    status = status_of(calls, now)
    task: dict[str, Any] = {
        "id": task_id(calls, is_bundle=is_bundle),
        "status": status,
        "status_endpoint": status_url,
        "expires_at": timestamp(max(held.expires for held in calls)),
        "display": {"title": _TITLES[status]},
    }
    if status == "pending":
        task["links"] = {"cancel": cancel_url}
    if is_bundle:
        task["items"] = [
            {
                "resource": held.request["resource"],
                "action": held.request["action"],
                "status": status_of([held], now),
                **_result(held, now),
            }
            for held in calls
        ]
        return {"task": task}
    return {"task": task, **_result(calls[0], now)}


def _result(held: Held, now: int) -> dict[str, Any]:
    if status_of([held], now) != "approved" or held.approval is None:
        return {}
    approval = {
        "id": held.approval.id,
        "approved_at": timestamp(held.approval.at),
        "approved_until": timestamp(held.not_after),
    }
    return {"result": {"mode": "reevaluate", "approval": approval}}


def timestamp(seconds: int) -> str:
    """Unix seconds as RFC 3339."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
