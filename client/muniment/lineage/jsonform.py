"""A trace as JSON (RFC 8259), for programs: ASCII, members in a fixed order."""

import json
from typing import Any

from muniment.formats.kinds import Thing
from muniment.lineage.facts import Ref
from muniment.lineage.model import Trace


def render_json(trace: Trace) -> str:
    """The trace as one JSON object, indented; ends with a newline."""
    return json.dumps(trace_members(trace), indent=2) + "\n"


def trace_members(trace: Trace) -> dict[str, Any]:
    """The trace as JSON values: verdict, head, hops, decisions, breaks."""
    return {
        "execution": trace.execution,
        "continuous": trace.continuous,
        "head": trace.head._asdict(),
        "origins": list(trace.origins),
        "hops": [
            {
                "depth": hop.depth,
                "index": hop.index,
                "relation": hop.relation,
                "from": _thing(hop.source, None),
                "to": _thing(hop.target, hop.external),
            }
            for hop in trace.hops
        ],
        "decisions": [
            {"index": index, "id": decision.id, "allowed": decision.allowed}
            for index, decision in trace.decisions
        ],
        "breaks": [
            {
                "kind": one.kind,
                "subject": _thing(one.subject, None),
                "index": one.index,
                "sentence": one.sentence,
            }
            for one in trace.breaks
        ],
    }


def _thing(ref: Ref, external: Thing | None) -> dict[str, Any]:
    members: dict[str, Any] = {"type": ref.type, "id": ref.id}
    if ref.origin is not None:
        members["origin"] = ref.origin
    if external is not None:
        members |= {"index": external.index, "leaf": external.leaf}
    return members
