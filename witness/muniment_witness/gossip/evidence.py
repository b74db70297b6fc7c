"""Which evidence a witness keeps: verified, and only what says something new."""

import logging
from collections.abc import Callable
from dataclasses import InitVar, dataclass
from typing import Final

from muniment.local.logs import event
from muniment.tlog.checkpoint import Checkpoint, SignedCheckpoint
from muniment.tlog.claims import Evidence
from muniment.tlog.encoding import VerificationError
from muniment.tlog.evidence import parse_evidence
from muniment.tlog.proven import SENTENCES, verify_evidence
from muniment_service.metrics import Metrics
from muniment_witness.gossip.alarmboard import AlarmBoard
from muniment_witness.gossip.outbox import Outbox
from muniment_witness.gossip.shared import Shared
from muniment_witness.store.observations import FiledEvidence

_LOGGER: Final = logging.getLogger(__name__)


@dataclass(eq=False, kw_only=True)
class EvidenceArchive:
    """Files evidence against logs: on disk, in the metrics, and for the peers."""

    shared: Shared
    outbox: Outbox
    board: AlarmBoard
    metrics: InitVar[Metrics]

    def __post_init__(self, metrics: Metrics) -> None:
        self._count = metrics.counter("evidence", "Evidence filed.", ("origin", "kind"))

    def verified(self, evidence: Evidence, computed: bytes | None = None) -> Evidence:
        """Verifies evidence with this witness's own keys of the log; drops what was not verified.

        `computed` is the map root that this witness has computed itself, for `Index`. Raises
        VerificationError if it proves nothing.
        """
        log = self.shared.logs.get(evidence.origin)
        if log is None:
            raise VerificationError("evidence against a log that this witness does not know")
        return verify_evidence(
            evidence, log.verifiers, origin=log.origin, computed=computed
        ).evidence

    async def file(
        self,
        evidence: Evidence,
        source: str,
        is_ours: Callable[[SignedCheckpoint], bool],
        *,
        computed: bytes | None = None,
    ) -> FiledEvidence | None:
        """Verifies evidence and keeps it; None when it says nothing new or there is enough of it.

        `is_ours` tells whether a checkpoint is known to be of this witness's own side; `computed`
        is as for `verified`. Raises VerificationError if it proves nothing.
        """
        origin = evidence.origin
        proven = self.verified(evidence, computed)
        # A head of the other side contradicts each head of ours: one file says it all, else every
        # growth of our side would make new evidence of what the operator has acknowledged.
        foreign = [signed for signed in proven.checkpoints if not is_ours(signed)]
        known = self._heads(origin)
        if foreign and all(signed.checkpoint in known for signed in foreign):
            return None
        filed = await self.shared.observations.file(
            proven, source, self.shared.clock(), self.shared.suspensions.acknowledged(origin)
        )
        if filed is not None:
            event(
                _LOGGER,
                logging.ERROR,
                f"{SENTENCES[proven.kind]}; nothing is signed for this log",
                origin=origin,
                kind=filed.kind,
                evidence=filed.hash.hex(),
                source=source,
            )
            self._count.labels(origin, filed.kind).inc()
            if filed.kind != "index":  # which takes the leaves: who recomputes finds it as well
                self.outbox.add_evidence(filed)
            self.board.ask_for_look()
        return filed

    def _heads(self, origin: str) -> set[Checkpoint]:
        files = self.shared.observations.evidence.get(origin, {}).values()
        return {head for filed in files for head in parse_evidence(filed.file).heads}
