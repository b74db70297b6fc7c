"""The configured addresses: the URLs of a log and of peers, and no others."""

from collections.abc import Mapping, Sequence
from hashlib import sha256

from muniment.tlog.witnesswire import origin_hash
from muniment_witness.config import LogOptions, Peer

CHECKPOINT = "checkpoint"


def shown_path(origin: str, name: str) -> str:
    """Where a witness serves the newest head that a peer of that name has shown to it."""
    return f"{origin_hash(origin)}/shown-by/{sha256(name.encode()).hexdigest()}"


def peer_prefix(peer: Peer, origin: str) -> str:
    """The monitoring prefix of a peer for one log; its checkpoint and tiles are below it."""
    return f"{peer.url}/{origin_hash(origin)}"


class Sources:
    """Where the tiles and heads of a log may be read."""

    def __init__(self, options: Mapping[str, LogOptions], peers: Sequence[Peer]) -> None:
        self._options = options
        self._peers = tuple(peers)

    def tiles(self, origin: str, first: Peer | None = None) -> list[str]:
        """URL prefixes under which tiles of a log may be: the log, a certain peer, the others."""
        options = self._options.get(origin)
        prefixes = [options.url] if options is not None and options.url is not None else []
        peers = self._peers if first is None else (first, *self._peers)
        prefixes += [peer_prefix(peer, origin) for peer in peers]
        return list(dict.fromkeys(prefixes))
