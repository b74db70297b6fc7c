"""A trace as PROV-JSON (W3C Member Submission 24 April 2013), by the terms of PROV-DM.

| thing | PROV | | relation | PROV relation |
| --- | --- | --- | --- | --- |
| run | activity | | `triggered_by` | wasInformedBy(informed, informant) |
| agent | agent | | `performed_by` | wasAssociatedWith(activity, agent) |
| decision, artifact, policy, grant | entity | | `delegated_by` | actedOnBehalfOf(delegate, \
responsible) |
| | | | `authorized_by`, `used` | used(activity, entity) |
| | | | `generated_by` | wasGeneratedBy(entity, activity) |
| | | | `derived_from` | wasDerivedFrom(generatedEntity, usedEntity) |
| | | | `revoked_by` | wasInvalidatedBy(entity, activity) |

A run uses its decision as a program uses its licence; the link is told apart by its `prov:type`.
Each thing is named ``<type>:<id, percent-encoded>``, one of another log likewise
``ext:<origin>.<type>.<id>``; each link ``_:leaf<index>``, with `muniment:leaf` and, for who says
so, `muniment:producer`. A run has `muniment:ended`. What is broken or revoked, and what strangers
said, stands in the trace's own JSON: PROV has no word for it.
"""

import json
from collections import defaultdict
from typing import Any, Final

from muniment.lineage.escape import local_name
from muniment.lineage.facts import Ref
from muniment.lineage.model import Trace
from muniment.records.kinds import Relation, ThingType

RELATIONS: Final[dict[Relation, tuple[str, str, str]]] = {
    "authorized_by": ("used", "prov:activity", "prov:entity"),
    "triggered_by": ("wasInformedBy", "prov:informed", "prov:informant"),
    "performed_by": ("wasAssociatedWith", "prov:activity", "prov:agent"),
    "delegated_by": ("actedOnBehalfOf", "prov:delegate", "prov:responsible"),
    "used": ("used", "prov:activity", "prov:entity"),
    "generated_by": ("wasGeneratedBy", "prov:entity", "prov:activity"),
    "derived_from": ("wasDerivedFrom", "prov:generatedEntity", "prov:usedEntity"),
    "revoked_by": ("wasInvalidatedBy", "prov:entity", "prov:activity"),
}
"""Each of our relations: PROV's, and its names for the later and the earlier thing."""

KINDS: Final[dict[ThingType, str]] = {
    "run": "activity",
    "decision": "entity",
    "agent": "agent",
    "artifact": "entity",
    "policy": "entity",
    "grant": "entity",
}
"""What each type of thing is in PROV."""

_NAMESPACE: Final = "urn:muniment:"


def render_prov(trace: Trace) -> str:
    """The trace as one PROV-JSON document, indented; ends with a newline."""
    return json.dumps(prov_document(trace), indent=2) + "\n"


def prov_document(trace: Trace) -> dict[str, Any]:
    """The trace as the values of a PROV-JSON document."""
    document: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    document["prefix"] = {
        "muniment": f"{_NAMESPACE}prov:",
        "ext": f"{_NAMESPACE}external:",
        **{type_: f"{_NAMESPACE}{type_}:" for type_ in KINDS},
    }
    decisions = {decision.id: decision for _, decision in trace.decisions}
    ended = {run.id: run.ended for run in trace.runs}
    things = [Ref("run", trace.execution)]
    things += [ref for hop in trace.hops for ref in (hop.source, hop.target)]
    for ref in dict.fromkeys(things):
        attributes: dict[str, Any] = {
            "prov:label": ref.id,
            "prov:type": _typed(f"muniment:{ref.type}"),
        }
        if ref.type == "decision" and ref.origin is None and ref.id in decisions:
            attributes["muniment:allowed"] = decisions[ref.id].allowed
            attributes["muniment:producer"] = decisions[ref.id].producer
        if ref.type == "run" and ref.origin is None and ref.id in ended:
            attributes["muniment:ended"] = ended[ref.id]
        if ref.origin is not None:
            attributes["muniment:origin"] = ref.origin
        document[KINDS[ref.type]][_name(ref)] = attributes
    for hop in trace.hops:
        relation, later, earlier = RELATIONS[hop.relation]
        document[relation][f"_:leaf{hop.index}"] = {
            later: _name(hop.source),
            earlier: _name(hop.target),
            "prov:type": _typed(f"muniment:{hop.relation}"),
            "muniment:leaf": hop.index,
            "muniment:producer": hop.producer,
        }
    return dict(document)


def _name(ref: Ref) -> str:
    if ref.origin is None:
        return f"{ref.type}:{local_name(ref.id)}"
    return f"ext:{local_name(ref.origin)}.{ref.type}.{local_name(ref.id)}"


def _typed(name: str) -> dict[str, str]:
    return {"$": name, "type": "prov:QUALIFIED_NAME"}
