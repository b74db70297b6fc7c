"""Every head that a log signed is compared with the witness's own frontier.

Whatever its source (an answer of the log, a peer, a refused request), a head goes through
`observe`: compared by its note alone where that is enough, by the history, or by tiles of the newer
of the two trees. What comes out is evidence, which is filed at once; or the head is known to
belong, and may become the frontier; or it is unresolved, and is kept as suspicion and tried again.

The frontier is the latest cosigned head, or a watched one that was proved to extend it. When the
cosigned head moves on by itself, the watched one is compared with it like any other head.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from muniment.tlog.checkpoint import SignedCheckpoint, parse_signed_checkpoint
from muniment.tlog.claims import Evidence
from muniment.tlog.encoding import MunimentError, VerificationError
from muniment.tlog.evidence import contradiction_of
from muniment.tlog.heads import Head
from muniment_witness.gossip.catchup import CatchUp
from muniment_witness.gossip.evidence import EvidenceArchive
from muniment_witness.gossip.tiles import TileReader, UnresolvedError
from muniment_witness.judge.comparison import Comparison, conclude
from muniment_witness.judge.decide import KnownLog
from muniment_witness.judge.relation import (
    Same,
    SignedHead,
    Unproven,
    authentic,
    compare,
    digest_of,
    judge,
    recorded,
    restored,
)
from muniment_witness.store.heads import HeadStore
from muniment_witness.store.observations import DatedNote, FiledEvidence, Suspicion

MAX_RESULTS: Final = 256
"""Compared heads that are remembered for each origin, so that they are not compared again."""

MAX_RETRIES: Final = 8
"""Suspicions of one origin that are tried again in one round."""

_ATTEMPTS: Final = 4
_LOGGER: Final = logging.getLogger(__name__)


class Comparer:
    """Compares heads, and keeps the frontiers.

    Attributes:
        reasons: For each unresolved head by digest, why the last attempt failed.
    """

    def __init__(
        self,
        *,
        logs: Mapping[str, KnownLog],
        store: HeadStore,
        archive: EvidenceArchive,
        reader: TileReader,
        catch_up: CatchUp,
        clock: Callable[[], int],
    ) -> None:
        """Takes its collaborators; `clock` gives Unix seconds."""
        self._logs = logs
        self._store = store
        self._observations = store.observations
        self._archive = archive
        self._reader = reader
        self._catch_up = catch_up
        self._clock = clock
        self._locks: dict[str, asyncio.Lock] = {}
        self._results: dict[str, OrderedDict[bytes, Comparison]] = {}
        self._based: dict[str, Head] = {}
        self._heads: dict[tuple[str, bool], tuple[bytes, SignedHead]] = {}
        self.reasons: Final[dict[bytes, str]] = {}

    # What is known

    def frontier(self, origin: str) -> SignedHead | None:
        """Gives the newest head that is known to extend all accepted ones; None at first."""
        watched = self._watched(origin)
        return self._cosigned(origin) if watched is None or self._is_stale(watched) else watched

    def reconcile(self, origin: str) -> None:
        """Gives up a watched head that the cosigned head has overtaken.

        The cosigned head moved by itself, or the process restarted: unless both are the same, how
        they relate is unknown, and the watched head becomes a suspicion, to be compared anew.
        """
        watched = self._watched(origin)
        if watched is None or not self._is_stale(watched):
            return
        self._observations.unwatch(origin)
        if watched.head != self._store.head(origin):
            self._results.get(origin, OrderedDict()).pop(watched.digest, None)
            self.suspect(watched, "watched", "to be compared with the cosigned head")

    def _is_stale(self, watched: SignedHead) -> bool:
        """Whether a watched head is not known to extend the cosigned head as it is now."""
        origin = watched.origin
        cosigned = self._store.latest.get(origin)
        if cosigned is None:
            return False
        is_larger = watched.head.size > cosigned.head.size
        return not (is_larger and self._based.get(origin) == cosigned.head)

    def _watched(self, origin: str) -> SignedHead | None:
        noted = self._observations.watched.get(origin)
        return None if noted is None else self._stored(origin, noted.note, watched=True)

    def _cosigned(self, origin: str) -> SignedHead | None:
        latest = self._store.latest.get(origin)
        return None if latest is None else self._stored(origin, latest.note)

    def _stored(self, origin: str, note: bytes, *, watched: bool = False) -> SignedHead:
        # Parsed once for each note. Not verified again: it was when it was accepted, and a key that
        # the log gave up since then does not undo that.
        cached = self._heads.get((origin, watched))
        if cached is not None and cached[0] == note:
            return cached[1]
        seen = recorded(note)
        self._heads[origin, watched] = (note, seen)
        return seen

    # Comparing

    async def observe(
        self, seen: SignedHead, source: str, prefixes: Sequence[str] = ()
    ) -> Comparison:
        """Compares a head with the frontier; reads tiles when it must.

        Args:
            seen: The head.
            source: Who showed it, for people.
            prefixes: URL prefixes of tiles that may be those of either tree.

        Raises:
            FatalDatabaseError: If evidence could not be made durable; the process must end.
        """
        origin = seen.origin
        self.reconcile(origin)
        if (known := self.known(seen)) is not None:
            return known
        async with self._locks.setdefault(origin, asyncio.Lock()):
            self.reconcile(origin)
            if (known := self.known(seen)) is not None:
                return known
            try:
                result = await self._compare(seen, source, prefixes)
            except UnresolvedError as error:
                self.suspect(seen, source, str(error))
                return Comparison.UNRESOLVED
        self.reasons.pop(seen.digest, None)
        self._observations.resolve(origin, seen.digest)
        results = self._results.setdefault(origin, OrderedDict())
        results[seen.digest] = result
        while len(results) > MAX_RESULTS:
            results.popitem(last=False)
        return result

    def known(self, seen: SignedHead) -> Comparison | None:
        """Gives the result for a head that was compared before, or is the frontier, or None."""
        frontier = self.frontier(seen.origin)
        if frontier is not None and frontier.head == seen.head:
            self._observations.resolve(seen.origin, seen.digest)
            return Comparison.SAME
        results = self._results.get(seen.origin)
        return None if results is None else results.get(seen.digest)

    async def _compare(self, seen: SignedHead, source: str, prefixes: Sequence[str]) -> Comparison:
        origin = seen.origin
        for _ in range(_ATTEMPTS):
            self.reconcile(origin)
            frontier, cosigned = self.frontier(origin), self._store.head(origin)
            verdict = compare(frontier, seen)
            proven = (
                await self._relate(verdict, prefixes) if isinstance(verdict, Unproven) else verdict
            )
            now = self.frontier(origin)
            result = conclude(frontier, seen, proven)
            # A contradiction stands. All else was about the frontier before, if it moved meanwhile.
            if result is Comparison.PROVEN or _is_same_note(frontier, now):
                await self._apply(result, seen, cosigned, proven, source)
                return result
        raise UnresolvedError("the frontier moved too often")

    async def _apply(
        self,
        result: Comparison,
        seen: SignedHead,
        cosigned: Head,
        proven: Same | Evidence | None,
        source: str,
    ) -> None:
        """Files evidence, or makes the head the frontier, as the result calls for."""
        if proven is not None and not isinstance(proven, Same):
            try:
                await self.file(proven, source)
            except VerificationError as error:
                # The contradiction is with a head whose key is no longer listed.
                raise UnresolvedError(f"a contradiction, but {error}") from error
        elif result is Comparison.EXTENDS:
            self._based[seen.origin] = cosigned
            self._observations.watch(seen.origin, DatedNote(seen.signed.encode(), self._clock()))

    async def _relate(self, pair: Unproven, prefixes: Sequence[str]) -> Evidence | None:
        origin, older, newer = pair.newer.origin, pair.older, pair.newer
        frontier = self.frontier(origin)
        if frontier is not None and newer.digest == frontier.digest:
            for note in await self._store.notes_at(origin, older.head.size):
                signed = parse_signed_checkpoint(note)
                if signed.checkpoint.root == older.head.root:
                    return None
                if (conflict := contradiction_of(signed, older.signed)) is not None:
                    return conflict
        try:
            prefix, tiles = await self._reader.prefix(origin, older.head.size, newer.head, prefixes)
        except UnresolvedError:
            if frontier is None or older.digest != frontier.digest:
                raise
            return await self._catch_up.climb(self._logs[origin], older, newer, prefixes)
        proven = judge(pair, prefix)
        if proven is None or (frontier is not None and newer.digest == frontier.digest):
            self._reader.cache.put(origin, tiles)
        return proven

    def suspect(self, seen: SignedHead, source: str, reason: str, *, request: bytes = b"") -> None:
        """Keeps a head that could not be compared as a suspicion, if there is room.

        Args:
            seen: The head.
            source: Who showed it, for people.
            reason: Why it could not be compared.
            request: The refused request that brought it.
        """
        self.reasons[seen.digest] = reason
        suspicion = Suspicion(seen.signed.encode(), request, source, self._clock())
        is_new = self._observations.suspect(seen.origin, seen.digest, suspicion)
        if not is_new and seen.digest not in self._observations.suspicions[seen.origin]:
            del self.reasons[seen.digest]  # there was no room

    async def retry(self, prefixes: Callable[[str], Sequence[str]]) -> None:
        """Tries suspicions again, the longest waiting first, and makes changes durable.

        Args:
            prefixes: Where tiles of an origin may be read.

        Raises:
            FatalDatabaseError: If something could not be made durable; the process must end.
        """
        for origin in self._logs:
            self.reconcile(origin)
        for origin in list(self._observations.suspicions):
            log = self._logs.get(origin)
            if log is None:
                continue
            known = self._observations.suspicions.get(origin, {})
            for digest, suspicion in list(known.items())[:MAX_RETRIES]:
                try:
                    seen = restored(log, suspicion.note)
                except MunimentError:
                    self._observations.resolve(origin, digest)  # its key is no longer the log's
                    continue
                if await self.observe(seen, suspicion.source, prefixes(origin)) is (
                    Comparison.UNRESOLVED
                ) and (again := known.pop(digest, None)):
                    known[digest] = again  # to the end of the line
        await self._observations.save()

    # Evidence

    async def file(self, evidence: Evidence, source: str) -> FiledEvidence | None:
        """Verifies evidence and keeps it, if it says anything new; see `EvidenceArchive.file`.

        Raises:
            VerificationError: If it proves nothing.
            FatalDatabaseError: If it could not be made durable; the process must end.
        """
        return await self._archive.file(evidence, source, self._is_ours)

    async def take(
        self, evidence: Evidence, source: str, prefixes: Sequence[str]
    ) -> FiledEvidence | None:
        """Files evidence that a peer holds, after it found out which of its heads are ours.

        After an acknowledgement, peers of the other side go on finding the acknowledged head
        against each new head of ours; that is nothing new, if the head is known to be ours.
        """
        if self._observations.evidence.get(evidence.origin) and not self._observations.knows(
            evidence
        ):
            for signed in self._archive.verified(evidence).checkpoints:
                seen = authentic(self._logs[evidence.origin], signed)
                await self.observe(seen, source, prefixes)
        return await self.file(evidence, source)

    def _is_ours(self, signed: SignedCheckpoint) -> bool:
        head = signed.checkpoint.head
        frontier = self.frontier(signed.checkpoint.origin)
        if frontier is not None and head in {frontier.head, self._store.head(frontier.origin)}:
            return True
        results = self._results.get(signed.checkpoint.origin)
        return results is not None and results.get(digest_of(signed)) in {
            Comparison.SAME,
            Comparison.EXTENDS,
            Comparison.PREFIX,
        }


def _is_same_note(one: SignedHead | None, other: SignedHead | None) -> bool:
    return (one and one.digest) == (other and other.digest)
