"""Ancestors and descendants of a thing along lineage edges of every relation.

Breadth first and without recursion, so neither a long chain nor a cycle harms: each thing is
visited once, and depth and number of edges are bounded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from muniment.lineage.facts import Facts, FactsHead, Found, Ref, ref_of
from muniment.lineage.reader import BudgetedReader, FactsLookup
from muniment.records.kinds import Edge

Direction: TypeAlias = Literal["ancestors", "descendants"]

MAX_EDGES: Final = 10_000
"""Most edges in a walk unless the caller sets another bound: a response of a few megabytes."""

_BATCH: Final = 500


class Step(NamedTuple):
    """One edge of a walk; `depth` is hops from the start to its near end, 0 for the start's own."""

    depth: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which a step has no use for
    edge: Edge


@dataclass(frozen=True, slots=True)
class Walk:
    """What was found.

    Attributes:
        start: The thing that it began with.
        direction: Towards what came before it, or after it.
        head: The state of the log that the answer reflects.
        steps: Each edge once: by depth, and within a thing in the order of the log.
        truncated: Whether a bound cut something off.
    """

    start: Ref
    direction: Direction
    head: FactsHead
    steps: tuple[Step, ...]
    truncated: bool


def walk(
    start: Ref,
    facts: Facts,
    *,
    direction: Direction = "ancestors",
    depth: int = 64,
    limit: int = MAX_EDGES,
) -> Walk:
    """Walks from a thing along all edges, at most `limit` of them and `depth` hops, both positive.

    Things of other logs are kept as ends of edges; what this log says of them is followed too.

    Raises:
        FactsError: If the facts cannot be read.
        ValueError: If a bound is not positive.
    """
    if depth < 1 or limit < 1:
        raise ValueError("depth and limit are at least 1")
    found: list[Step] = []
    truncated = False
    # One hop more tells whether anything lies beyond the depth.
    for step in steps(start, facts, direction, depth=depth + 1, limit=limit):
        if step.depth == depth or len(found) == limit:
            truncated = True
            break
        found.append(step)
    return Walk(start, direction, facts.head, tuple(found), truncated)


def descending_runs(
    execution: str, facts: Facts, *, limit: int = MAX_EDGES
) -> tuple[list[str], bool]:
    """The runs of which somebody says that a run, or one of these, has triggered them.

    Whether that somebody's word counts, tracing them tells. Raises FactsError if the facts cannot
    be read.

    Returns:
        The runs, nearest first; and whether there may be more, after `limit` edges were read.
    """
    origin = facts.head.origin
    reader = BudgetedReader(limit)
    found = {execution: None}
    frontier = [execution]
    while frontier:
        pages = reader.all(facts.edges_to, [Ref("run", id_) for id_ in frontier])
        ends = [
            ref_of(edge.from_, origin)
            for page in pages
            for _, edge in page
            if edge.relation == "triggered_by"
        ]
        frontier = list(
            dict.fromkeys(end.id for end in ends if end.origin is None and end.id not in found)
        )
        found.update(dict.fromkeys(frontier))
    runs = list(found)[1:]
    return runs[:limit], reader.is_cut or len(runs) > limit


def steps(
    start: Ref,
    facts: Facts,
    direction: Direction,
    *,
    depth: int,
    limit: int,
    into_other_logs: bool = True,
) -> Iterator[Step]:
    """Yields each edge within some hops once, nearest first; reads `limit` at a time for a thing.

    Raises FactsError if the facts cannot be read.
    """
    origin = facts.head.origin
    forward = direction == "ancestors"
    lookup = facts.edges_from if forward else facts.edges_to
    seen, frontier = {start}, [start]
    walked: set[int] = set()
    for hops in range(depth):
        level, frontier = frontier, []
        for first in range(0, len(level), _BATCH):
            batch = level[first : first + _BATCH]
            for index, edge in _edges(lookup, batch, limit):
                if index in walked:
                    continue
                walked.add(index)
                yield Step(hops, index, edge)
                far = ref_of(edge.to if forward else edge.from_, origin)
                if far not in seen and (into_other_logs or far.origin is None):
                    seen.add(far)
                    frontier.append(far)


def _edges(
    lookup: FactsLookup[Ref, Edge], things: Sequence[Ref], limit: int
) -> Iterator[Found[Edge]]:
    """All edges of some things, read `limit` at a time for each."""
    for thing, first in zip(things, lookup(things, limit=limit), strict=True):
        page = first
        yield from page.entries
        while page.more and page.entries:
            [page] = lookup([thing], after=page.entries[-1].index, limit=limit)
            yield from page.entries
