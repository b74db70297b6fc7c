"""Which revocations are in force, and what they hit (design section 3.1).

A decision falls with a revocation of itself, of its run, of a key that signed it, of its gateway's
key, or of the runtime key that it is bound to; and with a `revoked_by` edge, which says the same in
the words of lineage. Every producer that the log admits may revoke: at worst that denies too much.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from muniment.formats.authority import key_reference
from muniment.formats.kinds import Decision, Edge, Revocation
from muniment.formats.note import VKey
from muniment.lineage.facts import Facts, Found, Ref, TargetRef
from muniment.lineage.model import BreakKind
from muniment.lineage.reader import Reader


class Revoked(NamedTuple):
    """One revocation in force.

    Attributes:
        kind: What it hits.
        index: Leaf index of the revocation, or of the edge that states it.
        sentence: In words.
    """

    kind: BreakKind
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    sentence: str


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

    def of_run(self, execution: str) -> list[Revoked]:
        """What is in force against a run."""
        return self._in_force("revoked_execution", TargetRef("execution", execution), "execution")

    def of_decision(self, decision: Decision) -> list[Revoked]:
        """What is in force against a decision and the keys behind it; its run aside."""
        found = self._in_force(
            "revoked_decision", TargetRef("decision", decision.id), f"decision {decision.id}"
        )
        for index, edge in self.edges.get(decision.id, ()):
            if edge.time // 1000 <= self.now:
                sentence = (
                    f"expected decision {decision.id} unrevoked, found an edge at leaf {index}: "
                    f"revoked by run {edge.to.id} at {edge.time // 1000}"
                )
                found.append(Revoked("revoked_decision", index, sentence))
        for target in key_targets(decision, self.gateways):
            found += self._in_force("revoked_key", target, f"key {show(target.id)}")
        return found

    def _in_force(self, kind: BreakKind, target: TargetRef, what: str) -> list[Revoked]:
        return [
            Revoked(
                kind,
                index,
                f"expected {what} unrevoked, found a revocation at leaf {index} "
                f"since {record.since}",
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


def show(text: str) -> str:
    """Text that strangers chose, as printable ASCII on one line."""
    return text if text.isascii() and text.isprintable() else ascii(text)[1:-1]
