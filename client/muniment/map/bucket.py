"""Buckets: the keys of one slot of the map, as a row of the file holds them.

A row is the CRC-32 of what follows, then for each key in order: its 31 bytes after the kind, the
hash of its leaf in the map, and its list. A list of at most INLINE indices is their number and six
bytes for each; a longer one is a zero, the number in six bytes, the peaks of its compact range, and
the indices after the last full chunk: each CHUNK of them are a row of their own. All numbers are
big-endian.

The leaves' hashes could be made of the lists. They are what an update of one key needs of the
others.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final
from zlib import crc32

from muniment.tlog.merkle import HASH_SIZE, CompactRange, join_peaks, root_of, split_hashes
from muniment.tlog.mpt import uvarint

INLINE: Final = 15
"""Most indices of a list that are in the bucket itself."""

INDEX_BYTES: Final = 6
"""Bytes of a leaf index in a row: tlog sizes are bounded by 2**48 here, see `MAX_LEAVES`."""

CHUNK: Final = 64
"""Indices of a long list in a row of their own: as many as may have to wait in the bucket."""

MAX_LEAVES: Final = 1 << 48

ABSENT: Final = bytes(HASH_SIZE)
"""What stands for the hash of a part of the tree without keys."""

_REST: Final = 31  # bytes of a key after its kind
_CRC: Final = 1  # what the checksum begins with: a row of zeros has none that fits
_PAD: Final = bytes(8 - INDEX_BYTES)
_LEAF: Final = b"\0" + _PAD  # begins the Merkle leaf of an index
INNER: Final = [b"\x01" + uvarint(bit) for bit in range(8 * (_REST + 1))]
"""What is hashed before the two sides of an inner node, by its bit."""


class Rot(Exception):  # noqa: N818 - caught within this package, and told as a DatabaseError
    """A row contradicts itself."""


def inner(bit: int, left: bytes, right: bytes) -> bytes:
    """The hash of an inner node of the map, see `tlog.mpt`."""
    return sha256(INNER[bit] + left + right).digest()


def parse(row: bytes) -> dict[bytes, bytes]:
    """The keys of a row, without their kind, each with its leaf's hash and its list; or Rot."""
    if int.from_bytes(row[:4], "big") != crc32(memoryview(row)[4:], _CRC):
        raise Rot("a checksum that is not its own")
    lists: dict[bytes, bytes] = {}
    at, size = 4, len(row)
    while at < size:
        key = at + _REST
        start = key + HASH_SIZE
        count = row[start]
        if count:
            end = start + 1 + INDEX_BYTES * count
        else:
            end = start + 1 + INDEX_BYTES
            count = int.from_bytes(row[start + 1 : end], "big")
            end += HASH_SIZE * count.bit_count() + INDEX_BYTES * (count % CHUNK)
        lists[row[at:key]] = row[key:end]
        at = end
    return lists


def encode(lists: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The row of keys in order, each with its leaf's hash and its list."""
    body = b"".join([part for item in lists for part in item])
    return crc32(body, _CRC).to_bytes(4, "big") + body


def hashed(key: bytes, list_: bytes) -> bytes:
    """A key's list with the hash of its leaf before it."""
    return sha256(b"\0\x20" + key + b"\x28" + value_of(list_)).digest() + list_


def hash_of(lists: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The hash of the subtree of some keys in order, by their leaves' hashes; ABSENT for none."""
    if len(lists) == 1:
        return lists[0][1][:HASH_SIZE]
    # A node waits until all keys to its right that differ from it later have been joined to it.
    inner_, hash_ = INNER, sha256
    waiting: list[bytes] = []
    bits: list[int] = []
    before = 0
    for key, list_ in lists:
        number = int.from_bytes(key, "big")
        if waiting:
            bit = 256 - (before ^ number).bit_length()
            while bits and bits[-1] > bit:
                right = waiting.pop()
                waiting[-1] = hash_(inner_[bits.pop()] + waiting[-1] + right).digest()
            bits.append(bit)
        waiting.append(list_[:HASH_SIZE])
        before = number
    while bits:
        right = waiting.pop()
        waiting[-1] = hash_(inner_[bits.pop()] + waiting[-1] + right).digest()
    return waiting[0] if waiting else ABSENT


def value_of(list_: bytes) -> bytes:
    """The value that the map gives a key with this list: count and root."""
    count = list_[0]
    if count == 1:
        return b"\0\0\0\0\0\0\0\x01" + sha256(_LEAF + list_[1:]).digest()
    if count:
        return count.to_bytes(8, "big") + root_of(_hashes(list_[1:]))
    peaks, _ = _long(list_)
    return _PAD + list_[1 : 1 + INDEX_BYTES] + join_peaks(peaks)


def count_of(list_: bytes) -> int:
    """How many indices a list has."""
    return list_[0] or int.from_bytes(list_[1 : 1 + INDEX_BYTES], "big")


def indices_of(list_: bytes) -> bytes:
    """The indices of a list side by side; of a long one those after its full chunks."""
    return list_[1:] if list_[0] else _long(list_)[1]


def longer(list_: bytes | None, indices: bytes) -> tuple[bytes, list[tuple[int, bytes]]]:
    """A list with more indices at its end; None for one that has none yet.

    Returns:
        The list, and the chunks that are full now, with their numbers.
    """
    before, waiting = (0, b"") if list_ is None else (count_of(list_), indices_of(list_))
    count = before + len(indices) // INDEX_BYTES
    together = waiting + indices
    if count <= INLINE:
        return bytes((count,)) + together, []
    if list_ is not None and not list_[0]:
        range_ = CompactRange(before, tuple(_long(list_)[0])).extend(_hashes(indices))
    else:
        range_ = CompactRange(0, ()).extend(_hashes(together))
    size, first = CHUNK * INDEX_BYTES, before // CHUNK
    end = len(together) // size * size
    chunks = [(first + at // size, together[at : at + size]) for at in range(0, end, size)]
    head = b"\0" + count.to_bytes(INDEX_BYTES, "big")
    return b"".join((head, *range_.peaks, together[end:])), chunks


def _long(list_: bytes) -> tuple[list[bytes], bytes]:
    """The peaks of a long list, and the indices after its full chunks."""
    start = 1 + INDEX_BYTES
    end = start + HASH_SIZE * count_of(list_).bit_count()
    return split_hashes(list_[start:end]), list_[end:]


def root_of_indices(indices: bytes) -> bytes:
    """The value of a list of indices side by side."""
    count = len(indices) // INDEX_BYTES
    return count.to_bytes(8, "big") + root_of(_hashes(indices))


def _hashes(indices: bytes) -> list[bytes]:
    hash_ = sha256
    return [
        hash_(_LEAF + indices[at : at + INDEX_BYTES]).digest()
        for at in range(0, len(indices), INDEX_BYTES)
    ]
