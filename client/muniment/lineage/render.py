"""A trace as text: a tree for a terminal, and Graphviz DOT and Mermaid diagrams.

Each link carries the leaf index of the record that states it, as ``#<index>``. Long chains stay
legible and linear in size: the tree lists run after run, indented no deeper than MAX_INDENT.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Final, Literal, TypeAlias, get_args

from muniment.lineage import escape
from muniment.lineage.facts import Ref
from muniment.lineage.jsonform import render_json
from muniment.lineage.model import Hop, Trace
from muniment.lineage.prov import render_prov

Format: TypeAlias = Literal["tree", "dot", "mermaid", "json", "prov-json"]

FORMATS: Final[tuple[Format, ...]] = get_args(Format)

MAX_INDENT: Final = 24
"""Deepest indentation of the tree, in runs; deeper ones state their depth."""


def render(trace: Trace, format_: Format) -> str:
    """Renders a trace; the text ends with a newline."""
    return _RENDERERS[format_](trace)


def render_tree(trace: Trace) -> str:
    """A tree for a terminal: each run with its links, then the runs that triggered it."""
    decisions = defaultdict(list)
    for index, decision in trace.decisions:
        decisions[decision.id].append((index, decision))
    links = _by_source(trace)
    breaks: defaultdict[Ref, list[str]] = defaultdict(list)
    for one in trace.breaks:
        breaks[one.subject].append(f"! {one.kind}: {one.sentence}")
    verdict = "continuous" if trace.continuous else f"{len(trace.breaks)} break(s)"
    head = trace.head
    run, log = escape.terminal(trace.execution), escape.terminal(head.origin)
    lines = [f"run {run}: {verdict}, in {log} at size {head.size}"]
    lines += [f"  {text}" for text in breaks.pop(Ref("run", trace.execution), ())]
    seen = {Ref("run", trace.execution)}
    # Things still to print, each with its indentation; the last is next.
    stack = [(hop, 1) for hop in reversed(links[Ref("run", trace.execution)])]
    while stack:
        hop, level = stack.pop()
        indent = "  " * min(level, MAX_INDENT) + (f"({level}) " if level > MAX_INDENT else "")
        details = ""
        if hop.target.type == "decision" and hop.external is None:
            details = "".join(
                f" [{'allow' if decision.allowed else 'deny'} #{index}]"
                for index, decision in decisions[hop.target.id]
            )
        again = hop.target in seen and links.get(hop.target)
        lines.append(
            f"{indent}{hop.relation} {_name(hop)} #{hop.index}{details}"
            f"{' (see above)' if again else ''}"
        )
        lines += [f"{indent}  {text}" for text in breaks.pop(hop.target, ())]
        if hop.target not in seen:
            seen.add(hop.target)
            stack += [(below, level + 1) for below in reversed(links.get(hop.target, []))]
    lines += [f"  {text}" for rest in breaks.values() for text in rest]
    return "\n".join([*lines, ""])


def render_dot(trace: Trace) -> str:
    """A Graphviz digraph from later to earlier things; what is broken is red."""
    names = _names(trace)
    broken = {one.subject for one in trace.breaks}
    shapes = {"run": "box", "decision": "note", "agent": "ellipse"}
    lines = ["digraph lineage {", "  rankdir=LR;"]
    lines += [
        f"  {name} [label={escape.dot(_label(ref))}, shape={shapes.get(ref.type, 'component')}"
        f"{', color=red' if ref in broken else ''}"
        f"{', style=dashed' if ref.origin is not None else ''}];"
        for ref, name in names.items()
    ]
    lines += [
        f"  {names[hop.source]} -> {names[hop.target]} "
        f"[label={escape.dot(f'{hop.relation} #{hop.index}')}];"
        for hop in trace.hops
    ]
    return "\n".join([*lines, "}", ""])


def render_mermaid(trace: Trace) -> str:
    """A Mermaid flowchart from later to earlier things; what is broken is red."""
    names = _names(trace)
    broken = {one.subject for one in trace.breaks}
    lines = ["flowchart LR"]
    lines += [f'  {name}["{escape.mermaid(_label(ref))}"]' for ref, name in names.items()]
    lines += [
        f'  {names[hop.source]} -->|"{hop.relation} #35;{hop.index}"| {names[hop.target]}'
        for hop in trace.hops
    ]
    if marked := [name for ref, name in names.items() if ref in broken]:
        lines += [
            "  classDef broken stroke:#c00,stroke-width:2px",
            f"  class {','.join(marked)} broken",
        ]
    return "\n".join([*lines, ""])


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
    return f"{ref.type} {ref.id}" + (f" in {ref.origin}" if ref.origin is not None else "")


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
