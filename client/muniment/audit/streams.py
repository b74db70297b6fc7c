"""Design section 3.2: every record under a manifest, every stream without gap or fork. Pure.

The log holds batches one after the other: records, then their manifest. From that and from where
each stream stood, what every manifest must say is known before it is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from muniment.audit.check import Run, SeenManifest
from muniment.audit.report import Finding, Weight
from muniment.formats.encoding import format_base64
from muniment.formats.manifest import NO_PREVIOUS
from muniment.formats.merkle import CompactRange


class StreamPlace(NamedTuple):
    """Where a stream stands.

    Attributes:
        next: Sequence number of its next record.
        manifest: Leaf hash of its last manifest.
    """

    next: int
    manifest: bytes


@dataclass(frozen=True, slots=True)
class OpenBatch:
    """Records whose manifest has not been seen yet: the batch goes on in the next bundle.

    Attributes:
        start: Leaf index of the first record.
        leaves: The records' leaf hashes, as a compact range.
        producer: Who they are from; None when no valid record was among them.
    """

    start: int
    leaves: CompactRange
    producer: str | None


@dataclass(slots=True)
class Streams:
    """All streams of a log, followed in leaf order.

    Attributes:
        places: Where each stream stands, by (key name, label).
        open: The batch that has begun, or None.
        records: Records seen.
        manifests: Manifests seen, malformed ones included.
        signatures: Manifest signatures verified.
        unknown_signers: Key names of manifests that could not be verified.
    """

    places: dict[tuple[str, str], StreamPlace] = field(
        default_factory=dict[tuple[str, str], StreamPlace]
    )
    open: OpenBatch | None = None
    records: int = 0
    manifests: int = 0
    signatures: int = 0
    unknown_signers: set[str] = field(default_factory=set[str])

    def feed(self, runs: Sequence[Run], hashes: Sequence[bytes], base: int) -> list[Finding]:
        """Takes the runs of the next bundle.

        Args:
            runs: What the bundle's new entries are.
            hashes: The leaf hashes of the whole bundle.
            base: Leaf index of the bundle's first entry.
        """
        findings: list[Finding] = []
        for run in runs:
            self.records += run.stop - run.start
            batch = self._extended(run, hashes[run.start - base : run.stop - base], findings)
            if not run.ended:
                self.open = batch
                continue
            self.open = None
            self.manifests += 1
            if run.seen is not None:
                leaf = hashes[run.stop - base]
                self._close(batch, run.seen, run.stop, leaf, findings)
        return findings

    def _extended(self, run: Run, hashes: Sequence[bytes], findings: list[Finding]) -> OpenBatch:
        before = self.open
        if before is None:
            return OpenBatch(run.start, CompactRange.EMPTY.extend(hashes), run.producer)
        producer = before.producer or run.producer
        # Where the manifest follows, it says who the records should be from: see _close.
        if not run.ended and run.producer not in {None, producer}:
            findings.append(
                Finding(
                    "bad-record",
                    f"a batch of {producer} holds records of {run.producer}",
                    Weight.CONTENT,
                    run.start,
                )
            )
        return OpenBatch(before.start, before.leaves.extend(hashes), producer)

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
        if manifest.count != batch.leaves.size:
            wrong(
                "bad-manifest",
                f"{name}: the manifest counts {manifest.count} records, "
                f"{batch.leaves.size} stand before it",
            )
        elif manifest.root != batch.leaves.root():
            wrong("bad-manifest", f"{name}: the manifest's root is not that of its records")
        if batch.producer not in {None, manifest.producer}:
            wrong("bad-record", f"a batch of {manifest.producer} holds records of {batch.producer}")
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
