"""Agents of a lineage: whom each acts for, and whether that one was authorised itself.

An agent is authorised here when an allowing decision of the lineage names it: the run that it
authorises is `performed_by` the agent, or the agent is the request's subject, the artifact's
authority or a link of its delegation chain. An agent that others have delegated to needs one
delegator that is authorised, and so has this one; further delegations, of other work, do no harm.

Who speaks for an agent is who governs it here: the issuers of the runs that it performed, and for
an agent that performed none, those of the agents that it delegated to; and the gateways that the
verifier has named.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from muniment.lineage.facts import Facts, Found, Ref, ref_of
from muniment.lineage.gather import Link, RunFacts, unheard
from muniment.lineage.issuers import ANYBODY, Issuers, counts
from muniment.lineage.judge import cycles
from muniment.lineage.model import Break, Unheard
from muniment.lineage.reader import BudgetedReader
from muniment.records.kinds import Edge
from muniment.records.thingnames import thing_name


@dataclass(slots=True)
class Delegations:
    """What was found on the agents of a lineage.

    `links` are the `delegated_by` edges that matter, each with the depth of its run and the agent;
    `breaks` what is wrong with them; `unheard` what strangers said of the agents.
    """

    links: list[tuple[int, Ref, Link]] = field(default_factory=list)
    breaks: list[Break] = field(default_factory=list)
    unheard: list[Unheard] = field(default_factory=list)


def named_agents(runs: Mapping[str, RunFacts]) -> set[str]:
    """The agents that the allowing decisions of a lineage name."""
    named: set[str] = set()
    for run in runs.values():
        if run.allowing:
            named.update(link.target.id for link in run.performed_by)
        for found in run.allowing:
            named.add(thing_name(found.record.subject.id))
            if found.record.artifact is not None:
                attribution = found.record.artifact.attribution
                named.add(attribution.authority)
                named.update(actor.sub for actor in attribution.chain())
    return named


def judge_agents(runs: Mapping[str, RunFacts], facts: Facts, reader: BudgetedReader) -> Delegations:
    """Follows the delegations behind the agents that performed the runs.

    Only the first page of an agent's delegations is read in which somebody speaks whose word
    counts: one good delegation is all that is needed.
    """
    origin = facts.head.origin
    named = named_agents(runs)
    result = Delegations()
    depths: dict[Ref, int] = {}
    governed: dict[Ref, Issuers] = {}
    for run in runs.values():
        for link in run.performed_by:
            if link.target.origin is None:
                depths.setdefault(link.target, run.depth)
                governed[link.target] = _both(governed.get(link.target, frozenset()), run.issuers)
    starts = tuple(depths)
    links: dict[Ref, list[tuple[Ref, int]]] = {}

    def is_enough(agent: Ref, page: tuple[Found[Edge], ...]) -> bool:
        return any(counts(edge.producer, governed[agent]) for _, edge in page)

    frontier = list(starts)
    while frontier:
        level, frontier = frontier, []
        pages = reader.until(facts.edges_from, level, is_enough)
        for agent, (entries, more) in zip(level, pages, strict=True):
            first: dict[Ref, Link] = {}
            for index, edge in entries:
                if edge.relation != "delegated_by":
                    continue
                if counts(edge.producer, governed[agent]):
                    target = ref_of(edge.to, origin)
                    first.setdefault(target, Link(index, edge, target))
                else:
                    result.unheard.append(unheard(agent, index, edge))
            good = {
                one: link
                for one, link in first.items()
                if one.origin is not None or one.id in named
            }
            depth = depths[agent]
            result.links += [(depth, agent, link) for link in (good or first).values()]
            if first and not good:
                result.breaks += [_unauthorized(agent, first, cut=more)]
            links[agent] = [(one, link.index) for one, link in good.items()]
            for one in good:
                if one.origin is None and one not in depths:
                    depths[one] = depth
                    governed[one] = governed[agent]
                    frontier.append(one)
    result.breaks += cycles(starts, links)
    return result


def _both(one: Issuers, other: Issuers) -> Issuers:
    return ANYBODY if one is None or other is None else one | other


def _unauthorized(agent: Ref, first: Mapping[Ref, Link], *, cut: bool) -> Break:
    delegator, link = next(iter(first.items()))
    if cut:
        return Break(
            "truncated",
            agent,
            link.index,
            f"an authorised delegator of agent {agent.id} among its first delegations",
            "none, and there are more",
        )
    return Break(
        "unauthorized_delegation",
        agent,
        link.index,
        f"the delegation to agent {agent.id} to come from an agent that an allowing decision of "
        "this lineage names",
        f"agent {delegator.id} (leaf {link.index})",
    )
