"""One audit of one log, from its checkpoint down to every leaf.

The order: the checkpoint against the policy; the checkpoint against what was trusted so far; every
leaf since then, its bundle, its record, its batch, its stream; every hash tile of every level; the
root. Only a tree without findings becomes the next state, so that a finding stays until it is
explained. Proven misbehaviour is the exception: the proof is kept in the state.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import AsyncExitStack, aclosing
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from typing import Final

from muniment.audit.addenda import owner_of
from muniment.audit.asking import confirm
from muniment.audit.check import LeafRules
from muniment.audit.comparison import TileComparison
from muniment.audit.evidence import check_kept, prove
from muniment.audit.reader import examiner, in_order, read_spans
from muniment.audit.relations import judge
from muniment.audit.relationstore import Judgement, RelationStore
from muniment.audit.report import MISMATCH, Finding, Report, Verdict, Weight
from muniment.audit.reuse import excuse
from muniment.audit.statefile import AuditState
from muniment.audit.streams import Streams
from muniment.audit.trust import (
    ProvenMisbehaviour,
    StaleCheckpoint,
    TrustState,
    describe_root,
)
from muniment.errors import BadAnswer, FormatError, InputError, Refused, VerificationError
from muniment.http.logclient import LogClient
from muniment.http.logtiles import log_tiles
from muniment.local.forkpool import ForkServer
from muniment.tlog.heads import Relation
from muniment.tlog.merkle import split_hashes
from muniment.tlog.note import ED25519, VKey
from muniment.tlog.policy import CosignedCheckpoint, Policy
from muniment.tlog.rightedge import TileEdge
from muniment.tlog.treereader import read_prefix

OUTCOME_AGE: Final = 3600
"""From which age on, in seconds, a decision lacks the outcome that it promised, unless told."""

Progress = Callable[[int, int], None]
"""Told (leaves audited, leaves to audit)."""


@dataclass(frozen=True, slots=True)
class AuditOptions:
    """What to audit against.

    Attributes:
        origin: The log that is expected; any log of the policy when None.
        gateways: Keys of gateways, to verify their manifests.
        old_vkeys: Keys that the log had before those of the policy; what a state keeps may be
            signed by them.
        tree_only: To check the tree alone, and not what the leaves are: for any log of tiles.
        addenda: To ask the log for the addenda that the records name.
        approvers: Keys of people, to verify their approvals; without any, these are not verified.
        outcome_age: From which age on, in seconds, a decision lacks the outcome that it promised.
        max_age: Most seconds since the time for which a quorum vouches; None for no limit.
    """

    policy: Policy
    origin: str | None = None
    gateways: tuple[VKey, ...] = ()
    max_age: int | None = None
    old_vkeys: tuple[VKey, ...] = ()
    tree_only: bool = False
    addenda: bool = False
    approvers: tuple[VKey, ...] = ()
    outcome_age: int = OUTCOME_AGE


@dataclass(frozen=True, slots=True)
class AuditOutcome:
    """The report of an audit, and what the next one starts from, if there is anything to keep.

    That is the audited tree when it was clean, the old state when not; with the proof in it when
    misbehaviour of the log's key was proven.
    """

    report: Report
    state: AuditState | None


async def audit_log(
    client: LogClient,
    options: AuditOptions,
    state: AuditState | None,
    *,
    now: int,
    progress: Progress = lambda _done, _total: None,
    server: ForkServer | None = None,
) -> AuditOutcome:
    """Audits a log; without the state of the last audit, trusts its checkpoint on first use.

    A big audit works in several processes; they begin sooner if a `server` forks them.
    `now` is in Unix seconds, for ``max_age``. What the log says, however wrong, is in the report.
    Raises Unreachable if it does not answer; InputError if what the state keeps is not signed by
    the log's keys, old ones included.
    """
    if state is not None:
        check_kept(state.trust, options.policy, options.old_vkeys)
        if state.is_tree_only != options.tree_only:
            raise InputError(
                "the state is of audits of the whole log: --tree needs one of its own"
                if options.tree_only
                else "the state is of audits of the tree alone: go on with --tree, or begin anew"
            )
    report = Report(
        since=state.trust.size if state else 0,
        is_first_use=state is None,
        is_tree_only=options.tree_only,
        outcome_age=options.outcome_age,
        knows_approvers=bool(options.approvers),
    )
    audit = _Audit(client, options, state, now, progress, server)
    try:
        report, audited = await audit.run(report)
    except ProvenMisbehaviour as proof:
        return AuditOutcome(report, _condemned(proof, options, state, report))
    except StaleCheckpoint as stale:
        report.found("stale", str(stale), Weight.UNVERIFIED)
    except VerificationError as error:
        report.found("inconsistent", str(error), Weight.UNVERIFIED)
    except Refused as refusal:
        if refusal.is_retriable and not refusal.is_damage:
            raise
        report.found(*_refused(refusal), Weight.UNVERIFIED)
    except (BadAnswer, FormatError) as error:
        report.found("malformed", str(error), Weight.UNVERIFIED)
    else:
        if report.verdict is Verdict.CLEAN:
            return AuditOutcome(report, audited)
    return AuditOutcome(report, state)


def _condemned(
    proof: ProvenMisbehaviour, options: AuditOptions, state: AuditState | None, report: Report
) -> AuditState | None:
    """Reports what the log's key signed, and adds the proof to the state, if it proves that."""
    report.origin = report.origin or (state.trust.origin if state else "")
    try:
        prove(proof.misbehaviour, options.policy, options.old_vkeys)
    except (VerificationError, FormatError) as error:
        sentence = f"{proof}, it seems, but that is not proven: {error}"
        report.found("inconsistent", sentence, Weight.UNVERIFIED)
        return state
    report.condemn(proof.misbehaviour)
    return state and replace(state, trust=state.trust.condemned(proof.misbehaviour))


def _refused(refusal: Refused) -> tuple[str, str]:
    """Kind and sentence of the finding that a log does not serve what an audit has to read."""
    if refusal.is_damage:
        return "damaged", f"the log says that what it holds is damaged: {refusal}"
    if refusal.problem.slug == "pruned":
        return "pruned", (
            "the log has pruned what this audit has to read; audit its archive, or go on from a "
            f"state that is past it: {refusal}"
        )
    return "missing", f"the log does not serve its tree: {refusal}"


@dataclass(frozen=True, slots=True)
class _Audit:
    """What one audit reads, and against what; see `audit_log`."""

    client: LogClient
    options: AuditOptions
    state: AuditState | None
    now: int
    progress: Progress
    server: ForkServer | None

    async def run(self, report: Report) -> tuple[Report, AuditState | None]:
        """The report, and the tree that was audited; None when no checkpoint was accepted."""
        state = self.state
        if state is not None and state.trust.misbehaviour is not None:
            raise ProvenMisbehaviour(state.trust.misbehaviour)
        new = await self._head(report)
        if new is None:
            return report, None
        trust = await self._trust(new)
        report, edge, streams = await self._told_right(trust, report)
        places, only = tuple(sorted(streams.places.items())), self.options.tree_only
        return report, AuditState(trust, edge.partials, places, streams.open, is_tree_only=only)

    async def _head(self, report: Report) -> CosignedCheckpoint | None:
        """Reads the checkpoint and verifies it by the policy; None when that fails.

        One that is older than the state's is asked for again: it may come from a copy that is
        behind.
        """
        client, options, state, now = self.client, self.options, self.state, self.now
        expected = options.origin or (state.trust.origin if state else None)
        pauses = iter(client.pauses)
        while True:
            try:
                data = await client.checkpoint()
                new = options.policy.verify(data, origin=expected)
            except Refused as refusal:
                if refusal.is_retriable:
                    raise
                sentence = f"the log shows no checkpoint: {refusal}"
                report.found("no-checkpoint", sentence, Weight.UNVERIFIED)
                return None
            except (FormatError, VerificationError) as error:
                report.found("bad-checkpoint", str(error), Weight.UNVERIFIED)
                return None
            pause = next(pauses, None)
            if pause is None or state is None or new.size >= state.trust.size:
                break
            await asyncio.sleep(pause)
        report.origin, report.size, report.root = new.origin, new.size, new.root
        report.cosigners = new.cosigners
        report.time, report.ahead = new.time(now), new.ahead(now)
        if options.max_age is not None and now - report.time > options.max_age:
            age = (
                f"the cosignatures of a quorum are up to {now - report.time} s old"
                if report.time
                else "no quorum of cosignatures states a time that is not in the future"
            )
            report.found("too-old", f"{age}; allowed are {options.max_age} s", Weight.UNVERIFIED)
        return new

    async def _trust(self, new: CosignedCheckpoint) -> TrustState:
        """Applies the trust rules; makes a consistency proof from tiles when they need one."""
        if self.state is None:
            return TrustState.on_first_use(new)
        trust = self.state.trust
        if trust.relate(new) is not Relation.UNKNOWN:
            return trust.accept(new, ())
        prefix = await read_prefix(log_tiles(self.client, new.head), trust.size, new.size)
        return trust.accept(new, prefix.proof, implied_root=prefix.root)

    async def _told_right(
        self, trust: TrustState, report: Report
    ) -> tuple[Report, TileEdge, Streams]:
        """What `_leaves` comes to, by answers of which each is surely that to its request.

        A proxy or a tunnel on this machine may confuse the answers to requests that are made in
        turn. Before anything is said against a log by tiles that came so, all are read again, one
        by one.
        """
        if self.client.asks_in_turn:
            first = deepcopy(report)
            try:
                found = await self._leaves(trust, first)
                # A tree that is verified to its last tile leaves no doubt of what its leaves say.
                mismatches = first.omitted or any(one.kind == MISMATCH for one in first.findings)
                if first.is_tree_verified and not mismatches:
                    return first, *found
            except (Refused, BadAnswer, FormatError, VerificationError) as error:
                if isinstance(error, Refused) and error.is_retriable:
                    raise
            self.client.ask_one_by_one()
        return report, *(await self._leaves(trust, report))

    async def _leaves(self, trust: TrustState, report: Report) -> tuple[TileEdge, Streams]:
        """Reads, checks and rehashes every leaf since the state, and every tile above them."""
        client, options = self.client, self.options
        edge = self.state.tile_edge() if self.state else TileEdge()
        streams = self.state.streams() if self.state else Streams()
        start, total = edge.size, trust.size - edge.size
        comparison = TileComparison(client, report)
        self.progress(0, total)
        async with AsyncExitStack() as stack:
            pool = await stack.enter_async_context(examiner(client, total, self.server))
            relations = stack.enter_context(RelationStore())
            reading = read_spans(
                client,
                start,
                trust.size,
                _rules(options, trust.origin),
                known=split_hashes(edge.partials[0]) if edge.partials else [],
                pool=pool,
            )
            # Closed here and now: what is still being fetched must not outlive the pool.
            spans = await stack.enter_async_context(aclosing(reading))
            async for span in spans:
                if not options.tree_only:
                    relations.add(span.relations)
                    relations.add(span.addenda)
                report.warn(span.warnings)
                _tell(span.findings, streams.feed(span.runs), report)
                report.tiles += span.bundles
                # The first bundle begins with the leaves of the partial one that was known.
                if span.roots:
                    edge, full = edge.without_bundle().append(span.roots, level=1)
                    await comparison.compare(full)
                if span.rest:
                    edge, _ = edge.without_bundle().append(span.rest)
                report.entries = edge.size - start
                report.records, report.manifests = streams.records, streams.manifests
                report.signatures = streams.signatures
                self.progress(report.entries, total)
                if span.error is not None:
                    await comparison.finish()
                    report.add(comparison.findings)
                    raise span.error
            if not options.tree_only:
                await self._relate(trust, relations, report, pool, is_whole=start == 0)
        if total:
            await comparison.compare([one for one in edge.tiles() if one[0].level])
        await comparison.finish()
        report.streams = len(streams.places)
        report.unknown_signers = streams.unknown_signers
        _conclude(edge, streams, trust, report)
        report.records, report.foreign = streams.records, streams.foreign
        if streams.foreign:
            report.found("foreign", _foreign(report), Weight.UNVERIFIED, streams.first_foreign)
        report.add(comparison.findings)
        return edge, streams

    async def _relate(
        self,
        trust: TrustState,
        relations: RelationStore,
        report: Report,
        pool: Executor | None,
        *,
        is_whole: bool,
    ) -> None:
        """Judges whether the records that were read fit together: seconds for millions of them.

        `is_whole` says that they are all of the log.
        """
        found = Judgement()
        before = (self.now - self.options.outcome_age) * 1000
        work = partial(judge, is_whole=is_whole, log=owner_of(trust.origin), before=before)
        async with aclosing(in_order(pool, work, relations.partitions())) as judged:
            async for one in judged:
                found.add(one)
        await excuse(self.client, found, trust.checkpoint.checkpoint.head)
        report.addenda = found.addenda
        report.addenda.was_asked = self.options.addenda
        await confirm(self.client, self.options.policy, trust, found.addenda, report)
        if found.addenda.unread:
            sentence = (
                f"the log gives {found.addenda.unread} addenda to nobody without a token for them, "
                "so it was not looked at whether it has them"
            )
            report.found("addenda-refused", sentence, Weight.UNVERIFIED)
        await asyncio.to_thread(found.conclude, report, relations.partitions, is_whole=is_whole)


def _foreign(report: Report) -> str:
    """Says what a log is that holds leaves of others."""
    those = f"{report.foreign} of the {report.entries} leaves that were read"
    if report.foreign == report.entries:
        what = "this is no log of Muniment, or only others have written to it"
    else:
        what = "others write to this log as well, so it does not promise what Muniment's logs do"
    return (
        f"{those} are neither records nor manifests: {what}. That is no misbehaviour; --tree "
        "checks the tree alone"
    )


def _tell(found: Sequence[Finding], told: Sequence[tuple[int, Finding]], report: Report) -> None:
    """Reports what is wrong in the order of the log, however it was cut into spans."""
    if found or told:
        ranked = [((one.index or 0, 0), one) for one in found]
        ranked += [((at, 1), one) for at, one in told]
        ranked.sort(key=itemgetter(0))
        report.add([one for _, one in ranked])


def _conclude(edge: TileEdge, streams: Streams, trust: TrustState, report: Report) -> None:
    root = edge.root()
    report.is_tree_verified = root == trust.root
    if not report.is_tree_verified:
        report.found(
            "root-mismatch",
            f"the leaves give the root {describe_root(root)}, the checkpoint of size {trust.size} "
            f"says {describe_root(trust.root)}",
            Weight.UNVERIFIED,
        )
    report.add(streams.conclude())


def _rules(options: AuditOptions, origin: str) -> LeafRules:
    """Manifests are verified with the keys of gateways, and the log's for its own streams."""
    logs = [key for key in options.policy.log_keys(origin) if key.algorithm == ED25519]
    vkeys = tuple(str(vkey) for vkey in (*options.gateways, *logs))
    approvers = tuple(map(str, options.approvers))
    return LeafRules(origin, vkeys, approvers, options.tree_only, options.addenda)
