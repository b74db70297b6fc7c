"""Gathering what a trace is judged on (design section 3.1), level by level and in batches.

One lookup for each hop of the longest chain of runs, and after that a fixed number of batches for
all of them: this is what keeps a long trace cheap on a database.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from muniment.formats.kinds import Decision, Edge, Outcome
from muniment.lineage.facts import Facts, Found, Ref, ref_of
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


@dataclass(slots=True)
class Run:
    """What the log says of one run.

    Attributes:
        id: Its id.
        depth: Hops from the traced run.
        arrival: Leaf index of the edge by which the trace came to it; None for the traced run.
        edges: All edges from it.
        decisions: The decisions bound to it, whatever they say.
        misbound: For `authorized_by` edges that bind nothing: the edge, and the decisions of other
            runs that it claims; none if there is no such decision at all.
        namesakes: Decisions with the id and producer of a bound one, and other content.
        outcomes: Its outcomes.
        uses: When it relied on its authorization.
        is_external: Whether another log's decision is claimed.
    """

    id: str
    depth: int
    arrival: int | None
    edges: tuple[Found[Edge], ...] = ()
    decisions: list[Found[Decision]] = field(default_factory=list)
    misbound: list[tuple[Found[Edge], tuple[Found[Decision], ...]]] = field(default_factory=list)
    namesakes: list[Found[Decision]] = field(default_factory=list)
    outcomes: tuple[Found[Outcome], ...] = ()
    uses: list[Use] = field(default_factory=list)
    is_external: bool = False

    def related(self, relation: str) -> list[Found[Edge]]:
        """The edges of one relation."""
        return [found for found in self.edges if found.record.relation == relation]

    @property
    def allowing(self) -> list[Found[Decision]]:
        """The bound decisions that allow it."""
        return [found for found in self.decisions if found.record.allowed]

    @property
    def first(self) -> int | None:
        """Where the log first says something of the run itself; None if nowhere."""
        return min(
            (
                *(found.index for found in self.edges),
                *(found.index for found in self.decisions),
                *(found.index for found in self.outcomes),
            ),
            default=None,
        )


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
            run.edges = edges
            for index, edge in run.related("triggered_by"):
                parent = ref_of(edge.to, origin)
                if parent.origin is None and parent.id not in runs:
                    runs[parent.id] = Run(parent.id, run.depth + 1, index)
                    frontier.append(parent.id)
    _read_decisions(runs, facts, reader)
    ids = list(runs)
    for id_, outcomes in zip(ids, reader.all(facts.outcomes, ids), strict=True):
        run = runs[id_]
        run.outcomes = outcomes
        run.uses += [Use(index, record.time, "ended") for index, record in outcomes]
    for run in list(runs.values()):
        for index, edge in run.related("triggered_by"):
            parent = ref_of(edge.to, origin)
            if parent.origin is None:
                runs[parent.id].uses.append(Use(index, edge.time, f"triggered run {run.id}"))
    return runs


def _read_decisions(runs: dict[str, Run], facts: Facts, reader: Reader) -> None:
    origin = facts.head.origin
    ids = list(runs)
    own = dict(zip(ids, reader.all(facts.decisions_of, ids), strict=True))
    claimed: dict[str, None] = {}
    for id_ in ids:
        for _, edge in runs[id_].related("authorized_by"):
            if ref_of(edge.to, origin).origin is None:
                claimed[edge.to.id] = None
        for _, decision in own[id_]:
            claimed[decision.id] = None
    names = list(claimed)
    named = dict(zip(names, reader.all(facts.decisions, names), strict=True))
    for run in runs.values():
        bound = {found.index: found for found in own[run.id]}
        for found in run.related("authorized_by"):
            edge = found.record
            if ref_of(edge.to, origin).origin is not None:
                run.is_external = True
                continue
            meant = _meant(edge, named[edge.to.id])
            fitting = [one for one in meant if one.record.execution in (None, run.id)]
            bound |= {one.index: one for one in fitting}
            if not fitting:
                run.misbound.append((found, meant))
        run.decisions = [bound[index] for index in sorted(bound)]
        for one in run.decisions:
            run.namesakes += [
                other
                for other in named.get(one.record.id, ())
                if other.record.producer == one.record.producer and other.record != one.record
            ]


def _meant(edge: Edge, found: tuple[Found[Decision], ...]) -> tuple[Found[Decision], ...]:
    """The decisions that an edge means: ids are unique for a producer, so its own go first."""
    own = tuple(one for one in found if one.record.producer == edge.producer)
    return own or found
