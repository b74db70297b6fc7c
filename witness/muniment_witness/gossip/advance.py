"""Cosigning by proofs that the witness made itself: for pulled heads and lost records.

A witness whose database was restored from an old copy would cosign a smaller tree as the largest,
or another history. Its own cosignatures outlive its database: logs publish them, and peers keep
what they saw of it. Whoever shows one that is beyond the record makes the witness stop signing for
that log, until it has proved that its record leads there, and has taken the head back.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from muniment.local.logs import event
from muniment.tlog.checkpoint import SignedCheckpoint
from muniment.tlog.encoding import MunimentError
from muniment.tlog.note import UnverifiedNote, verify_note
from muniment_witness.cosign.cosigner import Cosigner
from muniment_witness.cosign.suspension import LostRecord
from muniment_witness.gossip.comparer import Comparer
from muniment_witness.gossip.recompute import IndexJudge
from muniment_witness.gossip.shared import Shared
from muniment_witness.gossip.tiles import TileReader, UnresolvedError
from muniment_witness.judge.comparison import Comparison
from muniment_witness.judge.decide import Authentic, Refusal
from muniment_witness.judge.relation import SignedHead
from muniment_witness.store.heads import CosignedHead

_LOGGER: Final = logging.getLogger(__name__)


@dataclass(eq=False, kw_only=True)
class HeadAdvancer:
    """Asks the cosigner to move heads, by proofs from tiles that the witness read."""

    shared: Shared
    cosigner: Cosigner
    comparer: Comparer
    reader: TileReader
    indices: IndexJudge

    async def cosign(
        self, candidate: SignedHead, prefixes: Sequence[str]
    ) -> CosignedHead | Refusal:
        """Cosigns a head that was compared: the same judgement as for add-checkpoint.

        Raises:
            UnresolvedError: If no source gave the tiles for the proof.
            Problem: 503, when too many requests wait, or an index is not computed yet.
        """
        request = await self._request(candidate, prefixes)
        await self.indices.judge(request)
        return await self.cosigner.add_checkpoint(request)

    async def cosign_newest(
        self, origin: str, prefixes: Sequence[str]
    ) -> CosignedHead | Refusal | None:
        """Cosigns the newest head that was read of a log; None when none is beyond the record.

        For a witness that may have signed, or would sign first, what its database does not know:
        what it has read is then the least that it knows, and all that follows extends it.

        Raises:
            UnresolvedError: If no source gave the tiles for the proof.
            Problem: 503, when too many requests wait, or an index is not computed yet.
        """
        self.comparer.reconcile(origin)
        frontier = self.comparer.frontier(origin)
        if frontier is None or frontier.size <= self.shared.store.head(origin).size:
            return None
        request = await self._request(frontier, prefixes)
        await self.indices.judge(request)
        return await self.cosigner.add_while_suspended(request)

    async def _request(self, candidate: SignedHead, prefixes: Sequence[str]) -> Authentic:
        head = self.shared.store.head(candidate.origin)
        proof: tuple[bytes, ...] = ()
        if 0 < head.size < candidate.size:
            prefix, tiles = await self.reader.prefix(
                candidate.origin, head.size, candidate.head, prefixes
            )
            proof = prefix.proof
            if prefix.root == head.root:
                self.reader.cache.put(candidate.origin, tiles)
        return Authentic(candidate.signed.checkpoint, candidate.signed.note, head.size, proof)

    def note_own_cosignature(self, candidate: SignedHead, signed: SignedCheckpoint) -> None:
        """Suspends the log when a note shows a cosignature of this witness beyond its record.

        `signed` is the head's checkpoint with all its signature lines.
        """
        head = self.shared.store.head(candidate.origin)
        if candidate.size < head.size or candidate.head == head:
            return
        verifiers = self.shared.own
        keys = {(verifier.vkey.name, verifier.vkey.key_id) for verifier in verifiers}
        lines = tuple(
            dict.fromkeys(
                line for line in signed.note.signatures if (line.name, line.key_id) in keys
            )
        )
        try:
            verified = verify_note(UnverifiedNote(signed.note.text, lines), verifiers)
        except (MunimentError, ValueError):
            return
        before = self.shared.suspensions.lost.get(candidate.origin)
        if before is not None and before.head.size >= candidate.size:
            return
        found = LostRecord(
            candidate, lines, max(each.timestamp or 0 for each in verified.signatures)
        )
        self.shared.suspensions.lost[candidate.origin] = found
        event(
            _LOGGER,
            logging.ERROR,
            "own cosignature beyond the record: the database is an old copy; nothing is signed",
            origin=candidate.origin,
            size=candidate.size,
            recorded=head.size,
        )

    async def recover(self, origin: str, prefixes: Sequence[str]) -> bool:
        """Catches up with a lost record, when its head is proved to extend what is recorded.

        True when no lost record of the log is left.
        """
        own = self.shared.suspensions.lost.get(origin)
        if own is None:
            return True
        if self.shared.store.head(origin).size < own.head.size:
            try:
                request = await self._request(own.head, prefixes)
            except UnresolvedError:
                return False
            outcome = await self.cosigner.recover(request, own.lines, own.time)
            if isinstance(outcome, Refusal):
                await self.comparer.observe(own.head, "own cosignature", prefixes)
                return False
            event(
                _LOGGER,
                logging.WARNING,
                "took back a head that this witness had cosigned",
                origin=origin,
                size=own.head.size,
            )
        elif await self.comparer.observe(own.head, "own cosignature", prefixes) in {
            Comparison.PROVEN,
            Comparison.UNRESOLVED,
        }:
            return False
        if self.shared.suspensions.lost.get(origin) is own:
            self.shared.suspensions.recovered(origin)
        return True
