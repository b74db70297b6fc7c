"""Which revocations are in force, and what they hit.

A decision falls with a revocation of itself, of its run, of a key that signed it or the approval
that it rests on, of the gateway's key that signed its batch, or of the runtime key that it is bound
to; and with a `revoked_by` edge, which says the same in the words of lineage.

Who may revoke: a run or a decision, its issuers and the gateways that the verifier has named. A
key, the same; and where no gateways are named, every gateway that signs for itself, because whoever
has been robbed of a key may have no other. A client with a token, for which the log signs, revokes
its own things only.

The revocation of a gateway's key hits what that key has signed, and nothing that another key of the
same name has; and no run that had ended before. Who signed a batch, its manifest tells. Where that
is not known, every key counts that it may have been: any of its gateway's name, and the log's.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from muniment.lineage.escape import terminal
from muniment.lineage.facts import Facts, Found, Ref, TargetRef
from muniment.lineage.gather import unheard
from muniment.lineage.issuers import Gateways, Issuers, counts
from muniment.lineage.model import Break, BreakKind, Unheard
from muniment.lineage.moments import Moment
from muniment.lineage.reader import BudgetedReader
from muniment.records.kinds import Decision, Edge, Record, Revocation
from muniment.records.manifest import Signed

R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True)
class Revocations:
    """The revocations known of some decisions and runs; `revocations_of` reads them.

    Attributes:
        now: Unix seconds; those with ``since <= now`` are in force.
        origin: The log's, whose key signs for those who cannot.
        gateways: The gateways that the verifier has named.
        records: Revocations by what they were looked up by, where there are some.
        edges: `revoked_by` edges by decision id, where there are some.
        signers: Who signed, by leaf: of decisions whose gateway had a key revoked, and of
            revocations of keys by others.
        unheard: Collects what those said who may not revoke, by leaf and thing.
    """

    now: int
    origin: str
    gateways: Gateways
    records: Mapping[TargetRef, Sequence[Found[Revocation]]]
    edges: Mapping[str, Sequence[Found[Edge]]]
    signers: Mapping[int, Signed | None]
    unheard: dict[tuple[int, Ref], Unheard]

    def of_run(self, execution: str, issuers: Issuers) -> list[Break]:
        """What is in force against a run with these issuers."""
        if not self.records:
            return []
        subject = Ref("run", execution)
        target = TargetRef("execution", execution)
        heard = self._heard(self.records.get(target, ()), subject, issuers)
        return self._in_force("revoked_execution", subject, heard, f"run {execution}")

    def of_decision(
        self, found: Found[Decision], issuers: Issuers, ended: Collection[Moment] = ()
    ) -> list[Break]:
        """What is in force against a decision and the keys behind it; its run aside.

        `issuers` are those of its run, `ended` is when that ended, if it has.
        """
        if not self.records and not self.edges:
            return []
        decision = found.record
        id_ = decision.id
        subject = Ref("decision", id_)
        own = issuers if issuers is not None else frozenset((decision.producer,))
        heard = self._heard(self.records.get(TargetRef("decision", id_), ()), subject, own)
        breaks = self._in_force("revoked_decision", subject, heard, f"decision {id_}")
        breaks += [
            Break(
                "revoked_decision",
                subject,
                index,
                f"decision {id_} unrevoked",
                f"an edge at leaf {index} by {terminal(edge.producer)}: revoked by run "
                f"{edge.to.id} at {edge.time // 1000}",
            )
            for index, edge in self._heard(self.edges.get(id_, ()), subject, own)
            if edge.time // 1000 <= self.now
        ]
        for target in key_targets(decision):
            breaks += self._of_key(self.records.get(target, ()), subject, own, target.id, ended)
        known = self.signers.get(found.index)
        # Who shows a decision may leave its manifest out, so that what nobody knows is as bad as it
        # can be. What gateways are named is no help: a stolen key may have a successor alone there.
        names = (key_name(known),) if known is not None else (decision.producer, self.origin)
        for name in dict.fromkeys(names):
            revoked = [
                one
                for one in self.records.get(TargetRef("key_name", name), ())
                if known is None or known.key == one.record.target.key
            ]
            breaks += self._of_key(revoked, subject, own, None, ended)
        return breaks

    def _of_key(
        self,
        revoked: Iterable[Found[Revocation]],
        subject: Ref,
        own: Issuers,
        key: str | None,
        ended: Collection[Moment],
    ) -> list[Break]:
        return [
            one
            for found in revoked
            if not any(moment.is_before(found.record.since) for moment in ended)
            for one in self._in_force(
                "revoked_key",
                subject,
                self._heard([found], subject, own, is_key=True),
                f"key {terminal(key or found.record.target.key or '')} of decision {subject.id}",
            )
        ]

    def _heard(
        self, found: Iterable[Found[R]], subject: Ref, issuers: Issuers, *, is_key: bool = False
    ) -> list[Found[R]]:
        heard: list[Found[R]] = []
        for one in found:
            index, record = one
            if (
                counts(record.producer, issuers)
                or self.gateways.vouches(record.producer)
                or (is_key and not self.gateways.are_named and self._is_gateway(one))
            ):
                heard.append(one)
            else:
                self.unheard[index, subject] = unheard(subject, index, record)
        return heard

    def _is_gateway(self, found: Found[R]) -> bool:
        """Whether a record's producer signs for itself; when nobody knows, it may."""
        known = self.signers.get(found.index)
        return known is None or key_name(known) == found.record.producer

    def _in_force(
        self, kind: BreakKind, subject: Ref, found: Iterable[Found[Revocation]], what: str
    ) -> list[Break]:
        return [
            Break(
                kind,
                subject,
                index,
                f"{what} unrevoked",
                f"a revocation at leaf {index} by {terminal(record.producer)} since {record.since}",
            )
            for index, record in found
            if record.since <= self.now
        ]


def revocations_of(
    reader: BudgetedReader,
    facts: Facts,
    decisions: Sequence[Found[Decision]],
    executions: Sequence[str],
    *,
    now: int,
    gateways: Gateways,
) -> Revocations:
    """Reads the revocations of decisions, of the keys behind them, and of runs, in few batches."""
    targets: dict[TargetRef, None] = {}
    for execution in executions:
        targets[TargetRef("execution", execution)] = None
    ids = dict.fromkeys(found.record.id for found in decisions)
    for id_ in ids:
        targets[TargetRef("decision", id_)] = None
    for found in decisions:
        for target in key_targets(found.record):
            targets[target] = None
        targets[TargetRef("key_name", found.record.producer)] = None
    if decisions:
        # The log signs for those who cannot sign, with its own key.
        targets[TargetRef("key_name", facts.head.origin)] = None
    keys = list(targets)
    edges = reader.all(facts.revoking_edges, list(ids))
    pages = zip(keys, reader.all(facts.revocations, keys), strict=True)
    records = {target: page for target, page in pages if page}
    return Revocations(
        now,
        facts.head.origin,
        gateways,
        records,
        {
            id_: [found for found in page if found.record.relation == "revoked_by"]
            for id_, page in zip(ids, edges, strict=True)
            if page
        },
        _signers(reader, facts, decisions, records),
        {},
    )


def key_targets(decision: Decision) -> list[TargetRef]:
    """The keys that a decision rests on beside its gateway's, as targets of revocations."""
    targets = [TargetRef("key", one.key) for one in decision.signatures or ()]
    if decision.artifact is not None:
        targets += [TargetRef("key", approval.key) for approval in decision.artifact.approvals]
    binding = decision.artifact.binding if decision.artifact else None
    if binding is not None and binding.thumbprint is not None:
        targets.append(TargetRef("key", binding.thumbprint))
    return targets


def key_name(signed: Signed | None) -> str:
    """The name of the key that signed; empty when nobody knows."""
    return "" if signed is None else signed.key.partition("+")[0]


def _signers(
    reader: BudgetedReader,
    facts: Facts,
    decisions: Sequence[Found[Decision]],
    records: Mapping[TargetRef, Sequence[Found[Revocation]]],
) -> Mapping[int, Signed | None]:
    """Who signed what revocations of keys may hit, and those revocations."""
    if not records:
        return {}
    revoked = {target.id for target in records if target.kind == "key_name"}
    wanted = {
        found.index
        for found in decisions
        if found.record.producer in revoked or facts.head.origin in revoked
    }
    wanted |= {
        one.index
        for target, found in records.items()
        if target.kind in ("key", "key_name")
        for one in found
    }
    return reader.signers(facts, sorted(wanted))
