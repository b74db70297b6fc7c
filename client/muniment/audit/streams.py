"""Streams: every record under a manifest, every stream without gap or fork. Pure.

The log holds batches one after the other: records, then their manifest. From that and from where
each stream stood, what every manifest must say is known before it is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self

from muniment.audit.check import RecordRange, SeenManifest
from muniment.audit.report import Finding, Weight
from muniment.records.manifest import MAX_BATCH_RECORDS, NO_PREVIOUS
from muniment.tlog.encoding import format_base64
from muniment.tlog.merkle import CompactRange


class StreamPlace(NamedTuple):
    """The sequence number of a stream's next record, and the leaf hash of its last manifest."""

    next: int
    manifest: bytes


@dataclass(frozen=True, slots=True)
class OpenBatch:
    """Records, from leaf index `start` on, whose manifest has not been seen yet.

    Attributes:
        producer: Who the first is from; None when no valid record was among them.
        others: Where the producer changes: leaf index and name, at most MAX_BATCH_RECORDS.
        odd: What among them is neither a record nor meant to be one, at most MAX_BATCH_RECORDS.
        strange: How many there are of these.
        ours: `leaves` without them; None when there are none.
    """

    start: int
    leaves: CompactRange
    producer: str | None
    others: tuple[tuple[int, str], ...] = ()
    odd: tuple[Finding, ...] = ()
    strange: int = 0
    ours: CompactRange | None = None

    @classmethod
    def begun(cls, run: RecordRange) -> Self:
        """The batch that begins with a run."""
        return cls(run.start, CompactRange.EMPTY, None).extended(run)

    def extended(self, run: RecordRange) -> Self:
        """The batch with the records of a run after it."""
        if isinstance(run.leaves, CompactRange):
            if self.leaves.size:
                raise AssertionError("a run that continues a batch comes with its leaf hashes")
            leaves = run.leaves
        else:
            leaves = self.leaves.extend(run.leaves)
        ours = self.ours
        if run.odd or ours is not None:
            rest = run.leaves if run.ours is None else run.ours
            before = self.leaves if ours is None else ours
            ours = rest if isinstance(rest, CompactRange) else before.extend(rest)
        producer, others = self.producer, list(self.others)
        last = others[-1][1] if others else producer
        for index, name in run.producers:
            if producer is None:
                producer = name
            # A batch with more records has no valid manifest: that it is wrong shows anyway.
            elif name != last and len(others) < MAX_BATCH_RECORDS:
                others.append((index, name))
            last = name
        # A batch has no more records; if there are more, no manifest will cover them.
        odd = (*self.odd, *run.odd[: MAX_BATCH_RECORDS - len(self.odd)])
        strange = self.strange + len(run.odd)
        return type(self)(self.start, leaves, producer, tuple(others), odd, strange, ours)

    def strangers(self, producer: str | None) -> list[tuple[int, str]]:
        """Where records begin that are not of a producer: leaf index, and whose they are."""
        first = [] if self.producer is None else [(self.start, self.producer)]
        return [(index, name) for index, name in [*first, *self.others] if name != producer]


@dataclass(slots=True)
class Streams:
    """All streams of a log, by (key name, label), followed in leaf order.

    Attributes:
        manifests: Manifests seen, malformed ones included.
        signatures: Manifest signatures verified.
        unknown_signers: Key names of manifests that could not be verified.
        foreign: Leaves that are neither records nor manifests, nor covered by a manifest.
        first_foreign: Leaf index of the first of them.
    """

    places: dict[tuple[str, str], StreamPlace] = field(
        default_factory=dict[tuple[str, str], StreamPlace]
    )
    open: OpenBatch | None = None
    records: int = 0
    manifests: int = 0
    signatures: int = 0
    unknown_signers: set[str] = field(default_factory=set[str])
    foreign: int = 0
    first_foreign: int | None = None

    def feed(self, runs: Sequence[RecordRange]) -> list[tuple[int, Finding]]:
        """Takes the runs that come next, and returns what is wrong with batches that end in them.

        Each with the leaf index at which it shows: the manifest's, though the finding may be about
        a record before it.
        """
        placed: list[tuple[int, Finding]] = []
        for run in runs:
            self.records += run.stop - run.start
            batch = OpenBatch.begun(run) if self.open is None else self.open.extended(run)
            if run.manifest is None:
                self.open = batch
                continue
            self.open = None
            self.manifests += 1
            findings: list[Finding] = []
            batch = self._part(batch, run.seen, findings)
            if run.seen is not None:
                self._close(batch, run.seen, run.stop, run.manifest, findings)
            else:
                _name_strangers(batch, batch.producer, findings)
            placed += [(run.stop, finding) for finding in findings]
        return placed

    def conclude(self) -> list[Finding]:
        """What is wrong at the end of the tree: records that no manifest covers."""
        if self.open is None:
            return []
        findings: list[Finding] = []
        self.open = self._part(self.open, None, findings)
        if not self.open.leaves.size:
            return findings
        _name_strangers(self.open, self.open.producer, findings)
        findings.append(
            Finding(
                "no-manifest",
                f"the tree ends with {self.open.leaves.size} records, from {self.open.start} on, "
                "that no manifest covers",
                Weight.CONTENT,
                self.open.start,
            )
        )
        return findings

    def _part(
        self, batch: OpenBatch, seen: SeenManifest | None, findings: list[Finding]
    ) -> OpenBatch:
        """Parts leaves of others, which no manifest covers, from bad records, which one does."""
        if not batch.strange or batch.ours is None:
            return batch
        if seen is not None:
            covered = (seen.manifest.count, seen.manifest.root)
            if covered == (batch.leaves.size, batch.leaves.root()):
                findings += batch.odd
                return batch
        self.foreign += batch.strange
        self.records -= batch.strange
        if self.first_foreign is None:
            self.first_foreign = batch.odd[0].index
        return replace(batch, leaves=batch.ours)

    def _close(
        self,
        batch: OpenBatch,
        seen: SeenManifest,
        index: int,
        leaf: bytes,
        findings: list[Finding],
    ) -> None:
        manifest = seen.manifest
        name = f"stream {manifest.producer} {manifest.stream}"

        def wrong(kind: str, sentence: str) -> None:
            findings.append(Finding(kind, sentence, Weight.CONTENT, index))

        if seen.is_verified:
            self.signatures += 1
        else:
            self.unknown_signers.add(seen.signer)
        _name_strangers(batch, manifest.producer, findings)
        if manifest.count != batch.leaves.size:
            wrong(
                "bad-manifest",
                f"{name}: the manifest counts {manifest.count} records, "
                f"{batch.leaves.size} stand before it",
            )
        elif manifest.root != batch.leaves.root():
            wrong("bad-manifest", f"{name}: the manifest's root is not that of its records")
        key = (manifest.producer, manifest.stream)
        place = self.places.get(key, StreamPlace(0, NO_PREVIOUS))
        if manifest.first > place.next:
            wrong(
                "stream-gap",
                f"{name}: record {place.next} was to come, record {manifest.first} came: "
                f"{manifest.first - place.next} records are missing",
            )
        elif manifest.first < place.next:
            wrong(
                "stream-fork",
                f"{name}: record {manifest.first} was logged again, {place.next} was to come",
            )
        elif manifest.previous != place.manifest:
            wrong(
                "stream-fork",
                f"{name}: the manifest follows {format_base64(manifest.previous)}, "
                f"the last one was {format_base64(place.manifest)}",
            )
        self.places[key] = StreamPlace(max(place.next, manifest.first + manifest.count), leaf)


def _name_strangers(batch: OpenBatch, producer: str | None, findings: list[Finding]) -> None:
    for index, name in batch.strangers(producer):
        sentence = f"a batch of {producer} holds records of {name}, from entry {index} on"
        findings.append(Finding("bad-record", sentence, Weight.CONTENT, index))
