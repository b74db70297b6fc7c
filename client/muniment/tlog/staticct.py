"""C2SP static-ct-api, "Log Entries": the data tiles of Certificate Transparency logs.

Such a log (Sunlight is one) is a tlog-tiles log whose entries are served in another form, below
``tile/data/`` instead of ``tile/entries/``: each with more than is hashed. What its leaf hashes are
of is the MerkleTreeLeaf of RFC 6962, which this module makes of them::

    TileLeaf         = TimestampedEntry [ opaque<3> for a precertificate ] fingerprints<2>
    TimestampedEntry = timestamp(8) type(2) ( opaque<3> / issuer(32) opaque<3> ) extensions<2>
    MerkleTreeLeaf   = 0(1) 0(1) TimestampedEntry
"""

from typing import Final

from muniment.tlog.encoding import FormatError
from muniment.tlog.tiles import Tile

_X509: Final = 0
_PRECERTIFICATE: Final = 1
_ISSUER: Final = 32
_FINGERPRINT: Final = 32
_LEAF_HEADER: Final = b"\0\0"  # version 1, timestamped entry


def data_path(tile: Tile) -> str:
    """The path of the data tile in the place of an entry bundle."""
    return tile.path.replace("tile/entries/", "tile/data/", 1)


def leaves_of(data: bytes, *, most: int) -> list[bytes]:
    """The first leaves of a data tile, not compressed, byte for byte what their hashes are of.

    What comes after `most` leaves is not looked at. Raises FormatError if it is no data tile.
    """
    leaves: list[bytes] = []
    at = 0
    while at < len(data) and len(leaves) < most:
        start = at
        kind = int.from_bytes(data[at + 8 : at + 10])
        at += 10
        if kind == _PRECERTIFICATE:
            at += _ISSUER
        elif kind != _X509:
            raise FormatError(f"data tile: entry {len(leaves)} is of type {kind}")
        at = _skip(data, at, 3)
        at = _skip(data, at, 2)
        leaf = _LEAF_HEADER + data[start:at]
        if kind == _PRECERTIFICATE:
            at = _skip(data, at, 3)
        chain, at = at + 2, _skip(data, at, 2)
        if (at - chain) % _FINGERPRINT:
            raise FormatError(f"data tile: entry {len(leaves)}: not a list of fingerprints")
        leaves.append(leaf)
    return leaves


def _skip(data: bytes, at: int, width: int) -> int:
    """The place after a value with its length, of so many bytes, before it."""
    end = at + width + int.from_bytes(data[at : at + width])
    if end > len(data) or at + width > len(data):
        raise FormatError("data tile: ends within an entry")
    return end
