"""Gathering what a trace is judged on, level by level and in batches.

Two lookups for each hop of the longest chain of runs, and after that a fixed number of batches for
all of them: this is what keeps a long trace cheap on a database. Whose word counts for a run has
to be known before its edges are followed, so its decisions are read with them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from muniment.lineage.escape import terminal
from muniment.lineage.facts import Facts, Found, Ref, is_same, ref_of
from muniment.lineage.issuers import ANYBODY, Gateways, Issuers, counts
from muniment.lineage.model import Unheard
from muniment.lineage.reader import BudgetedReader
from muniment.records.kinds import (
    Approval,
    Decision,
    Edge,
    Erasure,
    Outcome,
    Record,
    Revocation,
    Verification,
)

R = TypeVar("R", bound=Record)


class Use(NamedTuple):
    """A moment, in Unix milliseconds by the producer of a record, at which a run did something.

    It relied on its authorization then; `index` is the leaf of the record that tells.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    time: int
    what: str
    producer: str


class Link(NamedTuple):
    """An edge from a run, and the thing that it leads to."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    edge: Edge
    target: Ref


@dataclass(slots=True)
class RunFacts:
    """What the log says of one run, by those whose word counts for it.

    Attributes:
        depth: Hops from the traced run.
        arrival: Leaf index of the edge by which the trace came to it; None for the traced run.
        issuers: Whose word counts for it.
        decisions: The decisions bound to it, whatever they say; `allowing` are those that allow it.
        misbound: For `authorized_by` edges that bind nothing: the edge, and the decisions of other
            runs that it claims; none if there is no such decision at all.
        namesakes: Decisions with the id and producer of a bound one, and other content.
        uses: When it relied on its authorization.
        is_external: Whether another log's decision is claimed.
        first: Leaf index at which the log first says something of the run itself; None if nowhere.
        unheard: What strangers said of it.
    """

    id: str
    depth: int
    arrival: int | None
    issuers: Issuers = ANYBODY
    triggered_by: list[Link] = field(default_factory=list)
    performed_by: list[Link] = field(default_factory=list)
    authorized_by: list[Link] = field(default_factory=list)
    decisions: list[Found[Decision]] = field(default_factory=list)
    allowing: list[Found[Decision]] = field(default_factory=list)
    misbound: list[tuple[Link, tuple[Found[Decision], ...]]] = field(default_factory=list)
    namesakes: list[Found[Decision]] = field(default_factory=list)
    outcomes: tuple[Found[Outcome], ...] = ()
    verifications: tuple[Found[Verification], ...] = ()
    uses: list[Use] = field(default_factory=list)
    is_external: bool = False
    first: int | None = None
    unheard: list[Unheard] = field(default_factory=list)

    def seen_at(self, index: int) -> None:
        """Notes that the log says something of the run at a leaf."""
        if self.first is None or index < self.first:
            self.first = index

    def heard(self, found: Iterable[Found[R]]) -> list[Found[R]]:
        """Those records whose producers' word counts for this run; keeps the others as unheard."""
        heard: list[Found[R]] = []
        for one in found:
            index, record = one
            if counts(record.producer, self.issuers):
                heard.append(one)
                self.seen_at(index)
            else:
                self.unheard.append(unheard(Ref("run", self.id), index, record))
        return heard


def unheard(subject: Ref, index: int, record: Record) -> Unheard:
    """What a record says of a thing for which its producer's word does not count."""
    match record:
        case Decision():
            said = f"decision {record.id}: {'allow' if record.allowed else 'deny'}"
        case Edge():
            end = record.to if record.from_.id == subject.id else record.from_
            said = f"{record.relation} {end.type} {end.id}"
        case Outcome():
            said = f"outcome: {record.status}"
        case Verification():
            said = f"verification: {record.state}"
        case Revocation():
            said = f"revoked since {record.since}"
        case Erasure():  # relates to nothing, and so is never asked about
            said = f"erased {len(record.digests)} addenda"
        case Approval():  # nor is this: its decision names it
            said = f"approval {record.id}: {'allow' if record.approval.decision else 'deny'}"
    return Unheard(index, subject, record.producer, terminal(said))


def gather(
    executions: Sequence[str], facts: Facts, reader: BudgetedReader, gateways: Gateways
) -> dict[str, RunFacts]:
    """Reads some runs and all runs that they descend from, with their decisions and outcomes.

    Returns:
        The runs by id, nearest first, after those that were asked for; these are there also when
        nothing is known of them.
    """
    origin = facts.head.origin
    runs = {execution: RunFacts(execution, 0, None) for execution in executions}
    frontier = list(runs)
    while frontier:
        level, frontier = frontier, []
        edges = reader.all(facts.edges_from, [Ref("run", id_) for id_ in level])
        stated = reader.all(facts.decisions_of, level)
        links = [
            [Link(index, edge, ref_of(edge.to, origin)) for index, edge in found] for found in edges
        ]
        named = _named(links, stated, facts, reader)
        for id_, own, decisions in zip(level, links, stated, strict=True):
            run = runs[id_]
            _bind(run, own, decisions, named, gateways)
            for index, _, parent in run.triggered_by:
                if parent.origin is None and parent.id not in runs:
                    runs[parent.id] = RunFacts(parent.id, run.depth + 1, index)
                    frontier.append(parent.id)
    _find_namesakes(runs, facts, reader)
    ids = list(runs)
    outcomes = reader.all(facts.outcomes, ids)
    verifications = reader.all(facts.verifications, ids)
    for run, ended, verified in zip(runs.values(), outcomes, verifications, strict=True):
        if ended:
            run.outcomes = tuple(run.heard(ended))
            run.uses += [
                Use(index, record.time, "ended", record.producer) for index, record in run.outcomes
            ]
        if verified:
            run.verifications = tuple(run.heard(verified))
    for run in runs.values():
        for index, edge, parent in run.triggered_by:
            if parent.origin is None:
                use = Use(index, edge.time, f"triggered run {run.id}", edge.producer)
                runs[parent.id].uses.append(use)
    return runs


def _named(
    links: Sequence[Sequence[Link]],
    stated: Sequence[Sequence[Found[Decision]]],
    facts: Facts,
    reader: BudgetedReader,
) -> Mapping[str, tuple[Found[Decision], ...]]:
    """The decisions that `authorized_by` edges claim, by id; those that state the run are known."""
    claimed: dict[str, None] = {}
    for own, decisions in zip(links, stated, strict=True):
        known = {(record.id, record.producer) for _, record in decisions}
        for _, edge, target in own:
            if (
                edge.relation == "authorized_by"
                and target.origin is None
                and (target.id, edge.producer) not in known
            ):
                claimed[target.id] = None
    if not claimed:
        return {}
    names = list(claimed)
    return dict(zip(names, reader.all(facts.decisions, names), strict=True))


def _bind(
    run: RunFacts,
    links: Sequence[Link],
    stated: Sequence[Found[Decision]],
    named: Mapping[str, tuple[Found[Decision], ...]],
    gateways: Gateways,
) -> None:
    """Finds the decisions on a run, by them its issuers, and by these the edges that count.

    A decision that states no run is bound by an edge of its own producer, or of a named gateway:
    on whom it decides is the producer's word, and not that of whoever likes to be authorised.
    """
    bound = {found.index: found for found in stated if gateways.decides(found.record.producer)}
    meant: dict[int, list[Found[Decision]]] = {}  # by the edge's leaf: what it claims
    fits: set[int] = set()  # leaves of edges that claim a decision on this run
    for index, edge, target in links:
        if edge.relation != "authorized_by" or target.origin is not None:
            continue
        if target.id not in named:  # its own producer's decision, which states this run
            fits.add(index)
            continue
        found = _meant(edge, named[target.id])
        meant[index] = [one for one in found if gateways.decides(one.record.producer)]
        for one in meant[index]:
            if one.record.execution is None and (
                edge.producer == one.record.producer or gateways.vouches(edge.producer)
            ):
                bound[one.index] = one
            if one.record.execution in (None, run.id):
                fits.add(index)
    deciders = {one.record.producer for one in bound.values()} or {
        link.edge.producer
        for link in links
        if link.edge.relation == "authorized_by" and link.target.origin is not None
    }
    run.issuers = gateways.issuers(deciders)
    for index in sorted(bound):
        one = bound[index]
        run.decisions.append(one)
        run.seen_at(index)
        if one.record.allowed:
            run.allowing.append(one)
    for index, record in stated:
        if index not in bound:
            run.unheard.append(unheard(Ref("run", run.id), index, record))
    for link in links:
        index, edge, target = link
        if not counts(edge.producer, run.issuers):
            run.unheard.append(unheard(Ref("run", run.id), index, edge))
            continue
        run.seen_at(index)
        match edge.relation:
            case "triggered_by":
                run.triggered_by.append(link)
            case "performed_by":
                run.performed_by.append(link)
            case "authorized_by":
                run.authorized_by.append(link)
                if target.origin is not None:
                    run.is_external = True
                elif index not in fits:
                    run.misbound.append((link, tuple(meant[index])))
            case _:  # data that it used: lineage, but nobody's authority
                pass


def _meant(edge: Edge, found: tuple[Found[Decision], ...]) -> tuple[Found[Decision], ...]:
    """The decisions that an edge means: ids are unique for a producer, so its own go first."""
    own = tuple(one for one in found if one.record.producer == edge.producer)
    return own or found


def _find_namesakes(runs: Mapping[str, RunFacts], facts: Facts, reader: BudgetedReader) -> None:
    """Finds decisions that share id and producer with one that counts, and differ from it."""
    ids = dict.fromkeys(one.record.id for run in runs.values() for one in run.decisions)
    named = dict(zip(ids, reader.all(facts.decisions, list(ids)), strict=True))
    for run in runs.values():
        for index, record in run.decisions:
            namesakes = named[record.id]
            if len(namesakes) < 2:
                continue
            for other in namesakes:
                if (
                    other.index != index
                    and other.record.producer == record.producer
                    and not is_same(other.record, record)
                ):
                    run.namesakes.append(other)
