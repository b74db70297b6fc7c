"""Every head that a log signed is compared with the witness's own frontier.

Whatever its source (an answer of the log, a peer, a refused request), a head goes through
`observe`: compared by its note alone where that is enough, by the history, or by tiles of the newer
of the two trees. What comes out is evidence, which is filed at once; or the head is known to
belong, and may become the frontier; or it is unresolved, and is kept as suspicion and tried again.

The frontier is the latest cosigned head, or a watched one that was proved to extend it. When the
cosigned head moves on by itself, the watched one is compared with it like any other head.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from muniment.tlog.checkpoint import SignedCheckpoint, parse_signed_checkpoint
from muniment.tlog.claims import Evidence
from muniment.tlog.encoding import MunimentError, VerificationError
from muniment.tlog.evidence import contradiction_of
from muniment.tlog.heads import Head
from muniment_witness.gossip.catchup import climb
from muniment_witness.gossip.evidence import EvidenceArchive
from muniment_witness.gossip.shared import Shared
from muniment_witness.gossip.tiles import TileReader, UnresolvedError
from muniment_witness.judge.comparison import Comparison, conclude
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
from muniment_witness.store.observations import DatedNote, FiledEvidence, Suspicion

MAX_RESULTS: Final = 256
"""Compared heads that are remembered for each origin, so that they are not compared again."""

MAX_RETRIES: Final = 8
"""Suspicions of one origin that are tried again in one round."""

_ATTEMPTS: Final = 4


@dataclass(eq=False, kw_only=True)
class Comparer:
    """Compares heads, and keeps the frontiers.

    Attributes:
        reasons: For each unresolved head by digest, why the last attempt failed.
    """

    shared: Shared
    archive: EvidenceArchive
    reader: TileReader
    reasons: dict[bytes, str] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._observations = self.shared.observations
        self._locks: dict[str, asyncio.Lock] = {}
        self._results: dict[str, OrderedDict[bytes, Comparison]] = {}
        self._based: dict[str, Head] = {}
        self._heads: dict[tuple[str, bool], tuple[bytes, SignedHead]] = {}

    # What is known

    def frontier(self, origin: str) -> SignedHead | None:
        """Gives the newest head that is known to extend all accepted ones; None at first."""
        watched = self._watched(origin)
        return self._cosigned(origin) if watched is None or self._is_stale(watched) else watched

    def known_size(self, origin: str) -> int | None:
        """As the size of `frontier`, but parses no cosigned head; None at first."""
        if origin in self._observations.watched:
            frontier = self.frontier(origin)
            return None if frontier is None else frontier.size
        latest = self.shared.store.latest.get(origin)
        return None if latest is None else latest.head.size

    def reconcile(self, origin: str) -> None:
        """Gives up a watched head that the cosigned head has overtaken.

        The cosigned head moved by itself, or the process restarted: unless both are the same, how
        they relate is unknown, and the watched head becomes a suspicion, to be compared anew.
        """
        watched = self._watched(origin)
        if watched is None or not self._is_stale(watched):
            return
        self._observations.unwatch(origin)
        if watched.head != self.shared.store.head(origin):
            self._results.get(origin, OrderedDict()).pop(watched.digest, None)
            self.suspect(watched, "watched", "to be compared with the cosigned head")

    def _is_stale(self, watched: SignedHead) -> bool:
        """Whether a watched head is not known to extend the cosigned head as it is now."""
        origin = watched.origin
        cosigned = self.shared.store.latest.get(origin)
        if cosigned is None:
            return False
        is_larger = watched.size > cosigned.head.size
        return not (is_larger and self._based.get(origin) == cosigned.head)

    def _watched(self, origin: str) -> SignedHead | None:
        noted = self._observations.watched.get(origin)
        return None if noted is None else self._stored(origin, noted.note, watched=True)

    def _cosigned(self, origin: str) -> SignedHead | None:
        latest = self.shared.store.latest.get(origin)
        return None if latest is None else self._stored(origin, latest.note)

    def _stored(self, origin: str, note: bytes, *, watched: bool = False) -> SignedHead:
        # Parsed once for each note. Not verified again: it was when it was accepted, and a key that
        # the log gave up since then does not undo that.
        cached = self._heads.get((origin, watched))
        if cached is not None and cached[0] == note:
            return cached[1]
        candidate = recorded(note)
        self._heads[origin, watched] = (note, candidate)
        return candidate

    # Comparing

    async def observe(
        self, candidate: SignedHead, source: str, prefixes: Sequence[str] = ()
    ) -> Comparison:
        """Compares a head with the frontier; reads tiles when it must.

        `source` says for people who showed it; `prefixes` are URLs below which tiles of either tree
        may be.
        """
        origin = candidate.origin
        self.reconcile(origin)
        if (known := self.known(candidate)) is not None:
            return known
        async with self._locks.setdefault(origin, asyncio.Lock()):
            self.reconcile(origin)
            if (known := self.known(candidate)) is not None:
                return known
            try:
                result = await self._compare(candidate, source, prefixes)
            except UnresolvedError as error:
                self.suspect(candidate, source, str(error))
                return Comparison.UNRESOLVED
        self.reasons.pop(candidate.digest, None)
        self._observations.resolve(origin, candidate.digest)
        results = self._results.setdefault(origin, OrderedDict())
        results[candidate.digest] = result
        while len(results) > MAX_RESULTS:
            results.popitem(last=False)
        return result

    def known(self, candidate: SignedHead) -> Comparison | None:
        """Gives the result for a head that was compared before, or is the frontier, or None."""
        frontier = self.frontier(candidate.origin)
        if frontier is not None and frontier.head == candidate.head:
            self._observations.resolve(candidate.origin, candidate.digest)
            return Comparison.SAME
        results = self._results.get(candidate.origin)
        return None if results is None else results.get(candidate.digest)

    async def _compare(
        self, candidate: SignedHead, source: str, prefixes: Sequence[str]
    ) -> Comparison:
        origin = candidate.origin
        for _ in range(_ATTEMPTS):
            self.reconcile(origin)
            frontier, cosigned = self.frontier(origin), self.shared.store.head(origin)
            verdict = compare(frontier, candidate)
            proven = (
                await self._relate(verdict, prefixes) if isinstance(verdict, Unproven) else verdict
            )
            now = self.frontier(origin)
            result = conclude(frontier, candidate, proven)
            # A contradiction stands. All else was about the frontier before, if it moved meanwhile.
            if result is Comparison.PROVEN or _is_same_note(frontier, now):
                await self._apply(result, candidate, source, cosigned=cosigned, proven=proven)
                return result
        raise UnresolvedError("the frontier moved too often")

    async def _apply(
        self,
        result: Comparison,
        candidate: SignedHead,
        source: str,
        *,
        cosigned: Head,
        proven: Same | Evidence | None,
    ) -> None:
        """Files evidence, or makes the head the frontier."""
        if proven is not None and not isinstance(proven, Same):
            try:
                await self.file(proven, source)
            except VerificationError as error:
                # The contradiction is with a head whose key is no longer listed.
                raise UnresolvedError(f"a contradiction, but {error}") from error
        elif result is Comparison.EXTENDS:
            self._based[candidate.origin] = cosigned
            self._observations.watch(
                candidate.origin, DatedNote(candidate.signed.encode(), self.shared.clock())
            )

    async def _relate(self, pair: Unproven, prefixes: Sequence[str]) -> Evidence | None:
        origin, older, newer = pair.newer.origin, pair.older, pair.newer
        frontier = self.frontier(origin)
        if frontier is not None and newer.digest == frontier.digest:
            for note in await self.shared.store.notes_at(origin, older.size):
                signed = parse_signed_checkpoint(note)
                if signed.checkpoint.root == older.head.root:
                    return None
                conflict = contradiction_of(signed, older.signed, None, older.key_name)
                if conflict is not None:
                    return conflict
        try:
            prefix, tiles = await self.reader.prefix(origin, older.size, newer.head, prefixes)
        except UnresolvedError:
            if frontier is None or older.digest != frontier.digest:
                raise
            log = self.shared.logs[origin]
            return await climb(self.shared.transport, log, older, newer, prefixes)
        proven = judge(pair, prefix)
        if proven is None or (frontier is not None and newer.digest == frontier.digest):
            self.reader.cache.put(origin, tiles)
        return proven

    def suspect(
        self, candidate: SignedHead, source: str, reason: str, *, request: bytes = b""
    ) -> None:
        """Keeps a head that could not be compared as a suspicion, if there is room.

        `request` is the refused request that brought it.
        """
        self.reasons[candidate.digest] = reason
        suspicion = Suspicion(candidate.signed.encode(), request, source, self.shared.clock())
        is_new = self._observations.suspect(candidate.origin, candidate.digest, suspicion)
        if not is_new and candidate.digest not in self._observations.suspicions[candidate.origin]:
            del self.reasons[candidate.digest]  # there was no room

    async def retry(self, prefixes: Callable[[str], Sequence[str]]) -> None:
        """Tries suspicions again, the longest waiting first, and makes changes durable."""
        for origin in self.shared.logs:
            self.reconcile(origin)
        for origin in list(self._observations.suspicions):
            log = self.shared.logs.get(origin)
            if log is None:
                continue
            known = self._observations.suspicions.get(origin, {})
            for digest, suspicion in list(known.items())[:MAX_RETRIES]:
                try:
                    candidate = restored(log, suspicion.note)
                except MunimentError:
                    self._observations.resolve(origin, digest)  # its key is no longer the log's
                    continue
                if await self.observe(candidate, suspicion.source, prefixes(origin)) is (
                    Comparison.UNRESOLVED
                ) and (again := known.pop(digest, None)):
                    known[digest] = again  # to the end of the line
        await self._observations.save()

    # Evidence

    async def file(self, evidence: Evidence, source: str) -> FiledEvidence | None:
        """Verifies evidence and keeps it, if it says anything new; see `EvidenceArchive.file`.

        Raises VerificationError if it proves nothing.
        """
        return await self.archive.file(evidence, source, self._is_ours)

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
            for signed in self.archive.verified(evidence).checkpoints:
                candidate = authentic(self.shared.logs[evidence.origin], signed)
                await self.observe(candidate, source, prefixes)
        return await self.file(evidence, source)

    def _is_ours(self, signed: SignedCheckpoint) -> bool:
        head = signed.checkpoint.head
        frontier = self.frontier(signed.checkpoint.origin)
        if frontier is not None and head in {
            frontier.head,
            self.shared.store.head(frontier.origin),
        }:
            return True
        results = self._results.get(signed.checkpoint.origin)
        return results is not None and results.get(digest_of(signed)) in {
            Comparison.SAME,
            Comparison.EXTENDS,
            Comparison.PREFIX,
        }


def _is_same_note(one: SignedHead | None, other: SignedHead | None) -> bool:
    return (one and one.digest) == (other and other.digest)
