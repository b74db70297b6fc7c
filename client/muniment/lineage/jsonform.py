"""A trace as JSON (RFC 8259), for programs: ASCII, members in a fixed order."""

import json
from typing import Any

from muniment.lineage.facts import Ref
from muniment.lineage.model import NOT_TOLD, Trace, TraceWarning, Unheard
from muniment.records.kinds import Decision, Thing
from muniment.records.thingnames import thing_id


def render_json(trace: Trace) -> str:
    """The trace as one JSON object, indented; ends with a newline."""
    return json.dumps(trace_members(trace), indent=2) + "\n"


def trace_members(trace: Trace) -> dict[str, Any]:
    """The trace as JSON values: verdict, head, hops, decisions, runs, breaks, what is beside it.

    ``unheard`` is what strangers said: it decides nothing.
    """
    return {
        "execution": trace.execution,
        "continuous": trace.continuous,
        "ended": trace.runs[0].ended if trace.runs else NOT_TOLD,
        "head": trace.head._asdict(),
        "origins": list(trace.origins),
        "hops": [
            {
                "depth": hop.depth,
                "index": hop.index,
                "relation": hop.relation,
                "from": _thing(hop.source),
                "to": _thing(hop.target, hop.external),
                "producer": hop.producer,
            }
            for hop in trace.hops
        ],
        "decisions": [
            {
                "index": index,
                "id": decision.id,
                "allowed": decision.allowed,
                "producer": decision.producer,
                **_approval(decision),
            }
            for index, decision in trace.decisions
        ],
        "runs": [
            {
                "id": run.id,
                "issuers": list(run.issuers),
                "ended": run.ended,
                "outcomes": [
                    {
                        "index": index,
                        "status": outcome.status,
                        "denial": list(outcome.denial.codes) if outcome.denial else [],
                        "time": outcome.time,
                        "producer": outcome.producer,
                    }
                    for index, outcome in run.outcomes
                ],
                "verifications": [
                    {"index": index, "state": found.state, "producer": found.producer}
                    for index, found in run.verifications
                ],
            }
            for run in trace.runs
        ],
        "breaks": [
            {
                "kind": one.kind,
                "subject": _thing(one.subject),
                "index": one.index,
                "producer": _producer(trace, one.index),
                "sentence": one.sentence,
            }
            for one in trace.breaks
        ],
        "warnings": [_about_thing(one) for one in trace.warnings],
        "unheard": [_about_thing(one) for one in trace.unheard],
    }


def _about_thing(one: TraceWarning | Unheard) -> dict[str, Any]:
    return {**one._asdict(), "subject": _thing(one.subject)}


def _approval(decision: Decision) -> dict[str, Any]:
    """Which approvals a decision rests on, and whose; only of one that does."""
    approvals = decision.artifact.approvals if decision.artifact else ()
    if not approvals:
        return {}
    first, *others = approvals
    told: dict[str, Any] = {"approval": first.id, "approver": first.approver}
    if others:
        told["further_approvals"] = [
            {"approval": one.id, "approver": one.approver} for one in others
        ]
    return told


def _producer(trace: Trace, index: int | None) -> str | None:
    """Who made the record at a leaf; None without one."""
    record = None if index is None else trace.records.get(index)
    return None if record is None else record.producer


def _thing(ref: Ref, external: Thing | None = None) -> dict[str, Any]:
    members: dict[str, Any] = {"type": ref.type, "id": ref.id}
    if (original := thing_id(ref.id)) != ref.id:
        members["original"] = original
    if ref.origin is not None:
        members["origin"] = ref.origin
    if external is not None:
        members |= {"index": external.index, "leaf": external.leaf}
    return members
