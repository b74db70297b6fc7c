"""The metrics of what a witness holds, and of when it last reached logs and peers."""

from collections.abc import Mapping
from functools import cache

from muniment_service.metrics import Metrics
from muniment_witness.bastion.link import BastionState
from muniment_witness.gossip.logstate import LogState
from muniment_witness.gossip.peers import PeerState
from muniment_witness.store.observations import Observations, counts


class WatchGauges:
    """Gauges that `Watch.refresh_alarms` brings up to date."""

    def __init__(self, metrics: Metrics) -> None:
        self._held = metrics.gauge("ledger", "What is held, by what it is.", ("what",))
        self._peer = metrics.gauge(
            "peer_reached_seconds", "When a peer last answered, Unix time.", ("peer",)
        )
        pulled = metrics.gauge(
            "log_reached_seconds", "When a log last gave a checkpoint, Unix time.", ("origin",)
        )
        self._pulled = cache(pulled.labels)  # of thousands of logs, most of what is done here
        self._compared = metrics.gauge(
            "peer_compared", "Logs whose head at the peer was compared in time.", ("peer",)
        )
        self._served = metrics.gauge(
            "bastion_connected", "Whether the bastion takes this witness.", ("bastion",)
        )
        self._requests = metrics.gauge(
            "bastion_requests", "Requests through the bastion since the start.", ("bastion",)
        )

    def show(
        self,
        observations: Observations,
        peers: Mapping[str, PeerState],
        logs: Mapping[str, LogState],
        bastions: Mapping[str, BastionState],
        *,
        since: float,
    ) -> None:
        """Sets all gauges; comparisons since then (Unix seconds) were in time."""
        for what, count in counts(observations).items():
            self._held.labels(what).set(count)
        for name, state in peers.items():
            self._peer.labels(name).set(state.reached)
            fresh = [h for h in state.heads.values() if h.size >= 0 and h.compared >= since]
            self._compared.labels(name).set(len(fresh))
        for origin, pulled in logs.items():
            self._pulled(origin).set(pulled.reached)
        for prefix, bastion in bastions.items():
            self._served.labels(prefix).set(bastion.since > 0)
            self._requests.labels(prefix).set(bastion.requests)
