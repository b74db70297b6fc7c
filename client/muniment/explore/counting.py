"""From leaves to what pages count and search: a row for each decision, sums for all. Pure."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import Final, NamedTuple, get_args

from muniment.index.search import Search
from muniment.records.codec import parse_leaves
from muniment.records.kinds import Decision, Record
from muniment.records.manifest import MANIFEST, parse_manifest
from muniment.records.members import DenialCode
from muniment.tlog.encoding import FormatError

CODES: Final[tuple[str, ...]] = get_args(DenialCode)
"""The codes of denials; each is a bit of a row's `codes`, by its place."""

UNCODED: Final = 1 << len(CODES)
"""The bit of a denial that gives no code."""

HOUR: Final = 3_600_000
"""Milliseconds."""

_HASH_BITS: Final = 56


class SearchRow(NamedTuple):
    """A decision as it is searched for. Texts are hashes; whoever finds one reads the record.

    Attributes:
        idx: Its leaf's index.
        time: Unix milliseconds by the producer's clock.
        codes: 0 when allowed; otherwise a bit for each code, `UNCODED` for none.
        producer: Hash, as all that follow; 0 where there is nothing.
        subject: Of type and id.
        action: Its name.
        resource: Of type and id.
        policy: The id of the policy that decided.
        trace: The trace id, 32 hexadecimal digits.
    """

    idx: int
    time: int
    codes: int
    producer: int
    subject: int
    action: int
    resource: int
    policy: int
    trace: int


class SearchMark(NamedTuple):
    """Something else that a decision says, by which it is searched for: see `marks_of`.

    Attributes:
        hash: Of what it is, and the text.
        idx: The decision's leaf.
    """

    hash: int
    idx: int


@dataclass(slots=True)
class ProducerCounts:
    """What one producer has logged: counts, and its newest record's leaf and time."""

    records: int = 0
    allowed: int = 0
    denied: int = 0
    last: int = -1
    time: int = 0


@dataclass(slots=True)
class StreamCounts:
    """One stream of a producer by its manifests: see `LeafCounts.streams`.

    Attributes:
        first: Sequence number that the first of these batches begins with.
        next: That of the record after the last of them.
        missing: Sequence numbers that were passed over between them.
        again: Batches that begin before the one before ended.
        last: The newest manifest's leaf.
    """

    first: int
    next: int
    missing: int = 0
    again: int = 0
    last: int = -1


@dataclass(slots=True)
class LeafCounts:
    """What consecutive leaves say.

    Attributes:
        rows: Of the decisions, in the order of the log.
        marks: Of the decisions, likewise.
        tally: Decisions by (hour since 1970, producer, codes).
        askers: [allowed, denied, newest leaf] by the hash of a subject.
        gateways: By producer.
        streams: By (producer, label).
        kinds: Leaves by the kind of record, ``manifest``, or ``other`` for what is neither.
    """

    rows: list[SearchRow] = field(default_factory=list[SearchRow])
    marks: list[SearchMark] = field(default_factory=list[SearchMark])
    tally: Counter[tuple[int, str, int]] = field(default_factory=Counter[tuple[int, str, int]])
    askers: defaultdict[int, list[int]] = field(
        default_factory=lambda: defaultdict(lambda: [0, 0, -1])
    )
    gateways: defaultdict[str, ProducerCounts] = field(
        default_factory=lambda: defaultdict(ProducerCounts)
    )
    streams: dict[tuple[str, str], StreamCounts] = field(
        default_factory=dict[tuple[str, str], StreamCounts]
    )
    kinds: Counter[str] = field(default_factory=Counter[str])


def count(leaves: Sequence[bytes], first: int) -> LeafCounts:
    """Counts consecutive leaves, `first` being the first; about 15 µs each.

    A record that `parse_record` would refuse is ``other``: it counts for nothing.
    """
    counted = LeafCounts()
    for index, (leaf, record) in enumerate(zip(leaves, parse_leaves(leaves), strict=True), first):
        if record is None:
            _manifest(counted, leaf, index)
        else:
            _record(counted, record, index)
    return counted


def codes_of(record: Decision) -> int:
    """The bits of a decision's answer, see `SearchRow.codes`."""
    if record.allowed:
        return 0
    codes = record.denial.codes if record.denial is not None else ()
    return sum(1 << CODES.index(code) for code in codes) or UNCODED


def names_of(codes: int) -> list[str]:
    """The codes whose bits are set; none for `UNCODED`."""
    return [code for at, code in enumerate(CODES) if codes >> at & 1]


@lru_cache(maxsize=1 << 16)
def hash_text(*parts: str) -> int:
    """What stands for a text in a row: 56 bits, never 0."""
    text = "\0".join(parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(sha256(text).digest()[:8], "big") >> (64 - _HASH_BITS) or 1


def _record(counted: LeafCounts, record: Record, index: int) -> None:
    counted.kinds[type(record).__name__.lower()] += 1
    gateway = counted.gateways[record.producer]
    gateway.records += 1
    gateway.last, gateway.time = index, record.time
    if not isinstance(record, Decision):
        return
    codes = codes_of(record)
    row = _row(record, index, codes)
    counted.rows.append(row)
    counted.marks += [SearchMark(hash_, index) for hash_ in _marks(record)]
    counted.tally[record.time // HOUR, record.producer, codes] += 1
    asker = counted.askers[row.subject]
    asker[1 if codes else 0] += 1
    asker[2] = index
    if codes:
        gateway.denied += 1
    else:
        gateway.allowed += 1


def _row(record: Decision, index: int, codes: int) -> SearchRow:
    artifact, trace = record.artifact, record.traceparent
    return SearchRow(
        index,
        record.time,
        codes,
        hash_text(record.producer),
        hash_text(*record.subject),
        hash_text(record.action),
        hash_text(*record.resource),
        0 if artifact is None else hash_text(artifact.policy.id),
        0 if trace is None else hash_text(trace.split("-")[1]),
    )


def _marks(record: Decision) -> set[int]:
    artifact = record.artifact
    found = {hash_text("addendum", one) for one in (record.addenda or {}).values()}
    if artifact is not None:
        policy = artifact.policy
        found.add(hash_text("revision", policy.revision))
        found.add(hash_text("digest", policy.digest))
        found.add(hash_text("authority", artifact.attribution.authority))
    return found


def marks_of(search: Search) -> list[int]:
    """The marks that a decision has that is looked for; what few have comes first."""
    texts = {
        "addendum": search.addendum,
        "digest": search.digest,
        "revision": search.revision,
        "authority": search.authority,
    }
    return [hash_text(kind, text) for kind, text in texts.items() if text is not None]


def _manifest(counted: LeafCounts, leaf: bytes, index: int) -> None:
    if not leaf.startswith(MANIFEST):
        counted.kinds["other"] += 1
        return
    try:
        manifest, _ = parse_manifest(leaf)
    except FormatError:
        counted.kinds["other"] += 1
        return
    counted.kinds["manifest"] += 1
    key = (manifest.producer, manifest.stream)
    stream = counted.streams.get(key)
    if stream is None:
        counted.streams[key] = StreamCounts(manifest.first, manifest.next, last=index)
        return
    follow(stream, StreamCounts(manifest.first, manifest.next, last=index))


def follow(stream: StreamCounts, other: StreamCounts) -> None:
    """Takes what a stream's later batches say into what its earlier ones do."""
    stream.missing += max(0, other.first - stream.next) + other.missing
    stream.again += (other.first < stream.next) + other.again
    stream.next = max(stream.next, other.next)
    stream.last = other.last
