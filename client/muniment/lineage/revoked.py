"""Which revocations are in force, and what they hit (design section 3.1).

A decision falls with a revocation of itself, of its run, of a key that signed it, of its gateway's
key, or of the runtime key that it is bound to; and with a `revoked_by` edge, which says the same in
the words of lineage. Every producer that the log admits may revoke: at worst that denies too much.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from muniment.formats.authority import key_reference
from muniment.formats.kinds import Decision, Edge, Revocation
from muniment.formats.note import VKey
from muniment.lineage.escape import terminal
from muniment.lineage.facts import Facts, Found, Ref, TargetRef
from muniment.lineage.model import Break, BreakKind
from muniment.lineage.reader import Reader


@dataclass(frozen=True, slots=True)
class Revocations:
    """The revocations known of some decisions and runs; `revocations_of` reads them.

    Attributes:
        now: Unix seconds; those with ``since <= now`` are in force.
        gateways: The gateways' keys, or None for whatever key has a producer's name.
        records: Revocations by what they were looked up by.
        edges: `revoked_by` edges by decision id.
    """

    now: int
    gateways: Collection[VKey] | None
    records: Mapping[TargetRef, Sequence[Found[Revocation]]]
    edges: Mapping[str, Sequence[Found[Edge]]]

    def of_run(self, execution: str) -> list[Break]:
        """What is in force against a run."""
        return self._in_force(
            "revoked_execution",
            Ref("run", execution),
            TargetRef("execution", execution),
            f"run {execution}",
        )

    def of_decision(self, decision: Decision) -> list[Break]:
        """What is in force against a decision and the keys behind it; its run aside."""
        id_ = decision.id
        subject = Ref("decision", id_)
        found = self._in_force(
            "revoked_decision", subject, TargetRef("decision", id_), f"decision {id_}"
        )
        found += [
            Break(
                "revoked_decision",
                subject,
                index,
                f"decision {id_} unrevoked",
                f"an edge at leaf {index}: revoked by run {edge.to.id} at {edge.time // 1000}",
            )
            for index, edge in self.edges.get(id_, ())
            if edge.time // 1000 <= self.now
        ]
        for target in key_targets(decision, self.gateways):
            what = f"key {terminal(target.id)} of decision {id_}"
            found += self._in_force("revoked_key", subject, target, what)
        return found

    def _in_force(self, kind: BreakKind, subject: Ref, target: TargetRef, what: str) -> list[Break]:
        return [
            Break(
                kind,
                subject,
                index,
                f"{what} unrevoked",
                f"a revocation at leaf {index} since {record.since}",
            )
            for index, record in self.records.get(target, ())
            if record.since <= self.now
        ]


def revocations_of(
    reader: Reader,
    facts: Facts,
    decisions: Sequence[Decision],
    executions: Sequence[str],
    *,
    now: int,
    gateways: Collection[VKey] | None = None,
) -> Revocations:
    """Reads the revocations of decisions, of the keys behind them, and of runs, in two batches.

    Raises:
        FactsError: If the facts cannot be read.
    """
    targets: dict[TargetRef, None] = {}
    for execution in executions:
        targets[TargetRef("execution", execution)] = None
    ids = dict.fromkeys(decision.id for decision in decisions)
    for id_ in ids:
        targets[TargetRef("decision", id_)] = None
    for decision in decisions:
        for target in key_targets(decision, gateways):
            targets[target] = None
    keys = list(targets)
    edges = reader.all(facts.edges_from, [Ref("decision", id_) for id_ in ids])
    return Revocations(
        now,
        gateways,
        dict(zip(keys, reader.all(facts.revocations, keys), strict=True)),
        {
            id_: [found for found in page if found.record.relation == "revoked_by"]
            for id_, page in zip(ids, edges, strict=True)
        },
    )


def key_targets(decision: Decision, gateways: Collection[VKey] | None) -> list[TargetRef]:
    """The keys that a decision rests on, as targets of revocations.

    A record names its gateway's key without its ID. Unless the caller knows the gateways' keys,
    a revocation of any key of that name counts.
    """
    targets = [TargetRef("key", one.key) for one in decision.signatures or ()]
    if gateways is None:
        targets.append(TargetRef("key_name", decision.producer))
    else:
        targets += [
            TargetRef("key", key_reference(vkey))
            for vkey in gateways
            if vkey.name == decision.producer
        ]
    binding = decision.artifact.binding if decision.artifact else None
    if binding is not None and binding.thumbprint is not None:
        targets.append(TargetRef("key", binding.thumbprint))
    return targets
