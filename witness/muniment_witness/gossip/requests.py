"""Learns from add-checkpoint requests, whether they are accepted or not.

Before a request is judged, the witness makes sure that what it has read of the log counts, too;
after a refusal, it keeps what the refused checkpoint proves or makes doubtful.
"""

from contextlib import suppress
from dataclasses import dataclass

from muniment.tlog.checkpoint import SignedCheckpoint
from muniment.tlog.encoding import VerificationError
from muniment_witness.gossip.advance import HeadAdvancer
from muniment_witness.gossip.announcer import HeadAnnouncer
from muniment_witness.gossip.comparer import Comparer
from muniment_witness.gossip.receive import PushReceiver
from muniment_witness.gossip.shared import Shared
from muniment_witness.gossip.tiles import UnresolvedError
from muniment_witness.judge.decide import Authentic, Refusal
from muniment_witness.judge.relation import Same, SignedHead, Unproven, compare, digest_of
from muniment_witness.store.heads import CosignedHead

_SOURCE = "add-checkpoint"


@dataclass(eq=False, kw_only=True)
class RequestObserver:
    """Observes the checkpoints that arrive by add-checkpoint."""

    shared: Shared
    comparer: Comparer
    advancer: HeadAdvancer
    receiver: PushReceiver
    announcer: HeadAnnouncer

    async def prepare(self, request: Authentic) -> None:
        """Makes sure that a request is judged by what was read of its log, too.

        A head of the size of one that was read, and of another root, is evidence at once. Where
        nothing of the log was cosigned yet, the newest head that was read is, first: whatever is
        cosigned later extends it.
        """
        checkpoint = request.checkpoint
        origin = checkpoint.origin
        self.comparer.reconcile(origin)
        if origin not in self.shared.observations.watched:
            return  # the newest head is the cosigned one, by which the request is judged anyway
        frontier = self.comparer.frontier(origin)
        if frontier is None or frontier.head == (checkpoint.size, checkpoint.root):
            return
        candidate = _signed_head(request)
        if not isinstance(compare(frontier, candidate), Same | Unproven):
            await self.comparer.observe(candidate, _SOURCE)
        elif self.shared.store.head(origin).size == 0 and self.shared.suspensions(origin) is None:
            with suppress(UnresolvedError):
                outcome = await self.advancer.cosign_newest(origin, self.shared.tiles(origin))
                if isinstance(outcome, CosignedHead):
                    self.announcer.announce(origin, outcome.latest)

    async def keep(self, request: Authentic, refusal: Refusal, body: bytes) -> None:
        """Keeps what a refused request shows, before the refusal is told.

        A contradiction that the notes prove is filed; a proof that failed makes the head a
        suspicion, with the request; a head that came with another old size is compared later.
        """
        if refusal.status not in {409, 422}:
            return
        candidate = _signed_head(request)
        self.comparer.reconcile(candidate.origin)
        if self.comparer.known(candidate) is not None:
            return
        verdict = compare(self.comparer.frontier(candidate.origin), candidate)
        if isinstance(verdict, Unproven):
            if refusal.status == 422:
                reason = "a proof that does not hold"
                self.comparer.suspect(candidate, _SOURCE, reason, request=body)
                await self.shared.observations.save()
            else:
                self.receiver.add_refused(candidate)
        elif not isinstance(verdict, Same):
            with suppress(VerificationError):  # a key that signed one of them is no longer listed
                await self.comparer.file(verdict, _SOURCE)


def _signed_head(request: Authentic) -> SignedHead:
    signed = SignedCheckpoint(request.checkpoint, request.note)
    return SignedHead(signed, digest_of(signed))
