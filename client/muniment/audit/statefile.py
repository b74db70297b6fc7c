"""The auditor's state between two audits, as a strict file.

JSON, one spelling only: parsing and formatting give back the same bytes. It checks itself: the
right edge of the tree must give the root that the stored checkpoint names, so an edited or a
half-written file is refused rather than believed.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

from muniment.audit.streams import OpenBatch, StreamPlace, Streams
from muniment.audit.trust import Misbehaviour, TrustState
from muniment.http.typedjson import decode_json
from muniment.local.atomicfile import read_state, write_atomic
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.encoding import (
    MAX_SIZE,
    FormatError,
    format_base64,
    parse_base64,
    parse_hash,
)
from muniment.tlog.merkle import CompactRange
from muniment.tlog.proofs import MAX_PROOF
from muniment.tlog.rightedge import TileEdge

MAX_STATE_SIZE: Final = 64 * 1024 * 1024
"""Bytes: room for a quarter of a million streams of about 200 bytes each."""

_VERSION: Final = 1


class _Stream(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    gateway: str
    stream: str
    next: int
    manifest: str


class _Open(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    start: int
    count: int
    peaks: list[str]
    producer: str | None


class _Misbehaviour(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kind: Literal["same-size", "fork", "empty-root"]
    notes: list[str]
    implied_root: str | None
    proof: list[str]


class _State(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    muniment_audit_state: int
    checkpoint: str
    edge: list[str]
    streams: list[_Stream]
    open: _Open | None
    misbehaviour: _Misbehaviour | None
    tree_only: bool = False


@dataclass(frozen=True, slots=True)
class AuditState:
    """What an audit hands to the next one.

    Attributes:
        edge: The right edge of the trusted checkpoint's tree, one byte string a level.
        places: Where each stream stands, by (key name, label).
        open: The batch that the tree ends in; None as a rule, since batches are logged whole.
        is_tree_only: Whether the tree alone was checked; then nothing is known of streams.
    """

    trust: TrustState
    edge: tuple[bytes, ...]
    places: tuple[tuple[tuple[str, str], StreamPlace], ...] = ()
    open: OpenBatch | None = None
    is_tree_only: bool = False

    def streams(self) -> Streams:
        """The streams as they stand, to go on from."""
        return Streams(places=dict(self.places), open=self.open)

    def tile_edge(self) -> TileEdge:
        """The right edge of the tree, to go on from."""
        return TileEdge.restore(self.trust.size, self.edge)


def format_state(state: AuditState) -> bytes:
    """Writes a state file."""
    proof = state.trust.misbehaviour
    value = _State(
        muniment_audit_state=_VERSION,
        checkpoint=state.trust.checkpoint.encode().decode(),
        edge=[format_base64(level) for level in state.edge],
        streams=[
            _Stream(gateway, label, place.next, format_base64(place.manifest))
            for (gateway, label), place in sorted(state.places)
        ],
        open=None
        if state.open is None
        else _Open(
            state.open.start,
            state.open.leaves.size,
            [format_base64(peak) for peak in state.open.leaves.peaks],
            state.open.producer,
        ),
        misbehaviour=None
        if proof is None
        else _Misbehaviour(
            proof.kind,
            [note.decode() for note in proof.notes],
            None if proof.implied_root is None else format_base64(proof.implied_root),
            [format_base64(node) for node in proof.proof],
        ),
        tree_only=state.is_tree_only,
    )
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"


def parse_state(data: bytes) -> AuditState:
    """Parses a state file; FormatError, which names the member, if it contradicts itself."""
    if len(data) > MAX_STATE_SIZE:
        raise FormatError(f"audit state: longer than {MAX_STATE_SIZE} bytes")
    value = decode_json(data, _State, "audit state")
    if value.muniment_audit_state != _VERSION:
        raise FormatError(f"audit state: version {value.muniment_audit_state} is not {_VERSION}")
    state = AuditState(
        trust=TrustState(
            parse_signed_checkpoint(_encoded(value.checkpoint, "checkpoint")),
            _misbehaviour(value.misbehaviour),
        ),
        edge=tuple([parse_base64(level, "audit state: edge") for level in value.edge]),
        places=tuple([_place(stream) for stream in value.streams]),
        open=_open(value.open),
        is_tree_only=value.tree_only,
    )
    trust = state.trust
    if TileEdge.restore(trust.size, state.edge).root() != trust.root:
        raise FormatError("audit state: the edge does not give the checkpoint's root")
    if state.open is not None and state.open.start + state.open.leaves.size != trust.size:
        raise FormatError("audit state: open does not end where the tree ends")
    if format_state(state) != data:
        raise FormatError("audit state: not in the form that the auditor writes")
    return state


def load_state(path: Path) -> AuditState | None:
    """Reads a state file; None when there is none.

    Raises InputError if it cannot be read, is empty, or could not be kept there; FormatError if it
    is not a state file.
    """
    data = read_state(path, "audit state", most=MAX_STATE_SIZE)
    return None if data is None else parse_state(data)


def save_state(path: Path, state: AuditState) -> None:
    """Writes a state file, atomically and durably; InputError if it cannot be written."""
    write_atomic(path, format_state(state), "audit state")


def _encoded(text: str, member: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise FormatError(f"audit state: {member}: not Unicode text") from None


def _number(value: int, member: str) -> int:
    if not 0 <= value <= MAX_SIZE:
        raise FormatError(f"audit state: {member}: {value} is not in 0..{MAX_SIZE}")
    return value


def _place(stream: _Stream) -> tuple[tuple[str, str], StreamPlace]:
    _encoded(stream.gateway + stream.stream, "streams")
    place = StreamPlace(
        _number(stream.next, "streams: next"),
        parse_hash(stream.manifest, "audit state: streams: manifest"),
    )
    return (stream.gateway, stream.stream), place


def _open(value: _Open | None) -> OpenBatch | None:
    if value is None:
        return None
    peaks = [parse_hash(peak, "audit state: open: peaks") for peak in value.peaks]
    _encoded(value.producer or "", "open: producer")
    try:
        leaves = CompactRange.from_peaks(_number(value.count, "open: count"), peaks)
    except ValueError as error:
        raise FormatError(f"audit state: open: {error}") from None
    return OpenBatch(_number(value.start, "open: start"), leaves, value.producer)


def _misbehaviour(value: _Misbehaviour | None) -> Misbehaviour | None:
    if value is None:
        return None
    if len(value.proof) > MAX_PROOF:
        raise FormatError(f"audit state: misbehaviour: proof: more than {MAX_PROOF} hashes")
    implied = value.implied_root
    return Misbehaviour(
        value.kind,
        tuple([_encoded(note, "misbehaviour: notes") for note in value.notes]),
        None if implied is None else parse_hash(implied, "audit state: misbehaviour: implied_root"),
        tuple([parse_hash(node, "audit state: misbehaviour: proof") for node in value.proof]),
    )
