"""Judging one run of a lineage: whether it was authorised when it acted.

Each rule yields a break or nothing, and all rules always run. What fails is the record that is
there or the one that is missing; nothing is inferred in a run's favour. Only what those said
counts whose word it is (`issuers`).
"""

from collections.abc import Collection, Iterator, Mapping

from muniment.lineage.escape import terminal
from muniment.lineage.facts import Ref
from muniment.lineage.gather import RunFacts
from muniment.lineage.model import Break
from muniment.lineage.moments import Moment
from muniment.lineage.revoked import Revocations


def judge_run(
    run: RunFacts,
    runs: Mapping[str, RunFacts],
    revocations: Revocations,
    moments: Mapping[int, Moment],
    leeway: int,
) -> Iterator[Break]:
    """Finds every break at one run of a lineage of `runs`.

    `moments` are by the leaf that tells; a validity begins `leeway` seconds earlier.
    """
    subject = Ref("run", run.id)
    if run.first is None:
        yield _unknown(run, subject)
    else:
        yield from _unbound(run, subject)
        yield from _ordered(run, runs, subject)
        yield from _contested(run, subject)
        yield from _timely(run, subject, moments, leeway)
    yield from revocations.of_run(run.id, run.issuers)
    ended = [moments[index] for index, record in run.outcomes if record.status != "unknown"]
    for found in run.allowing:
        yield from revocations.of_decision(found, run.issuers, ended)


def _unknown(run: RunFacts, subject: Ref) -> Break:
    if run.arrival is None:
        return Break("unknown_run", subject, None, f"records of run {run.id}", "none in the log")
    return Break(
        "dangling_parent",
        subject,
        run.arrival,
        f"records of run {run.id}, to which the edge at leaf {run.arrival} leads",
        "none in the log",
    )


def _unbound(run: RunFacts, subject: Ref) -> Iterator[Break]:
    for link, others in run.misbound:
        id_ = link.target.id
        if others:
            yield Break(
                "misbound_decision",
                link.target,
                link.index,
                f"decision {id_}, which the edge at leaf {link.index} claims, to authorise "
                f"run {run.id}",
                f"that it authorises run {others[0].record.execution} (leaf {others[0].index})",
            )
        else:
            yield Break(
                "dangling_decision",
                link.target,
                link.index,
                f"decision {id_}, to which the edge at leaf {link.index} leads",
                "none in the log",
            )
    if not run.allowing and not run.is_external:
        index, found = run.arrival, "no decision"
        if run.decisions:
            index = run.decisions[-1].index
            found = f"the decision at leaf {index}, which denies it"
        yield Break(
            "unauthorized_run", subject, index, f"a decision that allows run {run.id}", found
        )
    for other in run.namesakes:
        yield Break(
            "conflicting_decision",
            Ref("decision", other.record.id),
            other.index,
            f"one decision {other.record.id} of its producer",
            f"another one at leaf {other.index}",
        )


def _contested(run: RunFacts, subject: Ref) -> Iterator[Break]:
    """One run, one issuer, one answer: whoever decides next to it leaves open which one counts."""
    if len(run.decisions) == 1:
        return
    deciders = {found.record.producer: found.index for found in reversed(run.decisions)}
    if not run.decisions:
        links = [link for link in run.authorized_by if link.target.origin is not None]
        deciders = {link.edge.producer: link.index for link in reversed(links)}
    if len(deciders) > 1:
        # What another one said later is what contests the run.
        index = max(deciders.values())
        names = " and ".join(terminal(name) for name in sorted(deciders))
        yield Break(
            "contested_run", subject, index, f"one producer to decide on run {run.id}", names
        )
    denying = [found.index for found in run.decisions if not found.record.allowed]
    if run.allowing and denying:
        allowed, denied = run.allowing[0].index, denying[0]
        yield Break(
            "contested_run",
            subject,
            max(allowed, denied),
            f"one answer on run {run.id}",
            f"that it is allowed (leaf {allowed}) and denied (leaf {denied})",
        )


def _ordered(run: RunFacts, runs: Mapping[str, RunFacts], subject: Ref) -> Iterator[Break]:
    bound = {found.record.id: found.index for found in reversed(run.decisions)}
    for index, _, target in (*run.authorized_by, *run.triggered_by):
        if target.origin is not None:
            continue
        known = runs[target.id].first if target.type == "run" else bound.get(target.id)
        if known is not None and known > index:
            yield Break(
                "later_record",
                target,
                index,
                f"the edge at leaf {index} to lead to something earlier",
                f"that {target.type} {target.id} first comes at leaf {known}",
            )
    if not run.allowing:
        return
    logged = run.allowing[0].index
    for use in run.uses:
        # Had the log not known the run at all by then, the edge itself is what is wrong.
        if run.first is not None and run.first < use.index < logged:
            yield Break(
                "late_authorization",
                subject,
                use.index,
                f"the decision for run {run.id} before it {use.what} (leaf {use.index})",
                f"it at leaf {logged}",
            )
            return


def _timely(
    run: RunFacts, subject: Ref, moments: Mapping[int, Moment], leeway: int
) -> Iterator[Break]:
    artifacts = [found.record.artifact for found in run.allowing]
    periods = [artifact.validity for artifact in artifacts if artifact is not None]
    # A decision without an artifact sets no bounds, and of another log's we know none.
    if len(periods) != len(artifacts) or run.is_external or not periods:
        return
    for use in run.uses:
        moment = moments[use.index]
        if not any(moment.is_within(period, leeway) for period in periods):
            last = periods[-1]
            found = f"that it {use.what} at {moment.time} (leaf {use.index})"
            if any(period.covers(moment.time) for period in periods):
                found += f", which was logged {moment.words}"
            yield Break(
                "expired_authorization",
                subject,
                use.index,
                f"run {run.id} to act in [{last.not_before}, {last.not_after})",
                found,
            )
            return


def cycles(
    starts: Collection[Ref], links: Mapping[Ref, Collection[tuple[Ref, int]]]
) -> Iterator[Break]:
    """Finds each link that closes a cycle, depth first and without recursion.

    `links` has for each thing those that it depends on, with the leaf index of the edge.
    """
    done: set[Ref] = set()
    for start in starts:
        if start in done:
            continue
        path = {start}
        stack = [(start, iter(links.get(start, ())))]
        while stack:
            thing, rest = stack[-1]
            for target, index in rest:
                if target in path:
                    yield Break(
                        "cycle",
                        target,
                        index,
                        f"{target.type} {target.id} not to descend from itself",
                        f"that the edge at leaf {index} closes a cycle",
                    )
                elif target not in done:
                    path.add(target)
                    stack.append((target, iter(links.get(target, ()))))
                    break
            else:
                stack.pop()
                path.remove(thing)
                done.add(thing)
