"""The kinds of evidence against a log, as values in canonical form; see docs/formats.md.

They are unverified until `proven.verify_evidence` has verified one. `evidence` has the file that
they stand in, and exports everything here.
"""

from hashlib import sha256
from typing import ClassVar, Final, Literal, TypeAlias

from msgspec import Struct

from muniment.tlog.checkpoint import Checkpoint, SignedCheckpoint
from muniment.tlog.encoding import FormatError, format_base64
from muniment.tlog.indexleaf import IndexLeaf, index_origin
from muniment.tlog.merkle import EMPTY_ROOT, HASH_SIZE
from muniment.tlog.proofs import MAX_PROOF

HEADER: Final = "muniment/evidence/v1"
"""The first line."""

INDEX: Final = "index "
LEAF: Final = "leaf "
ENTRY: Final = "entry "
COMPUTED: Final = "computed "

Kind: TypeAlias = Literal["same-size", "fork", "leaf", "empty-root", "index"]


class _Claim(Struct, frozen=True):
    """What all kinds have in common."""

    kind: ClassVar[Kind]

    @property
    def checkpoints(self) -> tuple[SignedCheckpoint, ...]:
        """The log's checkpoints in the order of the file."""
        raise NotImplementedError

    @property
    def header(self) -> tuple[str, ...]:
        """The header lines after the kind."""
        return ()

    @property
    def origin(self) -> str:
        """The origin of the log."""
        return self.checkpoints[0].checkpoint.origin

    @property
    def heads(self) -> tuple[Checkpoint, ...]:
        """What the checkpoints say, in the order of the file."""
        return tuple(signed.checkpoint for signed in self.checkpoints)

    def encode(self) -> bytes:
        """The bytes of the file; `evidence.parse_evidence` gives back an equal value."""
        head = "\n".join((HEADER, self.kind, *self.header, "")).encode("ascii")
        return b"\n".join((head, *[signed.encode() for signed in self.checkpoints]))

    @property
    def hash(self) -> bytes:
        """SHA-256 of the file: its name, for people and for acknowledgements."""
        return sha256(self.encode()).digest()

    @property
    def contradiction(self) -> bytes:
        """SHA-256 over the origin and the heads that contradict each other: the key for dedup.

        The same for every file about these heads, whatever signature bytes, extension lines, kind
        or proof it has, all of which a log can vary at will. The log can still sign any number of
        heads: whoever stores evidence must bound how much of one origin.
        """
        heads = sorted(f"{head.size} {format_base64(head.root)}\n" for head in self.heads)
        text = f"muniment/contradiction/v1\n{self.origin}\n{''.join(heads)}"
        return sha256(text.encode()).digest()


class SameSize(_Claim, frozen=True):
    """Two roots of one size, the smaller first; FormatError if there is no contradiction."""

    kind: ClassVar[Kind] = "same-size"

    first: SignedCheckpoint
    second: SignedCheckpoint

    def __post_init__(self) -> None:
        _check_pair(self.first, self.second)
        first, second = self.first.checkpoint, self.second.checkpoint
        if first.size != second.size:
            raise FormatError("evidence: same-size: the sizes differ")
        if first.root >= second.root:
            raise FormatError("evidence: same-size: the roots are equal or not in order")

    @property
    def checkpoints(self) -> tuple[SignedCheckpoint, ...]:
        """The log's checkpoints in the order of the file."""
        return (self.first, self.second)


class Fork(_Claim, frozen=True):
    """A tree that does not begin with the leaves of an older one; FormatError if it does.

    `implied_root` is what the newer tree implies at the older size; `proof`, of at most MAX_PROOF
    hashes, leads from it to the newer root.
    """

    kind: ClassVar[Kind] = "fork"

    older: SignedCheckpoint
    newer: SignedCheckpoint
    implied_root: bytes
    proof: tuple[bytes, ...]

    def __post_init__(self) -> None:
        _check_pair(self.older, self.newer)
        _check_hashes((self.implied_root,), self.proof)
        if self.older.checkpoint.size >= self.newer.checkpoint.size:
            raise FormatError("evidence: fork: the first tree is not the smaller one")
        if self.older.checkpoint.root == self.implied_root:
            raise FormatError("evidence: fork: the newer tree implies the older root")

    @property
    def checkpoints(self) -> tuple[SignedCheckpoint, ...]:
        """The log's checkpoints in the order of the file."""
        return (self.older, self.newer)

    @property
    def header(self) -> tuple[str, ...]:
        """The header lines after the kind."""
        return tuple(map(format_base64, (self.implied_root, *self.proof)))


class Shown(Struct, frozen=True):
    """A leaf that a tree is said to have, and its inclusion proof of at most MAX_PROOF hashes."""

    leaf_hash: bytes
    proof: tuple[bytes, ...]
    checkpoint: SignedCheckpoint


class Leaf(_Claim, frozen=True):
    """Two leaves at one index, the smaller leaf hash first; FormatError if they are equal."""

    kind: ClassVar[Kind] = "leaf"

    index: int
    first: Shown
    second: Shown

    def __post_init__(self) -> None:
        _check_pair(*self.checkpoints)
        for shown in (self.first, self.second):
            _check_hashes((shown.leaf_hash,), shown.proof)
            if not 0 <= self.index < shown.checkpoint.checkpoint.size:
                raise FormatError("evidence: leaf: the index is not in the tree")
        if self.first.leaf_hash >= self.second.leaf_hash:
            raise FormatError("evidence: leaf: the leaf hashes are equal or not in order")

    @property
    def checkpoints(self) -> tuple[SignedCheckpoint, ...]:
        """The log's checkpoints in the order of the file."""
        return (self.first.checkpoint, self.second.checkpoint)

    @property
    def header(self) -> tuple[str, ...]:
        """The header lines after the kind."""
        lines = [f"{INDEX}{self.index}"]
        for shown in (self.first, self.second):
            lines.append(f"{LEAF}{format_base64(shown.leaf_hash)}")
            lines += map(format_base64, shown.proof)
        return tuple(lines)


class EmptyRoot(_Claim, frozen=True):
    """A tree of size 0 with another root than the empty tree's; FormatError if it is not."""

    kind: ClassVar[Kind] = "empty-root"

    checkpoint: SignedCheckpoint

    def __post_init__(self) -> None:
        _check_lines(self.checkpoint)
        head = self.checkpoint.checkpoint
        if head.size or head.root == EMPTY_ROOT:
            raise FormatError("evidence: empty-root: not size 0 with another root")

    @property
    def checkpoints(self) -> tuple[SignedCheckpoint, ...]:
        """The log's checkpoints in the order of the file."""
        return (self.checkpoint,)


class WrongMapRoot(_Claim, frozen=True):
    """A leaf of an index log with a map root that the leaves of the log do not have.

    FormatError if the leaf is not one of that index log, or has the computed root. Who verifies it
    needs the leaves of the log: they say which map root is the right one.

    Attributes:
        index: Which leaf of the index log it is.
        leaf: What it states.
        proof: Its inclusion proof, of at most MAX_PROOF hashes.
        computed: The root of the map over the leaves of the log.
        checkpoint: The index log's.
    """

    kind: ClassVar[Kind] = "index"

    index: int
    leaf: IndexLeaf
    proof: tuple[bytes, ...]
    computed: bytes
    checkpoint: SignedCheckpoint

    def __post_init__(self) -> None:
        _check_lines(self.checkpoint)
        _check_hashes((self.computed,), self.proof)
        head = self.checkpoint.checkpoint
        if head.origin != index_origin(self.leaf.origin, self.leaf.version):
            raise FormatError("evidence: index: a leaf of another index log")
        if not 0 <= self.index < head.size:
            raise FormatError("evidence: index: the index is not in the tree")
        if self.computed == self.leaf.map_root:
            raise FormatError("evidence: index: the leaf has the root that was computed")

    @property
    def checkpoints(self) -> tuple[SignedCheckpoint, ...]:
        """The index log's checkpoint."""
        return (self.checkpoint,)

    @property
    def header(self) -> tuple[str, ...]:
        """The header lines after the kind."""
        return (
            f"{INDEX}{self.index}",
            f"{ENTRY}{format_base64(self.leaf.encode())}",
            f"{COMPUTED}{format_base64(self.computed)}",
            *map(format_base64, self.proof),
        )

    @property
    def contradiction(self) -> bytes:
        """SHA-256 over what the leaf states: the key for dedup, whatever tree it is shown in."""
        return sha256(b"muniment/contradiction/v1\n" + self.leaf.encode()).digest()


Evidence: TypeAlias = SameSize | Fork | Leaf | EmptyRoot | WrongMapRoot


def _check_pair(first: SignedCheckpoint, second: SignedCheckpoint) -> None:
    if first.checkpoint.origin != second.checkpoint.origin:
        raise FormatError("evidence: the checkpoints are of two origins")
    for signed in (first, second):
        _check_lines(signed)
    if first.note.signatures[0].name != second.note.signatures[0].name:
        raise FormatError("evidence: the checkpoints are signed in two names")
    for signed in (first, second):
        if not signed.checkpoint.size:
            raise FormatError("evidence: a size is 0: that would be empty-root")


def _check_lines(signed: SignedCheckpoint) -> None:
    # One name: the origin, or that of the keys of a log whose origin is not their name.
    lines = signed.note.signatures
    names = {line.name for line in lines}
    if len(names) > 1:
        raise FormatError("evidence: a signature line is not of the log")
    identifiers = [line.key_id for line in lines]
    if not lines or identifiers != sorted(set(identifiers)):
        raise FormatError("evidence: not one signature line a key, in order of key ID")


def _check_hashes(single: tuple[bytes, ...], proof: tuple[bytes, ...]) -> None:
    if len(proof) > MAX_PROOF:
        raise FormatError(f"evidence: more than {MAX_PROOF} proof lines")
    if any(len(value) != HASH_SIZE for value in (*single, *proof)):
        raise FormatError(f"evidence: a hash is not {HASH_SIZE} bytes")
