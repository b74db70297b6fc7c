"""The record of a governed call's decision: made, completed by the caller's code, and checked."""

import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from muniment.gateway.callbinding import Bound
from muniment.gateway.calloptions import Call, CallRules
from muniment.gateway.withholding import Prepared
from muniment.records.addenda import ARGUMENTS, disclose
from muniment.records.canonical import encode_canonical
from muniment.records.codec import parse_record
from muniment.records.kinds import Decision, Record
from muniment.tlog.encoding import FormatError

if TYPE_CHECKING:
    from muniment.gateway.gateway import Gateway


def record_decision(
    gateway: "Gateway",
    rules: CallRules,
    call: Call,
    asked: dict[str, Any],
    bound: Bound,
    *,
    states_arguments: bool,
    keeps_arguments: bool,
) -> tuple[Decision, Prepared]:
    """The decision's record, read and as it is; a ``FormatError`` if ``complete`` gave another.

    ``complete`` gets what is logged: an authority signs no more than that. What it adds is noted in
    ``asked``, for the record of a refusal.

    Args:
        gateway: Whose record it is; withholds what it withholds.
        rules: The call's; of them ``complete``.
        call: The call.
        asked: Members of the decision so far, the answer among them.
        bound: The call's arguments, and what commits to them.
        states_arguments: Whether the decision names the arguments' addendum.
        keeps_arguments: Whether that goes with the record.
    """
    members: dict[str, Any] = {
        "v": 1,
        "kind": "decision",
        "time": time.time_ns() // 1_000_000,
        "producer": gateway.producer,
        **asked,
        "request": deepcopy(call.request),
        "response": dict(asked["response"]),
    }
    allowed: bool = asked["response"]["decision"]
    if not allowed:
        members["denial"] = {"codes": ["denied_by_policy"]}
    shown: list[bytes] = []
    if states_arguments:
        del members["request"]["context"]["arguments"]
        members["addenda"] = {ARGUMENTS: bound.commitment.removeprefix("sha256:")}
        shown = [bound.addendum]
    addenda = shown if keeps_arguments else []
    if (withholding := gateway.withholding) is not None:
        members["response"] = deepcopy(members["response"])
        addenda = withholding.take_call(members, addenda)
    completed: Any = members
    if rules.complete is not None:
        completed = rules.complete(call.copied(), members)
        if isinstance(completed, Mapping):  # for the record of a refusal
            asked |= {name: one for name, one in completed.items() if name not in asked}
            asked.pop("addenda", None)
    prepared = gateway.prepare_withheld([completed], addenda)
    record = parse_record(prepared.entries[0])
    if withholding is not None and withholding.pseudonyms is not None:
        own: dict[str, Any] = {"kind": "decision", "request": deepcopy(call.request)}
        withholding.pseudonyms.replace(own)
        call = replace(call, request=own["request"])
    shown = [*({*shown, *prepared.addenda.get(0, ())})]
    return _check_own(record, call, shown, allowed=allowed), prepared


def _check_own(record: Record, call: Call, addenda: Sequence[bytes], *, allowed: bool) -> Decision:
    """Checks that what ``complete`` may have made is still the decision of this call."""
    if not isinstance(record, Decision):
        raise FormatError("complete= gave back another kind of record than a decision")
    request = disclose(record, addenda).decision.request if addenda else record.request
    pairs: list[tuple[str, Any, Any]] = [("execution", record.execution, call.execution)]
    for member in sorted(request.keys() | call.request.keys()):
        name = f"request.{member}"
        pairs.append((name, request.get(member), call.request.get(member)))
    for name, found, expected in pairs:
        if encode_canonical(found) != encode_canonical(expected):
            raise FormatError(
                f"complete= gave back a decision with another {name} than the call's own: it may "
                "add an artifact, signatures and ids of its own, and change nothing"
            )
    if record.allowed and not allowed:
        raise FormatError("complete= made an allowing decision of the policy engine's no")
    return record
