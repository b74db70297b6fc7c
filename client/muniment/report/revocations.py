"""Revocations of the window, and what they cut: decisions, and the runs that descend from them.

What is cut is looked up in the replica's index, at the size of the report. Whether a single run
falls, `lineage.trace` tells, which also looks at when it ended and who may revoke it.
"""

from collections.abc import Sequence
from typing import Any, Final

from muniment.index.keys import Role, thing_hash
from muniment.index.reader import IndexReader
from muniment.index.replicafacts import ReplicaFacts
from muniment.lineage.facts import Ref, ref_of
from muniment.records.codec import parse_record
from muniment.records.kinds import Decision, Edge, Revocation
from muniment.records.manifest import MANIFEST, parse_manifest
from muniment.report.queries import kind_command
from muniment.report.relating import MAX_ROWS
from muniment.report.tally import LeafRanges
from muniment.tlog.encoding import FormatError

MAX_CUT: Final = 10_000
"""Edges, decisions or batches that are looked at for one revocation."""

_BATCH: Final = 500  # runs in one lookup


class RevocationTally:
    """Takes revocations, and `revoked_by` edges, which say the same; in the order of the log."""

    def __init__(self) -> None:
        self._leaves = LeafRanges()
        self._rows: list[tuple[int, Revocation | Edge]] = []

    def add(self, index: int, record: Revocation | Edge) -> None:
        """Takes one of the window."""
        self._leaves.add(index)
        if len(self._rows) < MAX_ROWS:
            self._rows.append((index, record))

    def members(self, reader: IndexReader, facts: ReplicaFacts) -> dict[str, Any]:
        """As JSON values; raises FactsError and DatabaseError if the replica cannot be read."""
        cutter = _Cutter(reader, facts)
        return {
            "leaves": self._leaves.members(),
            "queries": kind_command("revocation"),
            "rows": [cutter.row(index, record) for index, record in self._rows],
        }


class _Cutter:
    def __init__(self, reader: IndexReader, facts: ReplicaFacts) -> None:
        self._reader = reader
        self._facts = facts

    def row(self, index: int, record: Revocation | Edge) -> dict[str, Any]:
        if isinstance(record, Edge):
            kind, id_, since = "decision", record.from_.id, record.time // 1000
            reason: str | None = None
        else:
            target = record.target
            since, reason = record.since, record.reason
            if target.decision is not None:
                kind, id_ = "decision", target.decision
            elif target.execution is not None:
                kind, id_ = "run", target.execution
            else:
                kind, id_ = "key", target.key or ""
        return {
            "index": index,
            "time": record.time,
            "producer": record.producer,
            "target": kind,
            "id": id_,
            "since": since,
            "reason": reason,
            "cuts": self._key(id_) if kind == "key" else self._thing(kind, id_),
        }

    def _thing(self, kind: str, id_: str) -> dict[str, Any]:
        """What falls with a decision or a run: decisions, and runs with all that descend."""
        if kind == "run":
            [page] = self._facts.decisions_of([id_], limit=MAX_CUT)
            begun = [id_]
        else:
            [page] = self._facts.decisions([id_], limit=MAX_CUT)
            stated = [one.record.execution for one in page.entries]
            begun = [run for run in stated if run is not None]
        runs, is_whole = self._descendants(begun)
        decisions = {one.index for one in page.entries}
        is_whole = is_whole and not page.more
        for at in range(0, len(runs), _BATCH):
            batch = runs[at : at + _BATCH]
            for answer in self._facts.decisions_of(batch, limit=MAX_CUT):
                decisions.update(one.index for one in answer.entries)
                is_whole = is_whole and not answer.more
        leaves = LeafRanges()
        for index in sorted(decisions):
            leaves.add(index)
        return {"decisions": leaves.members(), "runs": len(runs), "whole": is_whole}

    def _descendants(self, begun: Sequence[str]) -> tuple[list[str], bool]:
        """Some runs and all that these triggered, and whether these are all."""
        runs = dict.fromkeys(begun)
        frontier, read = list(runs), 0
        while frontier:
            batch, frontier = frontier[:_BATCH], frontier[_BATCH:]
            things = [Ref("run", run) for run in batch]
            for page in self._facts.edges_to(things, limit=MAX_CUT):
                read += len(page.entries)
                for _, edge in page.entries:
                    far = ref_of(edge.from_, self._facts.head.origin)
                    is_child = edge.relation == "triggered_by" and far.origin is None
                    if is_child and far.id not in runs:
                        runs[far.id] = None
                        frontier.append(far.id)
                if page.more or read > MAX_CUT:
                    return list(runs), False
        return list(runs), True

    def _key(self, reference: str) -> dict[str, Any]:
        """What a key has signed: batches, and the records in them, or decisions."""
        size = self._facts.head.size
        indices = self._reader.find(
            thing_hash("key", reference), Role.SIGNED, after=-1, size=size, limit=MAX_CUT + 1
        )
        batches = records = 0
        leaves = LeafRanges()
        for index, data in self._reader.leaves(indices[:MAX_CUT]).items():
            if data.startswith(MANIFEST):
                count = _count_of(data, reference)
                batches, records = batches + (count is not None), records + (count or 0)
            elif _has_signed(data, reference):
                leaves.add(index)
        return {
            "decisions": leaves.members(),
            "batches": batches,
            "records": records,
            # What is bound to a runtime's key, which signs nothing, no index tells.
            "whole": len(indices) <= MAX_CUT and "+" in reference,
        }


def _count_of(manifest: bytes, reference: str) -> int | None:
    """How many records a manifest covers that a key signed; None if another key did."""
    try:
        stated, note = parse_manifest(manifest)
    except FormatError:
        return None
    line = note.signatures[0]
    return stated.count if f"{line.name}+{line.key_id:08x}" == reference else None


def _has_signed(leaf: bytes, reference: str) -> bool:
    try:
        record = parse_record(leaf)
    except FormatError:
        return False
    if not isinstance(record, Decision):
        return False
    approvals = record.artifact.approvals if record.artifact is not None else ()
    signers = [one.key for one in record.signatures or ()]
    return reference in [*signers, *[one.key for one in approvals]]
