"""A trace as text: a tree for a terminal, and Graphviz DOT and Mermaid diagrams.

Each link carries the leaf index of the record that states it, as ``#<index>``, and its producer.
Long chains stay legible and linear in size: the tree lists run after run, indented no deeper than
MAX_INDENT. A diagram that Mermaid would refuse to draw is cut, and says so.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final, Literal, TypeAlias, get_args

from muniment.lineage import escape
from muniment.lineage.facts import Ref
from muniment.lineage.jsonform import render_json
from muniment.lineage.model import Hop, RunState, Trace
from muniment.lineage.prov import render_prov
from muniment.records.kinds import Decision, Outcome
from muniment.records.thingnames import thing_id

Format: TypeAlias = Literal["tree", "dot", "mermaid", "json", "prov-json"]

FORMATS: Final[tuple[Format, ...]] = get_args(Format)

MAX_INDENT: Final = 24
"""Deepest indentation of the tree, in runs; deeper ones state their depth."""

MAX_MERMAID_EDGES: Final = 500
"""Most edges that Mermaid draws unless its configuration says otherwise (`maxEdges`)."""

MAX_MERMAID_TEXT: Final = 50_000
"""Longest text in characters that Mermaid reads unless it is configured (`maxTextSize`)."""

MAX_UNHEARD: Final = 20
"""Most of what strangers said that the tree lists; JSON lists all."""


def render(trace: Trace, format_: Format) -> str:
    """Renders a trace; the text ends with a newline."""
    return _RENDERERS[format_](trace)


def render_tree(trace: Trace) -> str:
    """A tree for a terminal: each run with its links, then the runs that triggered it."""
    decisions = defaultdict(list)
    for index, decision in trace.decisions:
        decisions[decision.id].append((index, decision))
    links = _by_source(trace)
    states = {Ref("run", state.id): state for state in trace.runs}
    notes: defaultdict[Ref, list[str]] = defaultdict(list)
    for one in trace.breaks:
        notes[one.subject].append(f"! {one.kind}: {one.sentence}")
    for warned in trace.warnings:
        notes[warned.subject].append(f"? {warned.kind}: {warned.sentence}")
    verdict = "continuous" if trace.continuous else f"{len(trace.breaks)} break(s)"
    head, root = trace.head, Ref("run", trace.execution)
    run, log = escape.terminal(trace.execution), escape.terminal(head.origin)
    lines = [f"run {run}: {verdict}, in {log} at size {head.size}"]
    lines += [f"  ended: {_ended(states[root])}"] if root in states else []
    lines += [f"  {text}" for text in notes.pop(root, ())]
    seen = {root}
    # Things still to print, each with its indentation; the last is next.
    stack = [(hop, 1) for hop in reversed(links[root])]
    while stack:
        hop, level = stack.pop()
        indent = "  " * min(level, MAX_INDENT) + (f"({level}) " if level > MAX_INDENT else "")
        details = ""
        if hop.target.type == "decision" and hop.external is None:
            details = "".join(
                f" [{'allow' if decision.allowed else 'deny'} #{index}"
                f" {escape.terminal(decision.producer)}{_approved(decision)}]"
                for index, decision in decisions[hop.target.id]
            )
        elif hop.target in states:
            details = f" [ended: {_ended(states[hop.target])}]"
        again = hop.target in seen and links.get(hop.target)
        lines.append(
            f"{indent}{hop.relation} {_name(hop)} #{hop.index} by "
            f"{escape.terminal(hop.producer)}{details}{' (see above)' if again else ''}"
        )
        lines += [f"{indent}  {text}" for text in notes.pop(hop.target, ())]
        if hop.target not in seen:
            seen.add(hop.target)
            stack += [(below, level + 1) for below in reversed(links.get(hop.target, []))]
    lines += [f"  {text}" for rest in notes.values() for text in rest]
    return "\n".join([*lines, *_unheard(trace), ""])


def _approved(decision: Decision) -> str:
    """Who has approved a call, as the decision itself says."""
    approvals = decision.artifact.approvals if decision.artifact else ()
    people = " and ".join(escape.terminal(one.approver) for one in approvals)
    return f", approved by {people}" if people else ""


def _ended(state: RunState) -> str:
    """How a run ended, by whom, and what verifiers found."""
    parts = [
        f"{outcome.status}{_unbegun(outcome)} #{index} by {escape.terminal(outcome.producer)}"
        for index, outcome in state.outcomes
    ]
    parts += [
        f"verification {found.state} #{index} by {escape.terminal(found.producer)}"
        for index, found in state.verifications
    ]
    if not state.outcomes:
        parts.insert(0, state.ended)
    return ", ".join(parts)


def _unbegun(outcome: Outcome) -> str:
    """Why an aborted run never began; nothing of one that was stopped while it ran."""
    if outcome.denial is None:
        return ""
    return f" before it began ({', '.join(outcome.denial.codes)})"


def _unheard(trace: Trace) -> list[str]:
    """What strangers said, as lines for a terminal."""
    if not trace.unheard:
        return []
    lines = ["  said by others, which counts for nothing:"]
    lines += [
        f"    #{one.index} by {escape.terminal(one.producer)} of "
        f"{escape.terminal(_label(one.subject))}: {one.said}"
        for one in trace.unheard[:MAX_UNHEARD]
    ]
    if len(trace.unheard) > MAX_UNHEARD:
        lines.append(f"    and {len(trace.unheard) - MAX_UNHEARD} more; --format json shows all")
    return lines


def render_dot(trace: Trace) -> str:
    """A Graphviz digraph from later to earlier things; what is broken is red."""
    names = _names(trace)
    captions = _captions(trace)
    broken = {one.subject for one in trace.breaks}
    shapes = {"run": "box", "decision": "note", "agent": "ellipse"}
    lines = ["digraph lineage {", "  rankdir=LR;"]
    lines += [
        f"  {name} [label={escape.dot(_label(ref) + captions.get(ref, ''))}, "
        f"shape={shapes.get(ref.type, 'component')}{', color=red' if ref in broken else ''}"
        f"{', style=dashed' if ref.origin is not None else ''}];"
        for ref, name in names.items()
    ]
    lines += [
        f"  {names[hop.source]} -> {names[hop.target]} [label={escape.dot(_caption(hop))}];"
        for hop in trace.hops
    ]
    return "\n".join([*lines, "}", ""])


def render_mermaid(trace: Trace) -> str:
    """A Mermaid flowchart from later to earlier things; what is broken is red.

    Mermaid refuses more than MAX_MERMAID_EDGES edges or MAX_MERMAID_TEXT characters. What lies
    farthest from the traced run is left out then, and a node and a comment say so.
    """
    whole = _mermaid(trace, trace.hops)
    if len(trace.hops) <= MAX_MERMAID_EDGES and len(whole) <= MAX_MERMAID_TEXT:
        return whole
    # The most links that fit, nearest first.
    least, most = 0, min(len(trace.hops) - 1, MAX_MERMAID_EDGES)
    while least < most:
        middle = (least + most + 1) // 2
        if len(_mermaid(trace, trace.hops[:middle])) <= MAX_MERMAID_TEXT:
            least = middle
        else:
            most = middle - 1
    return _mermaid(trace, trace.hops[:least])


def _mermaid(trace: Trace, hops: Sequence[Hop]) -> str:
    left_out = len(trace.hops) - len(hops)
    broken = {one.subject for one in trace.breaks}
    things = dict.fromkeys(ref for hop in hops for ref in (hop.source, hop.target))
    names = {
        ref: name
        for ref, name in _names(trace).items()
        if not left_out or ref in things or ref == Ref("run", trace.execution)
    }
    captions = _captions(trace)
    lines = ["flowchart LR"]
    if left_out:
        note = (
            f"cut: {left_out} of {len(trace.hops)} links, the farthest, are not shown; Mermaid "
            f"draws {MAX_MERMAID_EDGES} edges and reads {MAX_MERMAID_TEXT} characters"
        )
        lines += [f"  %% {note}", f'  cut["{escape.mermaid(note)}"]']
    lines += [
        f'  {name}["{escape.mermaid(_label(ref) + captions.get(ref, ""))}"]'
        for ref, name in names.items()
    ]
    lines += [
        f'  {names[hop.source]} -->|"{escape.mermaid(_caption(hop))}"| {names[hop.target]}'
        for hop in hops
    ]
    if marked := [name for ref, name in names.items() if ref in broken]:
        lines += [
            "  classDef broken stroke:#c00,stroke-width:2px",
            f"  class {','.join(marked)} broken",
        ]
    return "\n".join([*lines, ""])


def _caption(hop: Hop) -> str:
    return f"{hop.relation} #{hop.index} by {hop.producer}"


def _captions(trace: Trace) -> dict[Ref, str]:
    """What the diagrams add to the names of runs and decisions: how they ended, who decided."""
    captions = {Ref("run", state.id): f", {state.ended}" for state in trace.runs}
    for _, decision in trace.decisions:
        answer = "allow" if decision.allowed else "deny"
        ref = Ref("decision", decision.id)
        captions[ref] = f"{captions.get(ref, '')}, {answer} by {decision.producer}"
    return captions


def _by_source(trace: Trace) -> defaultdict[Ref, list[Hop]]:
    links: defaultdict[Ref, list[Hop]] = defaultdict(list)
    for hop in trace.hops:
        links[hop.source].append(hop)
    for hops in links.values():
        # What triggered a run comes last, below everything that belongs to the run itself.
        hops.sort(key=lambda hop: hop.relation == "triggered_by")
    return links


def _names(trace: Trace) -> dict[Ref, str]:
    refs = dict.fromkeys(
        [Ref("run", trace.execution)]
        + [ref for hop in trace.hops for ref in (hop.source, hop.target)]
        + [one.subject for one in trace.breaks]
    )
    return {ref: f"n{number}" for number, ref in enumerate(refs)}


def _label(ref: Ref) -> str:
    id_ = thing_id(ref.id)
    # In quotes, so that no id of several words can look like what stands beside it.
    shown = id_ if id_ == ref.id else ascii(id_)
    return f"{ref.type} {shown}" + (f" in {ref.origin}" if ref.origin is not None else "")


def _name(hop: Hop) -> str:
    label = escape.terminal(_label(hop.target))
    return label if hop.external is None else f"{label} #{hop.external.index} (not verified here)"


_RENDERERS: Final[dict[Format, Callable[[Trace], str]]] = {
    "tree": render_tree,
    "dot": render_dot,
    "mermaid": render_mermaid,
    "json": render_json,
    "prov-json": render_prov,
}
