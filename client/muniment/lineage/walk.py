"""Ancestors and descendants of a thing along lineage edges of every relation.

Breadth first and without recursion, so neither a long chain nor a cycle harms: each thing is
visited once, and depth and number of edges are bounded.
"""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from muniment.lineage.facts import Facts, FactsHead, Found, Ref, ref_of
from muniment.records.kinds import Edge

Direction: TypeAlias = Literal["ancestors", "descendants"]

MAX_EDGES: Final = 10_000
"""Most edges in a walk unless the caller sets another bound: a response of a few megabytes."""

_BATCH: Final = 500


class Step(NamedTuple):
    """One edge of a walk.

    Attributes:
        depth: Hops from the start to the edge's near end: 0 for the start's own edges.
        index: The edge's leaf index.
        edge: The edge.
    """

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
    """Walks from a thing along all edges.

    Things of other logs are kept as ends of edges; what this log says of them is followed too.

    Args:
        start: The thing.
        facts: The log.
        direction: `ancestors` follows edges from `from` to `to`, `descendants` the other way.
        depth: Most hops from the start, at least 1.
        limit: Most edges, at least 1.

    Raises:
        FactsError: If the facts cannot be read.
        ValueError: If a bound is not positive.
    """
    if depth < 1 or limit < 1:
        raise ValueError("depth and limit are at least 1")
    origin = facts.head.origin
    forward = direction == "ancestors"
    lookup = facts.edges_from if forward else facts.edges_to
    seen, frontier = {start}, [start]
    steps: dict[int, Step] = {}
    for level in range(depth):
        reached: list[Ref] = []
        for first in range(0, len(frontier), _BATCH):
            batch = frontier[first : first + _BATCH]
            for thing, page in zip(batch, lookup(batch, limit=limit), strict=True):
                entries: tuple[Found[Edge], ...] = page.entries
                while entries:
                    for index, edge in entries:
                        if index in steps:
                            continue
                        if len(steps) == limit:
                            found = tuple(steps.values())
                            return Walk(start, direction, facts.head, found, truncated=True)
                        steps[index] = Step(level, index, edge)
                        far = ref_of(edge.to if forward else edge.from_, origin)
                        if far not in seen:
                            seen.add(far)
                            reached.append(far)
                    if not page.more:
                        break
                    [page] = lookup([thing], after=entries[-1].index, limit=limit)
                    entries = page.entries
        frontier = reached
        if not frontier:
            break
    # What lies beyond the depth was not looked at; there may be nothing.
    truncated = any(
        page.entries
        for first in range(0, len(frontier), _BATCH)
        for page in lookup(frontier[first : first + _BATCH], limit=1)
    )
    return Walk(start, direction, facts.head, tuple(steps.values()), truncated)
