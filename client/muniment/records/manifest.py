"""The gateway's signed batch manifest and the batch that it closes.

A batch is framed like a C2SP tlog-tiles entry bundle: its records, then the manifest. What each
function has proved: `parse_frames`, that there are as many records as the manifest states;
`parse_batch`, that body and manifest agree (framing, count, root), for a manifest that anyone may
have written; `verify_batch`, that a known key signed that manifest, under its own name, for this
log. A service verifies before it hashes: what strangers send costs it next to nothing. Whether the
records are valid, `records.check_records` tells; where the batch stands on its stream, only the log
knows.
"""

import re
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import accumulate
from typing import Final, NamedTuple

from msgspec import Struct

from muniment.tlog.encoding import (
    MAX_ENTRY,
    MAX_SIZE,
    FormatError,
    VerificationError,
    check_key_name,
    format_base64,
    frame,
    in_one_go,
    parse_decimal,
    parse_hash,
    split_lines,
    unframe,
)
from muniment.tlog.merkle import HASH_SIZE, leaf_hash, leaf_hashes, root_of
from muniment.tlog.note import Signer, UnverifiedNote, Verifier, parse_note, sign_note, verify_note

HEADER: Final = "muniment/manifest/v1"
"""First line of a manifest. No origin of a log may be called so: a log's key signs the manifests of
token streams and checkpoints, whose first line is the origin, and one could be read as the other.
"""

MANIFEST: Final = f"{HEADER}\n".encode()
"""How the leaf of a manifest begins, and no leaf of a record."""

NO_PREVIOUS: Final = bytes(HASH_SIZE)
"""What the first manifest of a stream states as the leaf hash of the previous one."""

MAX_BATCH_RECORDS: Final = 10_000
"""Most records in a batch: ten times what already costs next to nothing for each, and a tenth of a
second of checking, in which a lone decision has to wait."""

MAX_BATCH_BYTES: Final = 8 * 1024 * 1024
"""Largest batch in bytes, framing included: MAX_BATCH_RECORDS decisions of usual size."""

MAX_MANIFEST: Final = 4096
"""Largest manifest in bytes: two names and one Ed25519 signature, with room to spare."""

LABEL: Final = r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}"
"""What a stream's label looks like, as a regular expression."""

_HASHED_AT_ONCE: Final = 1024  # records: a millisecond
_LABEL: Final = re.compile(LABEL)
_LINES: Final = 6


class Manifest(Struct, frozen=True):
    """What a gateway says of a batch of its stream; signed by nobody yet.

    Raises FormatError if a member is out of its bounds.

    Attributes:
        stream: The stream's label (see `check_stream_label`).
        first: Sequence number of the batch's first record on the stream, from 0. Manifests are not
            counted.
        count: Number of records, 1 to MAX_BATCH_RECORDS.
        root: RFC 6962 root over the records' leaf hashes; the manifest is no leaf of this tree.
        previous: Leaf hash of the stream's previous manifest; NO_PREVIOUS if and only if `first` is
            0.
    """

    origin: str
    producer: str
    stream: str
    first: int
    count: int
    root: bytes
    previous: bytes

    def __post_init__(self) -> None:
        # A newline cannot come in: it is a control character.
        check_key_name(self.origin, "manifest: origin")
        check_key_name(self.producer, "manifest: gateway")
        check_stream_label(self.stream)
        if not 1 <= self.count <= MAX_BATCH_RECORDS:
            raise FormatError(f"manifest: number of records is not 1 to {MAX_BATCH_RECORDS}")
        if not 0 <= self.first <= MAX_SIZE - self.count:
            raise FormatError("manifest: sequence numbers out of range")
        if not len(self.root) == len(self.previous) == HASH_SIZE:
            raise FormatError("manifest: a hash is not 32 bytes")
        if (self.first == 0) != (self.previous == NO_PREVIOUS):
            raise FormatError("manifest: exactly the first batch of a stream has no previous one")

    @property
    def next(self) -> int:
        """Sequence number of the first record of the stream's next batch."""
        return self.first + self.count

    def is_signed_as(self, name: str) -> bool:
        """Whether a key of this name may sign it: no gateway speaks for another.

        Its name is the producer's, or the log's own where the log frames the records of a client
        with a bearer token, on that producer's `token_stream`.
        """
        by_log = name == self.origin and self.stream == token_stream(self.producer)
        return by_log or name == self.producer

    @property
    def text(self) -> str:
        """The note text: six lines."""
        return (
            f"{HEADER}\n{self.origin}\n{self.producer} {self.stream}\n{self.first} {self.count}\n"
            f"{format_base64(self.root)}\n{format_base64(self.previous)}\n"
        )


class Signed(NamedTuple):
    """Who signed a batch: ``<key name>+<key ID, 8 hex digits>``, and its manifest's leaf index."""

    key: str
    manifest: int


@dataclass(frozen=True, slots=True)
class Frames:
    """A batch of which nothing was hashed yet; made by `parse_frames`.

    The manifest states as many records; `manifest_note` is its leaf, the signed note, and `note`
    that parsed.
    """

    body: bytes = field(repr=False)
    records: list[bytes] = field(repr=False)
    manifest: Manifest
    manifest_note: bytes = field(repr=False)
    note: UnverifiedNote = field(repr=False)

    def hashing(self) -> "Generator[None, None, Batch]":
        """Hashes the records in steps of a few milliseconds at most, and returns the batch.

        Raises FormatError if their root is not the manifest's.
        """
        hashes: list[bytes] = []
        for start in range(0, len(self.records), _HASHED_AT_ONCE):
            if start:
                yield
            hashes += leaf_hashes(self.records[start : start + _HASHED_AT_ONCE])
        if root_of(hashes) != self.manifest.root:
            raise FormatError("batch: the root of the records is not the manifest's")
        return self.hashed(hashes)

    def hashed(self, hashes: list[bytes]) -> "Batch":
        """The batch, given its records' leaf hashes, which the caller knows to be theirs."""
        return _batch(self.body, self.records, hashes, self.manifest, self.manifest_note, self.note)


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch whose body and manifest agree; made by `build_batch` and `parse_batch`.

    Attributes:
        leaf_hashes: Leaf hash of each entry: the records', then the manifest's.
        manifest_note: The manifest's leaf: the signed note.
        offsets: For each entry, the manifest last, where its frame (the length prefix) starts in
            the body.
    """

    body: bytes = field(repr=False)
    records: list[bytes] = field(repr=False)
    leaf_hashes: list[bytes] = field(repr=False)
    manifest: Manifest
    manifest_note: bytes = field(repr=False)
    offsets: list[int] = field(repr=False)
    note: UnverifiedNote = field(repr=False)

    def framed(self, start: int, end: int) -> bytes:
        """The frames of the entries [start, end), the manifest being the last of all."""
        entries = len(self.offsets)
        if not 0 <= start <= end <= entries:
            raise ValueError(f"[{start}, {end}) of {entries} entries")
        bounds = (*self.offsets[start : start + 1], *self.offsets[end : end + 1], len(self.body))
        if start == end:
            return b""
        return self.body[bounds[0] : bounds[1]]


def check_stream_label(label: str) -> str:
    """Checks a stream label: 1 to 64 of ``A-Z a-z 0-9 . _ : -``, a letter or digit first."""
    if not _LABEL.fullmatch(label):
        raise FormatError(
            "manifest: stream label is not 1 to 64 letters, digits, '.', '_', ':', '-'"
        )
    return label


def token_stream(producer: str) -> str:
    """The label of the stream on which a log frames the records of a bearer token's producer."""
    return f"token:{sha256(producer.encode('utf-8')).hexdigest()[:16]}"


def parse_manifest_text(text: str) -> Manifest:
    """Parses the text of a manifest; FormatError, which tells the line, if it is not its six."""
    lines = split_lines(text)
    if lines[0] != HEADER:
        raise FormatError(f"manifest: line 1 is not {HEADER}")
    if len(lines) != _LINES:
        raise FormatError(f"manifest: {len(lines)} lines instead of {_LINES}")
    producer, label = _pair(lines[2], "line 3: gateway and stream")
    first, count = _pair(lines[3], "line 4: first sequence number and count")
    return Manifest(
        origin=lines[1],
        producer=producer,
        stream=label,
        first=parse_decimal(first, "manifest: line 4: first sequence number"),
        count=parse_decimal(count, "manifest: line 4: count"),
        root=parse_hash(lines[4], "manifest: line 5: root"),
        previous=parse_hash(lines[5], "manifest: line 6: previous manifest"),
    )


def sign_manifest(manifest: Manifest, signer: Signer) -> bytes:
    """Signs a manifest, with the gateway's key or, for records sent with a token, the log's.

    An ML-DSA-44 key of type 0x06 signs checkpoints only. Raises FormatError if the note is longer
    than MAX_MANIFEST bytes, or the key cannot sign it.
    """
    data = sign_note(manifest.text, [signer], now=0).encode()
    if len(data) > MAX_MANIFEST:
        raise FormatError(f"manifest: more than {MAX_MANIFEST} bytes")
    return data


def parse_manifest(data: bytes) -> tuple[Manifest, UnverifiedNote]:
    """Parses, without verifying, a manifest and its note, which has exactly one signature."""
    if len(data) > MAX_MANIFEST:
        raise FormatError(f"manifest: more than {MAX_MANIFEST} bytes")
    note = parse_note(data)
    if len(note.signatures) != 1:
        raise FormatError(f"manifest: {len(note.signatures)} signatures instead of 1")
    return parse_manifest_text(note.text), note


def signed_by(manifest: bytes, index: int) -> tuple[int, Signed] | None:
    """Reads who signed a manifest leaf, whose signature somebody else verifies.

    Returns:
        The leaf index of its batch's first record, and who signed; None if it is no manifest.
    """
    try:
        stated, note = parse_manifest(manifest)
    except FormatError:
        return None
    line = note.signatures[0]
    return index - stated.count, Signed(f"{line.name}+{line.key_id:08x}", index)


def verify_manifest(data: bytes, verifiers: Iterable[Verifier]) -> Manifest:
    """Parses a signed manifest and verifies its signature.

    Raises FormatError as `parse_manifest`; VerificationError if the signature is by none of the
    keys, does not verify, or is by a key that may not sign it (`Manifest.is_signed_as`).
    """
    manifest, note = parse_manifest(data)
    _verify(manifest, note, verifiers)
    return manifest


def build_batch(
    origin: str,
    signer: Signer,
    stream: str,
    first: int,
    previous: bytes,
    records: Sequence[bytes],
    *,
    producer: str | None = None,
) -> Batch:
    """Makes a signed batch of 1 to MAX_BATCH_RECORDS records that the caller has made or checked.

    `first` is the sequence number of the first record; `previous` the leaf hash of the stream's
    previous manifest, NO_PREVIOUS if `first` is 0; the producer None for the signer's key name.
    Raises FormatError if a number, name or size is out of bounds.
    """
    _check_lengths(list(map(len, records)))
    hashes = leaf_hashes(records)
    manifest = Manifest(
        origin=origin,
        producer=signer.vkey.name if producer is None else producer,
        stream=stream,
        first=first,
        count=len(records),
        root=root_of(hashes),
        previous=previous,
    )
    signed = sign_manifest(manifest, signer)
    body = frame([*records, signed])
    if len(body) > MAX_BATCH_BYTES:
        raise FormatError(f"batch: more than {MAX_BATCH_BYTES} bytes")
    return _batch(body, list(records), hashes, manifest, signed, parse_note(signed))


def parse_frames(body: bytes) -> Frames:
    """Parses a batch as far as it can be had for nothing: framing, manifest, number of records.

    Costs a tenth of a microsecond a record. Raises FormatError if the body is longer than
    MAX_BATCH_BYTES, is not framed, has no record or too many or an empty one, or not as many as its
    manifest states.
    """
    if len(body) > MAX_BATCH_BYTES:
        raise FormatError(f"batch: more than {MAX_BATCH_BYTES} bytes")
    records = unframe(body, "batch", most=MAX_BATCH_RECORDS + 1)
    if not records:
        raise FormatError("batch: empty")
    signed = records.pop()
    manifest, note = parse_manifest(signed)
    if manifest.count != len(records):
        raise FormatError(
            f"batch: {len(records)} records, and the manifest states {manifest.count}"
        )
    _check_lengths(list(map(len, records)))
    return Frames(body, records, manifest, signed, note)


def parse_batch(body: bytes) -> Batch:
    """Parses a batch: framing, and a manifest last whose count and root are those of the records.

    The signature is not verified, and the records are any bytes. Costs about 3 µs a record. Raises
    FormatError as `parse_frames`, or if the root is not that of the manifest.
    """
    return in_one_go(parse_frames(body).hashing())


def verify_batch(batch: Batch | Frames, verifiers: Iterable[Verifier], *, origin: str) -> None:
    """Verifies that a known key signed a batch's manifest, for the log of this origin.

    Raises VerificationError if the manifest is for another log, or as `verify_manifest`.
    """
    if batch.manifest.origin != origin:
        raise VerificationError(f"manifest: for log {batch.manifest.origin!a}, not {origin!a}")
    _verify(batch.manifest, batch.note, verifiers)


def _verify(manifest: Manifest, note: UnverifiedNote, verifiers: Iterable[Verifier]) -> None:
    name = note.signatures[0].name
    if not manifest.is_signed_as(name):
        raise VerificationError(
            f"manifest: signed as {name!a}, but of producer {manifest.producer!a}"
        )
    verify_note(note, verifiers)


def _batch(
    body: bytes,
    records: list[bytes],
    hashes: list[bytes],
    manifest: Manifest,
    signed: bytes,
    note: UnverifiedNote,
) -> Batch:
    hashes.append(leaf_hash(signed))
    # Each frame is a prefix of two bytes and the entry.
    offsets = list(accumulate(map((2).__add__, map(len, records)), initial=0))
    return Batch(body, records, hashes, manifest, signed, offsets, note)


def _check_lengths(lengths: list[int]) -> None:
    if not 1 <= len(lengths) <= MAX_BATCH_RECORDS:
        raise FormatError(f"batch: {len(lengths)} records; 1 to {MAX_BATCH_RECORDS} are allowed")
    if min(lengths) == 0:
        raise FormatError(f"batch: record {lengths.index(0)} is empty")
    if max(lengths) > MAX_ENTRY:
        raise FormatError(
            f"batch: record {lengths.index(max(lengths))} is longer than {MAX_ENTRY} bytes"
        )


def _pair(line: str, what: str) -> tuple[str, str]:
    parts = line.split(" ")
    if len(parts) != 2:
        raise FormatError(f"manifest: {what}: not two words")
    return parts[0], parts[1]
