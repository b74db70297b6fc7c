"""Gathering what a trace is judged on (design section 3.1), level by level and in batches.

One lookup for each hop of the longest chain of runs, and after that a fixed number of batches for
all of them: this is what keeps a long trace cheap on a database.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from muniment.formats.kinds import Decision, Edge, Outcome
from muniment.lineage.facts import Facts, Found, Ref, is_same, ref_of
from muniment.lineage.reader import Reader


class Use(NamedTuple):
    """A moment at which a run relied on its authorization.

    Attributes:
        index: Leaf index of the record that tells.
        time: Unix milliseconds, by that record's producer.
        what: What the run did then.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    time: int
    what: str


class Link(NamedTuple):
    """An edge from a run, and the thing that it leads to."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    edge: Edge
    target: Ref


@dataclass(slots=True)
class Run:
    """What the log says of one run.

    Attributes:
        id: Its id.
        depth: Hops from the traced run.
        arrival: Leaf index of the edge by which the trace came to it; None for the traced run.
        triggered_by, performed_by, authorized_by: Its edges of these relations.
        decisions: The decisions bound to it, whatever they say.
        allowing: Those of them that allow it.
        misbound: For `authorized_by` edges that bind nothing: the edge, and the decisions of other
            runs that it claims; none if there is no such decision at all.
        namesakes: Decisions with the id and producer of a bound one, and other content.
        outcomes: Its outcomes.
        uses: When it relied on its authorization.
        is_external: Whether another log's decision is claimed.
        first: Leaf index at which the log first says something of the run itself; None if nowhere.
    """

    id: str
    depth: int
    arrival: int | None
    triggered_by: list[Link] = field(default_factory=list)
    performed_by: list[Link] = field(default_factory=list)
    authorized_by: list[Link] = field(default_factory=list)
    decisions: list[Found[Decision]] = field(default_factory=list)
    allowing: list[Found[Decision]] = field(default_factory=list)
    misbound: list[tuple[Link, tuple[Found[Decision], ...]]] = field(default_factory=list)
    namesakes: list[Found[Decision]] = field(default_factory=list)
    outcomes: tuple[Found[Outcome], ...] = ()
    uses: list[Use] = field(default_factory=list)
    is_external: bool = False
    first: int | None = None

    def take(self, edges: tuple[Found[Edge], ...], origin: str) -> None:
        """Takes the run's edges, of all relations, in the order of the log."""
        for index, edge in edges:
            self.seen_at(index)
            link = Link(index, edge, ref_of(edge.to, origin))
            match edge.relation:
                case "triggered_by":
                    self.triggered_by.append(link)
                case "performed_by":
                    self.performed_by.append(link)
                case "authorized_by":
                    self.authorized_by.append(link)
                case _:  # data that it used: lineage, but nobody's authority
                    pass

    def seen_at(self, index: int) -> None:
        """Notes that the log says something of the run at a leaf."""
        if self.first is None or index < self.first:
            self.first = index


def gather(execution: str, facts: Facts, reader: Reader) -> dict[str, Run]:
    """Reads a run and all runs that it descends from, with their decisions and outcomes.

    Returns:
        The runs by id, nearest first; the traced run is the first, also when nothing is known.

    Raises:
        FactsError: If the facts cannot be read.
    """
    origin = facts.head.origin
    runs = {execution: Run(execution, 0, None)}
    frontier = [execution]
    while frontier:
        level, frontier = frontier, []
        answers = reader.all(facts.edges_from, [Ref("run", id_) for id_ in level])
        for id_, edges in zip(level, answers, strict=True):
            run = runs[id_]
            run.take(edges, origin)
            for index, _, parent in run.triggered_by:
                if parent.origin is None and parent.id not in runs:
                    runs[parent.id] = Run(parent.id, run.depth + 1, index)
                    frontier.append(parent.id)
    _read_decisions(runs, facts, reader)
    ids = list(runs)
    for id_, outcomes in zip(ids, reader.all(facts.outcomes, ids), strict=True):
        run = runs[id_]
        run.outcomes = outcomes
        for index, _ in outcomes:
            run.seen_at(index)
        run.uses += [Use(index, record.time, "ended") for index, record in outcomes]
    for run in runs.values():
        for index, edge, parent in run.triggered_by:
            if parent.origin is None:
                runs[parent.id].uses.append(Use(index, edge.time, f"triggered run {run.id}"))
    return runs


def _read_decisions(runs: dict[str, Run], facts: Facts, reader: Reader) -> None:
    ids = list(runs)
    own = dict(zip(ids, reader.all(facts.decisions_of, ids), strict=True))
    claimed: dict[str, None] = {}
    for id_ in ids:
        for link in runs[id_].authorized_by:
            if link.target.origin is None:
                claimed[link.target.id] = None
        for _, decision in own[id_]:
            claimed[decision.id] = None
    names = list(claimed)
    named = dict(zip(names, reader.all(facts.decisions, names), strict=True))
    for run in runs.values():
        bound = {found.index: found for found in own[run.id]}
        for link in run.authorized_by:
            if link.target.origin is not None:
                run.is_external = True
                continue
            meant = _meant(link.edge, named[link.target.id])
            fitting = [one for one in meant if one.record.execution in (None, run.id)]
            bound |= {one.index: one for one in fitting}
            if not fitting:
                run.misbound.append((link, meant))
        run.decisions = [bound[index] for index in sorted(bound)]
        run.allowing = [one for one in run.decisions if one.record.allowed]
        for one in run.decisions:
            run.seen_at(one.index)
            run.namesakes += [
                other
                for other in named.get(one.record.id, ())
                if other.record.producer == one.record.producer
                and not is_same(other.record, one.record)
            ]


def _meant(edge: Edge, found: tuple[Found[Decision], ...]) -> tuple[Found[Decision], ...]:
    """The decisions that an edge means: ids are unique for a producer, so its own go first."""
    own = tuple(one for one in found if one.record.producer == edge.producer)
    return own or found
