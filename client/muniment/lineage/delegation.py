"""Agents of a lineage: whom each acts for, and whether that one was authorised itself.

An agent is authorised here when an allowing decision of the lineage names it: the run that it
authorises is `performed_by` the agent, or the agent is the request's subject, the artifact's
authority or a link of its delegation chain. An agent that others have delegated to needs one
delegator that is authorised, and so has this one; further delegations, of other work, do no harm.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from muniment.formats.kinds import Edge
from muniment.lineage.facts import Facts, Found, Ref, ref_of
from muniment.lineage.gather import Run
from muniment.lineage.judge import cycles
from muniment.lineage.model import Break
from muniment.lineage.reader import Reader


@dataclass(slots=True)
class Delegations:
    """What was found on the agents of a lineage.

    Attributes:
        edges: `delegated_by` edges that matter, each with the depth of the run it is for.
        breaks: What is wrong with them.
    """

    edges: list[tuple[int, Found[Edge]]] = field(default_factory=list)
    breaks: list[Break] = field(default_factory=list)


def named_agents(runs: Mapping[str, Run]) -> set[str]:
    """The agents that the allowing decisions of a lineage name."""
    named: set[str] = set()
    for run in runs.values():
        if run.allowing:
            named.update(found.record.to.id for found in run.related("performed_by"))
        for found in run.allowing:
            named.add(found.record.subject.id)
            if found.record.artifact is not None:
                attribution = found.record.artifact.attribution
                named.add(attribution.authority)
                named.update(actor.sub for actor in attribution.chain())
    return named


def judge_agents(runs: Mapping[str, Run], facts: Facts, reader: Reader) -> Delegations:
    """Follows the delegations behind the agents that performed the runs.

    Only the first page of an agent's delegations is read: one good one is all that is needed.

    Raises:
        FactsError: If the facts cannot be read.
    """
    origin = facts.head.origin
    named = named_agents(runs)
    result = Delegations()
    depths: dict[Ref, int] = {}
    for run in runs.values():
        for found in run.related("performed_by"):
            agent = ref_of(found.record.to, origin)
            if agent.origin is None:
                depths.setdefault(agent, run.depth)
    starts = tuple(depths)
    links: dict[Ref, list[tuple[Ref, int]]] = {}
    frontier = list(starts)
    while frontier:
        level, frontier = frontier, []
        pages = reader.first_pages(facts.edges_from, level)
        for agent, (entries, more) in zip(level, pages, strict=True):
            first: dict[Ref, Found[Edge]] = {}
            for found in entries:
                if found.record.relation == "delegated_by":
                    first.setdefault(ref_of(found.record.to, origin), found)
            good = {one: f for one, f in first.items() if one.origin is not None or one.id in named}
            depth = depths[agent]
            result.edges += [(depth, found) for found in (good or first).values()]
            if first and not good:
                result.breaks += [_unauthorized(agent, first, cut=more)]
            links[agent] = [(one, found.index) for one, found in good.items()]
            for one in good:
                if one.origin is None and one not in depths:
                    depths[one] = depth
                    frontier.append(one)
    result.breaks += cycles(starts, links)
    return result


def _unauthorized(agent: Ref, first: Mapping[Ref, Found[Edge]], *, cut: bool) -> Break:
    delegator, found = next(iter(first.items()))
    if cut:
        return Break(
            "truncated",
            agent,
            found.index,
            f"expected an authorised delegator of agent {agent.id} among its first "
            "delegations, found none, and there are more",
        )
    return Break(
        "unauthorized_delegation",
        agent,
        found.index,
        f"expected the delegation to agent {agent.id} to come from an agent that a decision of "
        f"this lineage names, found agent {delegator.id} (leaf {found.index})",
    )
