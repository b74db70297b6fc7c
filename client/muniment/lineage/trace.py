"""Tracing a run to the origin of its authorization.

The trace follows `triggered_by` from run to run, and for each run `authorized_by`, `performed_by`
and, from agent to agent, `delegated_by`. It is *continuous* when every run on the way is known,
has an allowing decision that was logged before the run acted and valid while it did, nothing on
the way is revoked, and every delegation comes from an agent that was authorised itself.

A decision is bound to a run when it states the run as its `execution`, or when it states none and
an `authorized_by` edge leads to it. One bound decision that is revoked breaks the run even when
there are others; for validity, one that covers the moment is enough.

What counts is the word of those who govern a run or an agent, and of the gateways that the verifier
has named (`issuers`). What strangers say is told, and judged as nothing.

Links into other logs are kept and count as authorization here; nobody has verified them, so a
verifier has to decide about `Trace.external`.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from muniment.lineage.delegation import Delegations, judge_agents
from muniment.lineage.escape import terminal
from muniment.lineage.facts import Facts, Ref
from muniment.lineage.gather import Link, RunFacts, gather
from muniment.lineage.issuers import Gateways
from muniment.lineage.judge import cycles, judge_run
from muniment.lineage.model import (
    BREAK_KINDS,
    NOT_TOLD,
    Break,
    Hop,
    RunState,
    Trace,
    TraceWarning,
)
from muniment.lineage.moments import TOLERANCE, Moment
from muniment.lineage.reader import BudgetedReader
from muniment.lineage.revoked import revocations_of
from muniment.tlog.note import VKey

MAX_RECORDS: Final = 1_000_000
"""Most records that a trace reads unless the caller sets another bound: ten seconds of work."""


def trace(
    execution: str,
    facts: Facts,
    now: int,
    *,
    beside: Sequence[str] = (),
    gateways: Collection[VKey] | None = None,
    limit: int = MAX_RECORDS,
    tolerance: int = TOLERANCE,
    leeway: int = 0,
) -> Trace:
    """Traces a run to the origin of its authorization.

    Costs two lookups for each hop of the longest chain of runs, and a few batches. The answer is
    the same, in the same order, for the same facts and time. Raises FactsError if the facts cannot
    be read.

    Args:
        execution: The run.
        facts: The log.
        now: Unix seconds: revocations since then or earlier are in force. Validity is judged at
            the times at which the runs acted, not at this one.
        beside: Other runs to trace together with this one, such as those that descend from it. What
            is told of them (hops, breaks, origins) stands among what is told of this one.
        gateways: The gateways whose word counts; None for that of each run's own producers.
        limit: Most records to read; beyond, the trace is `truncated`.
        tolerance: Seconds by which a producer's clock may differ from those of the witnesses.
        leeway: Seconds by which a run may act before its decision's ``not_before``.
    """
    reader = BudgetedReader(limit)
    named = Gateways(gateways)
    runs = gather((execution, *beside), facts, reader, named)
    decisions = {found.index: found for run in runs.values() for found in run.decisions}
    revocations = revocations_of(
        reader, facts, list(decisions.values()), list(runs), now=now, gateways=named
    )
    moments = _moments(runs, facts, tolerance)
    breaks: list[Break] = []
    for run in runs.values():
        found = list(judge_run(run, runs, revocations, moments, leeway))
        breaks += sorted(found, key=_order) if found else ()
    agents = judge_agents(runs, facts, reader)
    breaks += agents.breaks
    parents = {
        Ref("run", run.id): [(link.target, link.index) for link in run.triggered_by]
        for run in runs.values()
    }
    breaks += cycles(tuple(parents), parents)
    if reader.is_cut:
        expected = f"a lineage of at most {limit} records"
        breaks.append(Break("truncated", Ref("run", execution), None, expected, "more"))
    strangers = [one for run in runs.values() for one in run.unheard]
    strangers += [*agents.unheard, *revocations.unheard.values()]
    return Trace(
        execution,
        facts.head,
        tuple(_hops(runs, agents)),
        tuple(decisions[index] for index in sorted(decisions)),
        tuple(run.id for run in runs.values() if not run.triggered_by),
        tuple(dict.fromkeys(breaks)),
        {index: reader.read[index] for index in sorted(reader.read)},
        tuple(_state(run) for run in runs.values()),
        tuple(sorted(dict.fromkeys(strangers))),
        tuple(_implausible(runs, moments)),
        tuple(sorted(reader.manifests)),
    )


def _moments(runs: Mapping[str, RunFacts], facts: Facts, tolerance: int) -> dict[int, Moment]:
    """When the runs acted, by the leaf that tells."""
    if not any(run.uses for run in runs.values()):
        return {}
    times = {use.index: use.time // 1000 for run in runs.values() for use in run.uses}
    intervals = facts.intervals(list(times))
    return {
        index: Moment(time, interval, tolerance)
        for (index, time), interval in zip(times.items(), intervals, strict=True)
    }


def _implausible(
    runs: Mapping[str, RunFacts], moments: Mapping[int, Moment]
) -> Iterator[TraceWarning]:
    for run in runs.values():
        for index, _, what, producer in run.uses:
            moment = moments[index]
            if moment.is_implausible:
                yield TraceWarning(
                    "implausible_time",
                    Ref("run", run.id),
                    index,
                    producer,
                    f"{terminal(producer)} says that run {run.id} {what} at {moment.time} (leaf "
                    f"{index}), which the log took {moment.words}",
                )


def _state(run: RunFacts) -> RunState:
    issuers = tuple(sorted({one.record.producer for one in run.decisions}))
    statuses = [outcome.status for _, outcome in run.outcomes]
    certain = [status for status in statuses if status != "unknown"]
    ended = (certain or statuses or [NOT_TOLD])[0]
    return RunState(run.id, run.depth, issuers, ended, run.outcomes, run.verifications)


def _order(one: Break) -> tuple[int, int]:
    return BREAK_KINDS.index(one.kind), -1 if one.index is None else one.index


def _hops(runs: dict[str, RunFacts], agents: Delegations) -> list[Hop]:
    hops: list[Hop] = []
    for run in runs.values():
        subject = Ref("run", run.id)
        for links in (run.authorized_by, run.performed_by, run.triggered_by):
            hops += [_hop(run.depth, subject, link) for link in links]
        # A decision that states its run needs no edge to be a link.
        claimed = {link.target.id for link in run.authorized_by}
        hops += [
            Hop(
                run.depth,
                index,
                "authorized_by",
                subject,
                Ref("decision", decision.id),
                producer=decision.producer,
            )
            for index, decision in run.decisions
            if decision.id not in claimed
        ]
    hops += [_hop(depth, source, link) for depth, source, link in agents.links]
    return sorted(hops, key=lambda hop: (hop.depth, hop.index))


def _hop(depth: int, source: Ref, link: Link) -> Hop:
    external = link.edge.to if link.target.origin is not None else None
    edge = link.edge
    return Hop(depth, link.index, edge.relation, source, link.target, external, edge.producer)
