"""The graph of a run: what led to it, what followed from it, and where that does not hold.

Pure. The verdict is that of `muniment lineage trace`; runs that descend from the traced one are
judged by the same rules, so that a revocation shows in all that it cuts. A break stands at the
thing that it is about, and `owner` tells for a decision or an agent the run that it belongs to, for
pictures of runs alone.
"""

from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from muniment.lineage.facts import Facts, Ref
from muniment.lineage.model import REVOKED, Break, Hop, RunState, Trace, TraceWarning, Unheard
from muniment.lineage.trace import trace
from muniment.lineage.walk import MAX_EDGES, descending_runs
from muniment.records.kinds import Relation, Revocation
from muniment.tlog.note import VKey

MAX_RECORDS: Final = 100_000
"""Records read for one graph; a second of work. Beyond, the lineage is `truncated`."""


class Occurrence(NamedTuple):
    """When something happened, Unix milliseconds by a producer's clock; `index` is its leaf."""

    what: str
    time: int
    index: int  # type: ignore[assignment]  # hides tuple.index, of no use here
    producer: str


@dataclass(slots=True)
class GraphNode:
    """A thing of the graph.

    Attributes:
        ref: The thing.
        side: ``traced``, ``before`` (it led to the traced run), ``after`` (it followed), or
            ``beside`` (it led to something that followed).
        owner: The run that a decision or agent belongs to; None for a run.
        answer: ``allow``, ``deny``, ``both`` or ``none`` of a run or decision; empty for others.
        ended: How a run ended; empty for other things.
        said: Who decided, who performed, what approved: a phrase each.
        breaks: What does not hold of it.
        warnings: What is remarkable, and breaks nothing.
        is_revoked: Whether a revocation is in force against it.
        is_cut: Whether it descends from a run that is revoked, or whose decision is.
        moments: When what happened, in the order of the log.
    """

    ref: Ref
    side: str
    owner: Ref | None = None
    answer: str = ""
    ended: str = ""
    said: list[str] = field(default_factory=list)
    breaks: list[Break] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    is_revoked: bool = False
    is_cut: bool = False
    moments: list[Occurrence] = field(default_factory=list)


class RelationLink(NamedTuple):
    """A relation between two things of the graph, from the later thing to the earlier one."""

    source: Ref
    target: Ref
    relation: Relation
    index: int  # type: ignore[assignment]  # hides tuple.index, of no use here
    producer: str
    time: int


class Revoked(NamedTuple):
    """A revocation in force against a thing; `since` Unix seconds. `reason` is empty of an edge."""

    subject: Ref
    index: int  # type: ignore[assignment]  # hides tuple.index, of no use here
    producer: str
    since: int
    reason: str


@dataclass(frozen=True, slots=True)
class Graph:
    """The graph of one run.

    Attributes:
        traced: The trace of the run alone: the verdict.
        nodes: The things, by reference, nearest to the run first.
        links: Their relations, nearest first; at most MAX_EDGES.
        left_out: How many relations are left out of `links`.
        is_cut_short: Whether there may be more runs that followed than are here.
        breaks: All breaks of these things, those of the traced run's own lineage first.
        revoked: The revocations among the breaks.
        warnings: What is remarkable of these things, and breaks nothing.
        unheard: What strangers said of these things.
    """

    traced: Trace
    nodes: Mapping[Ref, GraphNode]
    links: tuple[RelationLink, ...]
    left_out: int
    is_cut_short: bool
    breaks: tuple[Break, ...]
    revoked: tuple[Revoked, ...]
    warnings: tuple[TraceWarning, ...]
    unheard: tuple[Unheard, ...]

    @property
    def runs(self) -> list[GraphNode]:
        """The runs of this log among the things."""
        return [
            node for ref, node in self.nodes.items() if ref.type == "run" and ref.origin is None
        ]


def graph_of(
    execution: str,
    facts: Facts,
    now: int,
    *,
    gateways: Collection[VKey] | None = None,
    edges: int = MAX_EDGES,
) -> Graph:
    """Makes the graph of a run, with revocations in force at `now`, Unix seconds.

    Raises FactsError if the facts cannot be read.

    Args:
        execution: The run.
        facts: The log.
        now: When.
        gateways: As `lineage.trace` takes them.
        edges: Most relations in the graph, and most edges to look for what followed.
    """
    alone = trace(execution, facts, now, gateways=gateways)
    later, is_cut_short = descending_runs(execution, facts, limit=edges)
    whole = alone
    if later:
        whole = trace(execution, facts, now, beside=later, gateways=gateways)
    near = _near(whole)
    hops = [hop for hop in whole.hops if hop.source in near]
    links = tuple(_link(hop, whole) for hop in sorted(hops, key=lambda hop: _rank(hop, near)))
    shown = links[:edges]
    owners = _owners(hops, near)
    nodes = _nodes(whole, alone, near, owners, shown)
    _tell(nodes, whole, links)
    found = dict.fromkeys((*alone.breaks, *whole.breaks))
    breaks = tuple(one for one in found if one.subject in near)
    graph = Graph(
        alone,
        nodes,
        shown,
        len(links) - len(shown),
        is_cut_short,
        breaks,
        tuple(_revocations(breaks, whole)),
        tuple(one for one in whole.warnings if one.subject in near),
        tuple(one for one in whole.unheard if one.subject in near),
    )
    _mark(graph, owners)
    return graph


def _near(whole: Trace) -> dict[Ref, int]:
    """The things that relations connect with the traced run, with their distance from it."""
    start = Ref("run", whole.execution)
    beside: defaultdict[Ref, list[Ref]] = defaultdict(list)
    for hop in whole.hops:
        beside[hop.source].append(hop.target)
        # A decision or an agent that two runs share is no reason to show the other run.
        if hop.relation == "triggered_by":
            beside[hop.target].append(hop.source)
    near = {start: 0}
    waiting = deque([start])
    while waiting:
        ref = waiting.popleft()
        for other in beside[ref]:
            if other not in near:
                near[other] = near[ref] + 1
                waiting.append(other)
    return near


def _rank(hop: Hop, near: Mapping[Ref, int]) -> tuple[bool, int, int]:
    """Runs first: what is left out shall be what belongs to one of them."""
    return hop.relation != "triggered_by", min(near[hop.source], near[hop.target]), hop.index


def _link(hop: Hop, whole: Trace) -> RelationLink:
    time = whole.records[hop.index].time if hop.index in whole.records else 0
    return RelationLink(hop.source, hop.target, hop.relation, hop.index, hop.producer, time)


def _nodes(
    whole: Trace,
    alone: Trace,
    near: Mapping[Ref, int],
    owners: Mapping[Ref, Ref],
    links: Iterable[RelationLink],
) -> dict[Ref, GraphNode]:
    start = Ref("run", whole.execution)
    kept = {start, *(ref for link in links for ref in (link.source, link.target))}
    before = {ref for hop in alone.hops for ref in (hop.source, hop.target)}
    after = _after(start, whole.hops)
    nodes = {}
    for ref in sorted(kept, key=lambda ref: (near[ref], ref.type != "run")):
        of = owners.get(ref) or ref
        side = "after" if of in after else "before" if of in before else "beside"
        nodes[ref] = GraphNode(ref, "traced" if of == start else side, owners.get(ref))
    return nodes


def _tell(nodes: Mapping[Ref, GraphNode], whole: Trace, links: Iterable[RelationLink]) -> None:
    """Says of each thing what the log does."""
    for state in whole.runs:
        if (node := nodes.get(Ref("run", state.id))) is not None:
            _tell_run(node, state)
    _tell_decisions(nodes, whole, links)
    for link in links:
        if (node := nodes.get(link.source)) is None:
            continue
        if link.relation == "performed_by":
            node.said.append(f"performed by {link.target.id}")
        elif link.relation == "triggered_by":
            node.moments.append(Occurrence("triggered", link.time, link.index, link.producer))
    for node in nodes.values():
        node.moments.sort(key=lambda moment: moment.index)


def _after(start: Ref, hops: Iterable[Hop]) -> set[Ref]:
    """The runs that descend from one."""
    children: defaultdict[Ref, list[Ref]] = defaultdict(list)
    for hop in hops:
        if hop.relation == "triggered_by":
            children[hop.target].append(hop.source)
    return reach([start], children)


def reach(starts: Iterable[Ref], children: Mapping[Ref, Iterable[Ref]]) -> set[Ref]:
    """What can be reached from some things, themselves aside unless by a cycle."""
    found: set[Ref] = set()
    waiting = list(starts)
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child not in found:
                found.add(child)
                waiting.append(child)
    return found


def _owners(hops: Iterable[Hop], near: Mapping[Ref, int]) -> dict[Ref, Ref]:
    """The run that each other thing belongs to: the nearest, and rather its own than an agent's."""
    owners: dict[Ref, Ref] = {}
    for hop in sorted(hops, key=lambda hop: (hop.source.type != "run", near[hop.source])):
        if hop.target.type != "run":
            of = hop.source if hop.source.type == "run" else owners.get(hop.source)
            if of is not None:
                owners.setdefault(hop.target, of)
    return owners


def _tell_run(node: GraphNode, state: RunState) -> None:
    node.ended = state.ended
    for index, outcome in state.outcomes:
        codes = f" ({', '.join(outcome.denial.codes)})" if outcome.denial else ""
        node.moments.append(
            Occurrence(f"{outcome.status}{codes}", outcome.time, index, outcome.producer)
        )
    for index, found in state.verifications:
        node.moments.append(
            Occurrence(f"verification: {found.state}", found.time, index, found.producer)
        )


def _tell_decisions(
    nodes: Mapping[Ref, GraphNode], whole: Trace, links: Iterable[RelationLink]
) -> None:
    decisions = defaultdict(list)
    for found in whole.decisions:
        decisions[found.record.id].append(found)
    answers: defaultdict[Ref, set[str]] = defaultdict(set)
    told: set[tuple[Ref, int]] = set()
    for link in links:
        if link.relation != "authorized_by" or link.source not in nodes:
            continue
        if link.target.origin is not None:
            answers[link.source].add("allow")
            nodes[link.source].said.append(f"allowed in {link.target.origin} (not verified here)")
            continue
        for index, decision in decisions[link.target.id]:
            if decision.execution not in (None, link.source.id):
                continue
            answer = "allow" if decision.allowed else "deny"
            codes = f" ({', '.join(decision.denial.codes)})" if decision.denial else ""
            words = f"{answer}{codes} by {decision.producer}"
            moment = Occurrence(f"{answer}{codes}", decision.time, index, decision.producer)
            approvals = decision.artifact.approvals if decision.artifact else ()
            if approvals:
                words += f", approved by {' and '.join(one.approver for one in approvals)}"
            for ref in (link.source, link.target):
                answers[ref].add(answer)
                if (node := nodes.get(ref)) is not None and (ref, index) not in told:
                    told.add((ref, index))
                    node.moments.append(moment)
                    node.said.append(words)
    for ref, node in nodes.items():
        if ref.type in ("run", "decision"):
            said = answers[ref]
            node.answer = "both" if len(said) > 1 else next(iter(said), "none")


def _revocations(breaks: Iterable[Break], whole: Trace) -> Iterator[Revoked]:
    for one in breaks:
        if one.kind not in REVOKED or one.index is None:
            continue
        record = whole.records[one.index]
        if isinstance(record, Revocation):
            yield Revoked(one.subject, one.index, record.producer, record.since, record.reason)
        else:
            yield Revoked(one.subject, one.index, record.producer, record.time // 1000, "")


def _mark(graph: Graph, owners: Mapping[Ref, Ref]) -> None:
    """Puts breaks and warnings at their things, and marks what a revocation cuts."""
    nodes = graph.nodes
    for one in graph.breaks:
        # What is left out has its run in its place.
        node = nodes.get(one.subject) or nodes.get(owners.get(one.subject, one.subject))
        if node is not None:
            node.breaks.append(one)
            node.is_revoked |= one.kind in REVOKED
    for warned in graph.warnings:
        if (node := nodes.get(warned.subject)) is not None:
            node.warnings.append(warned.sentence)
    children: defaultdict[Ref, list[Ref]] = defaultdict(list)
    for link in graph.links:
        if link.relation == "triggered_by":
            children[link.target].append(link.source)
    revoked = {node.owner or ref for ref, node in nodes.items() if node.is_revoked}
    for ref in reach(revoked, children):
        nodes[ref].is_cut = True
