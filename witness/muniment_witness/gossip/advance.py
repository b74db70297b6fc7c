"""Cosigning by proofs that the witness made itself: for pulled heads and lost records.

A witness whose database was restored from an old copy would cosign a smaller tree as the largest,
or another history. Its own cosignatures outlive its database: logs publish them, and peers keep
what they saw of it. Whoever shows one that is beyond the record makes the witness stop signing for
that log, until it has proved that its record leads there, and has taken the head back.
"""

import logging
from collections.abc import Iterable, Sequence
from typing import Final

from muniment.local.logs import event
from muniment.tlog.checkpoint import SignedCheckpoint
from muniment.tlog.encoding import MunimentError
from muniment.tlog.note import UnverifiedNote, Verifier, verify_note
from muniment_witness.cosign.cosigner import Cosigner
from muniment_witness.cosign.suspension import LostRecord, Suspensions
from muniment_witness.gossip.comparer import Comparer
from muniment_witness.gossip.tiles import TileReader, UnresolvedError
from muniment_witness.judge.comparison import Comparison
from muniment_witness.judge.decide import Authentic, Refusal
from muniment_witness.judge.relation import SignedHead
from muniment_witness.store.heads import CosignedHead, HeadStore

_LOGGER: Final = logging.getLogger(__name__)


class HeadAdvancer:
    """Asks the cosigner to move heads, by proofs from tiles that the witness read."""

    def __init__(
        self,
        *,
        store: HeadStore,
        cosigner: Cosigner,
        comparer: Comparer,
        suspensions: Suspensions,
        reader: TileReader,
    ) -> None:
        """Takes its collaborators."""
        self._store = store
        self._cosigner = cosigner
        self._comparer = comparer
        self._suspensions = suspensions
        self._reader = reader

    def size(self, origin: str) -> int:
        """Size of the latest cosigned head; 0 without one."""
        return self._store.head(origin).size

    async def cosign(self, seen: SignedHead, prefixes: Sequence[str]) -> CosignedHead | Refusal:
        """Cosigns a head that was compared: the same judgement as for add-checkpoint.

        Raises:
            UnresolvedError: If no source gave the tiles for the proof.
            Problem: 503, when too many requests wait.
            FatalDatabaseError: If it could not be made durable; the process must end.
        """
        return await self._cosigner.add_checkpoint(await self._request(seen, prefixes))

    async def cosign_newest(
        self, origin: str, prefixes: Sequence[str]
    ) -> CosignedHead | Refusal | None:
        """Cosigns the newest head that was read of a log, so that all that follows extends it.

        For a witness that may have signed, or would sign first, what its database does not know:
        what it has read is then the least that it knows.

        Returns:
            What came of it; None when nothing was read beyond the record.

        Raises:
            UnresolvedError: If no source gave the tiles for the proof.
            Problem: 503, when too many requests wait.
            FatalDatabaseError: If it could not be made durable; the process must end.
        """
        self._comparer.reconcile(origin)
        frontier = self._comparer.frontier(origin)
        if frontier is None or frontier.head.size <= self.size(origin):
            return None
        return await self._cosigner.add_while_suspended(await self._request(frontier, prefixes))

    async def _request(self, seen: SignedHead, prefixes: Sequence[str]) -> Authentic:
        head = self._store.head(seen.origin)
        proof: tuple[bytes, ...] = ()
        if 0 < head.size < seen.head.size:
            prefix, tiles = await self._reader.prefix(seen.origin, head.size, seen.head, prefixes)
            proof = prefix.proof
            if prefix.root == head.root:
                self._reader.cache.put(seen.origin, tiles)
        return Authentic(seen.signed.checkpoint, seen.signed.note, head.size, proof)

    def note_own_cosignature(
        self, seen: SignedHead, signed: SignedCheckpoint, own: Iterable[Verifier]
    ) -> LostRecord | None:
        """Looks for cosignatures of this witness beyond its record, on a note that was shown.

        Args:
            seen: The head.
            signed: The same with all signature lines.
            own: The witness's own keys.

        Returns:
            What was found; the origin is held from now on.
        """
        head = self._store.head(seen.origin)
        if seen.head.size < head.size or seen.head == head:
            return None
        verifiers = tuple(own)
        keys = {(verifier.vkey.name, verifier.vkey.key_id) for verifier in verifiers}
        lines = tuple(
            dict.fromkeys(
                line for line in signed.note.signatures if (line.name, line.key_id) in keys
            )
        )
        try:
            verified = verify_note(UnverifiedNote(signed.note.text, lines), verifiers)
        except (MunimentError, ValueError):
            return None
        before = self._suspensions.lost.get(seen.origin)
        if before is not None and before.seen.head.size >= seen.head.size:
            return None
        found = LostRecord(seen, lines, max(each.timestamp or 0 for each in verified.signatures))
        self._suspensions.lost[seen.origin] = found
        event(
            _LOGGER,
            logging.ERROR,
            "own cosignature beyond the record: the database is an old copy; nothing is signed",
            origin=seen.origin,
            size=seen.head.size,
            recorded=head.size,
        )
        return found

    async def recover(self, origin: str, prefixes: Sequence[str]) -> bool:
        """Catches up with a lost record, when its head is proved to extend what is recorded.

        Returns:
            Whether nothing holds the origin back for this reason any more.

        Raises:
            FatalDatabaseError: If it could not be made durable; the process must end.
        """
        own = self._suspensions.lost.get(origin)
        if own is None:
            return True
        if self._store.head(origin).size < own.seen.head.size:
            try:
                request = await self._request(own.seen, prefixes)
            except UnresolvedError:
                return False
            outcome = await self._cosigner.recover(request, own.lines, own.time)
            if isinstance(outcome, Refusal):
                await self._comparer.observe(own.seen, "own cosignature", prefixes)
                return False
            event(
                _LOGGER,
                logging.WARNING,
                "took back a head that this witness had cosigned",
                origin=origin,
                size=own.seen.head.size,
            )
        elif await self._comparer.observe(own.seen, "own cosignature", prefixes) in {
            Comparison.PROVEN,
            Comparison.UNRESOLVED,
        }:
            return False
        if self._suspensions.lost.get(origin) is own:
            self._suspensions.recovered(origin)
        return True
