"""What the parts of a witness share, and where they may read: configured addresses, no others."""

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256

from msgspec import Struct

from muniment.tlog.note import Verifier
from muniment.tlog.witnesswire import origin_hash
from muniment_witness.config import LogOptions, Peer, WitnessConfig
from muniment_witness.cosign.suspension import Suspensions
from muniment_witness.gossip.net import Transport
from muniment_witness.judge.decide import KnownLog
from muniment_witness.store.heads import HeadStore
from muniment_witness.store.observations import Observations


def shown_path(origin: str, name: str) -> str:
    """Where a witness serves the newest head that a peer of that name has shown to it."""
    return f"{origin_hash(origin)}/shown-by/{sha256(name.encode()).hexdigest()}"


def peer_prefix(peer: Peer, origin: str) -> str:
    """The monitoring prefix of a peer for one log; its checkpoint and tiles are below it."""
    return f"{peer.url}/{origin_hash(origin)}"


class Shared(Struct, frozen=True, kw_only=True):
    """What all parts of a witness go by.

    Attributes:
        own: This witness's keys.
        clock: Gives Unix seconds.
    """

    config: WitnessConfig
    own: tuple[Verifier, ...]
    store: HeadStore
    suspensions: Suspensions
    transport: Transport
    clock: Callable[[], int]

    @property
    def logs(self) -> Mapping[str, KnownLog]:
        """The logs, by origin."""
        return self.config.logs

    @property
    def options(self) -> Mapping[str, LogOptions]:
        """How each log is watched, by origin."""
        return self.config.options

    @property
    def peers(self) -> Sequence[Peer]:
        """The peers."""
        return self.config.peers

    @property
    def observations(self) -> Observations:
        """What was seen, and is not cosigned."""
        return self.store.observations

    @property
    def period(self) -> float:
        """Longest time between two rounds of gossip, in seconds."""
        return self.config.file.gossip.period_seconds

    def tiles(self, origin: str, first: Peer | None = None) -> list[str]:
        """URL prefixes under which tiles of a log may be: the log, a certain peer, the others."""
        options = self.options.get(origin)
        prefixes = [options.url] if options is not None and options.url is not None else []
        peers = self.peers if first is None else (first, *self.peers)
        prefixes += [peer_prefix(peer, origin) for peer in peers]
        return list(dict.fromkeys(prefixes))
