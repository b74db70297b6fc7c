"""The Merkle Patricia tree: a map with one root, and proofs of what it says of a key.

The tree is that of the Go package ``filippo.io/torchwood/mpt``, v0.10.0 (the comment at the head of
its ``tree.go``). A leaf is ``SHA-256(0x00 || n || key || m || value)``,
an inner node ``SHA-256(0x01 || bit || left || right)``: its keys agree up to that bit and differ in
it. The empty tree is the hash of nothing. Lengths and bits are unsigned varints. A key goes on
with a zero byte and then with ``0xff`` for ever, so that no key is the beginning of another.

A proof for several keys, all of 32 bytes at most, shares what their paths have in common. It is one
*node*:

- ``0``: the leaf of a key that was asked for and is present; the verifier has key and value.
- ``1 || n || key || m || value``: a leaf that was not asked for, at which the walk for absent keys
  ends.
- ``t || left || right``, t >= 2: an inner node at bit ``p + t - 1``, p being the bit of the node
  above it and -1 at the root. A side towards which some of the keys go is a node, the other one is
  a hash of 32 bytes.

Varints in it are as short as can be, so that one tree has one proof for a set of keys. The proof
of absence from the empty tree is empty.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Final

from muniment.tlog.encoding import FormatError, VerificationError
from muniment.tlog.merkle import HASH_SIZE

EMPTY: Final = sha256().digest()
"""Root of the tree without keys."""

MAX_KEYS: Final = 4096
"""Most keys in one proof."""

MANY_LENGTH: Final = 32
"""Longest key in bytes in a tree of which several keys are proved at once."""

_MANY_BITS: Final = 8 * (MANY_LENGTH + 1)
"""Bits at which keys of MANY_LENGTH can differ: a bound for the depth to which a proof leads."""


def uvarint(number: int) -> bytes:
    """Encodes an unsigned varint, seven bits a byte, the lowest first."""
    if number < 0x80:
        return bytes((number,))
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def leaf_node(key: bytes, value: bytes) -> bytes:
    """Returns the hash of a leaf."""
    if len(key) < 0x80 and len(value) < 0x80:
        return sha256(b"\0%c%b%c%b" % (len(key), key, len(value), value)).digest()
    return sha256(b"\0" + uvarint(len(key)) + key + uvarint(len(value)) + value).digest()


def inner_node(bit: int, left: bytes, right: bytes) -> bytes:
    """Returns the hash of an inner node whose keys differ first at a bit."""
    return sha256(b"\x01" + uvarint(bit) + left + right).digest()


def bit_of(key: bytes, number: int) -> int:
    """Returns a bit of a key and its padding, the highest bit of the first byte being number 0."""
    at = number >> 3
    if at < len(key):
        return key[at] >> (7 - (number & 7)) & 1
    return 0 if at == len(key) else 1


def padded(key: bytes, size: int) -> bytes:
    """Returns a key with its padding, `size` bytes and one more; `size` is at least the key's."""
    return key + b"\0" + b"\xff" * (size - len(key))


class _View:
    """The keys of a tree in order, and its nodes as ranges of them."""

    def __init__(self, items: Sequence[tuple[bytes, bytes]]) -> None:
        self.keys = [key for key, _ in items]
        self._values = [value for _, value in items]
        size = max(map(len, self.keys), default=0)
        self._numbers = [int.from_bytes(padded(key, size), "big") for key in self.keys]
        self._bits = 8 * (size + 1)

    def split(self, low: int, high: int) -> tuple[int, int]:
        """At which bit the keys [low, high), two or more, differ, and the first that has it set."""
        first, last = self._numbers[low], self._numbers[high - 1]
        length = (first ^ last).bit_length()
        middle = bisect_left(self._numbers, last >> (length - 1) << (length - 1), low, high)
        return self._bits - length, middle

    def hash_of(self, low: int, high: int) -> bytes:
        if low == high:
            return EMPTY
        if high - low == 1:
            return leaf_node(self.keys[low], self._values[low])
        bit, middle = self.split(low, high)
        return inner_node(bit, self.hash_of(low, middle), self.hash_of(middle, high))


def prove_items(items: Sequence[tuple[bytes, bytes]], asked: Sequence[bytes], above: int) -> bytes:
    """A proof's node over all keys of a tree, or of a part of it, as they stand in order.

    `asked` are the keys that are to be proved, at least one; `above` is the bit of the node above.
    """
    view = _View(items)

    def prove(low: int, high: int, asked: Sequence[bytes], above: int) -> bytes:
        if high - low == 1:
            key, value = items[low]
            return b"\0" if key in asked else b"\1" + _leaf(key, value)
        bit, middle = view.split(low, high)
        out = uvarint(bit - above + 1)
        for start, end, side in ((low, middle, 0), (middle, high, 1)):
            here = [key for key in asked if bit_of(key, bit) == side]
            out += prove(start, end, here, bit) if here else view.hash_of(start, end)
        return out

    return prove(0, len(items), asked, above)


def verify_many(root: bytes, values: Mapping[bytes, bytes | None], proof: bytes) -> None:
    """Verifies what a tree says of some keys: their values, None for those that are not in it.

    Raises VerificationError if the proof does not show that, FormatError if it is none, and
    ValueError for no keys, more than MAX_KEYS, or one of more than MANY_LENGTH bytes.
    """
    _check_many(values, len(values))
    if not proof:
        if any(value is not None for value in values.values()):
            raise VerificationError("map proof: none, and there should be a value")
        _expect(EMPTY, root)
        return
    end, hash_ = _node(values, proof, 0, sorted(values), -1, ())
    if end != len(proof):
        raise FormatError(f"map proof: {len(proof) - end} bytes follow it")
    _expect(hash_, root)


def _check_many(keys: Iterable[bytes], count: int) -> None:
    if not 1 <= count <= MAX_KEYS:
        raise ValueError(f"{count} keys are not 1 to {MAX_KEYS}")
    if any(len(key) > MANY_LENGTH for key in keys):
        raise ValueError(f"a key of more than {MANY_LENGTH} bytes")


def _node(
    values: Mapping[bytes, bytes | None],
    proof: bytes,
    at: int,
    keys: Sequence[bytes],
    above: int,
    taken: tuple[tuple[int, int], ...],
) -> tuple[int, bytes]:
    """Where a node of a proof ends, and its hash; `taken` are bits above it and their values."""
    tag, at = _cut_varint(proof, at)
    if tag < 2:
        present = [key for key in keys if values[key] is not None]
        if tag == 0:
            if len(present) != 1:
                raise VerificationError(f"map proof: {len(present)} values at one leaf")
            return at, leaf_node(present[0], values[present[0]] or b"")
        if present:
            raise VerificationError("map proof: another key where a value should be")
        key, value, at = _cut_leaf(proof, at)
        if key in keys:
            raise VerificationError("map proof: a key is there that should be absent")
        if any(bit_of(key, bit) != side for bit, side in taken):
            raise VerificationError("map proof: a leaf at a place that is not its own")
        return at, leaf_node(key, value)
    bit = above + tag - 1
    if bit >= _MANY_BITS:
        raise FormatError("map proof: a bit beyond the longest key")
    sides = (
        [key for key in keys if not bit_of(key, bit)],
        [key for key in keys if bit_of(key, bit)],
    )
    hashes: list[bytes] = []
    for side, here in enumerate(sides):
        if here:
            at, hash_ = _node(values, proof, at, here, bit, (*taken, (bit, side)))
        else:
            hash_, at = proof[at : at + HASH_SIZE], at + HASH_SIZE
            if at > len(proof):
                raise FormatError("map proof: cut short")
        hashes.append(hash_)
    return at, inner_node(bit, *hashes)


def _expect(found: bytes, root: bytes) -> None:
    if found != root:
        raise VerificationError("map proof: it does not lead to the root")


def _leaf(key: bytes, value: bytes) -> bytes:
    return uvarint(len(key)) + key + uvarint(len(value)) + value


def _cut_leaf(data: bytes, at: int) -> tuple[bytes, bytes, int]:
    """Key and value at a place in a proof, and where they end."""
    parts: list[bytes] = []
    for _ in range(2):
        size, at = _cut_varint(data, at)
        if size > len(data) - at:
            raise _bad()
        parts.append(data[at : at + size])
        at += size
    return parts[0], parts[1], at


def _cut_varint(data: bytes, at: int) -> tuple[int, int]:
    """A varint, which could not be shorter, and where it ends."""
    number = shift = 0
    while at < len(data) and shift < 64:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            if number >> 64 or (shift and not byte):
                break
            return number, at
        shift += 7
    raise _bad()


def _bad() -> FormatError:
    return FormatError("map proof: cut short, or a number that is none")
