"""`lineage.facts.Facts` over an index file: what a runtime or an auditor asks instead of the log.

A batch is one or two SQL statements, unless some key has very many postings. A lookup of anything
but descendants also reads ahead: postings and records of what the edges lead to from there, a
little further each time, so that a chain of a thousand runs takes a handful of statements and not
thousands. What was read and parsed stays with the reader (`reader.Known`), for the next question.
Every answer is at the size that the index had when the facts were made. Every record is parsed with
all checks, and compared with the key that it was found by.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from muniment.index.keys import BEFORE_TO, Role, thing_hash
from muniment.index.reader import IndexReader
from muniment.lineage import facts
from muniment.lineage.facts import (
    Facts,
    FactsError,
    FactsHead,
    Found,
    Interval,
    Page,
    TargetRef,
)
from muniment.local.sqlitefile import DatabaseError
from muniment.records.codec import parse_leaves
from muniment.records.kinds import Record
from muniment.records.manifest import Signed, signed_by
from muniment.tlog.encoding import VerificationError
from muniment.tlog.note import VKey
from muniment.tlog.policy import Policy

CACHED_RECORDS: Final = 65_536
"""Records kept parsed; about 100 MB of large decisions, and a trace of ten thousand hops."""

SPREAD: Final = 16
"""Postings that a batch may have for each key, on average, before keys are asked one by one."""

READ_AHEAD: Final = 64
"""Things that the first lookup reads ahead to; four times as many each time that it did not do."""

LINKED: Final = 4
"""Postings that things have on average when they are links of a chain, and not busy agents."""

MAX_READ_AHEAD: Final = 16_384

LEAST_ROWS: Final = 4_096
"""Postings that are read at once of however few things; beyond, one thing after the other."""


class ReplicaFacts(Facts):
    """Facts at the size that an index has now; uses the reader, and so belongs to its thread.

    Whatever cannot be read raises `FactsError`.
    """

    def __init__(self, reader: IndexReader, *, size: int | None = None) -> None:
        """Takes an open reader; answers at what is visible now, or at an earlier size.

        Raises FactsError if the index reflects nothing yet, or less than `size`, or holds proof
        that the log's key signed two histories: then nothing that it says is to be relied on.
        """
        try:
            head = reader.head()
            condemned = reader.is_condemned()
        except DatabaseError as error:
            raise FactsError(str(error)) from error
        if head is None:
            raise FactsError(f"{reader.path}: nothing is verified yet")
        if condemned:
            raise FactsError(f"{reader.path}: the misbehaviour of {head.origin} is proven")
        if size is not None:
            if size > head.size:
                raise FactsError(f"{reader.path}: reflects {head.size} leaves, not {size}")
            head = head._replace(size=size)
        self._reader = reader
        self._head = head
        reader.known.at(head.size)
        self._known = reader.known
        self._ahead = READ_AHEAD

    @property
    def head(self) -> FactsHead:
        """What the answers reflect."""
        return self._head

    @property
    def gateways(self) -> tuple[VKey, ...] | None:
        """The gateways whose word counts by this replica's configuration; None without one."""
        try:
            return self._reader.gateways()
        except DatabaseError as error:
            raise FactsError(str(error)) from error

    def accept(self, policy: Policy) -> None:
        """Verifies by a policy what the index was verified by: its file may be of another one.

        Raises FactsError if the policy does not accept the checkpoint that the index keeps.
        """
        try:
            checkpoint = self._reader.state().checkpoint
            if checkpoint is not None:
                policy.verify(checkpoint, origin=self._head.origin)
        except (DatabaseError, VerificationError) as error:
            path = self._reader.path
            raise FactsError(f"{path}: was not verified by this policy: {error}") from error

    def records(self, indices: Sequence[int]) -> dict[int, Record | None]:
        """Records by leaf index; None for a leaf that is no valid record."""
        self._load(indices)
        return {index: self._known.records[index] for index in indices}

    def signers(self, indices: Sequence[int]) -> list[Signed | None]:
        """See `Facts`."""
        found: list[Signed | None] = []
        manifest: tuple[int, Signed] | None = None  # the batch before, and its first leaf
        try:
            for index in indices:
                if manifest is None or not manifest[0] <= index < manifest[1].manifest:
                    leaf = self._reader.manifest_after(index, size=self._head.size)
                    manifest = None if leaf is None else signed_by(leaf[1], leaf[0])
                is_in = manifest is not None and manifest[0] <= index
                found.append(manifest[1] if manifest is not None and is_in else None)
        except DatabaseError as error:
            raise FactsError(str(error)) from error
        return found

    def intervals(self, indices: Sequence[int]) -> list[Interval]:
        """See `Facts`."""
        try:
            return self._reader.intervals(indices, size=self._head.size)
        except DatabaseError as error:
            raise FactsError(str(error)) from error

    def _load(self, indices: Iterable[int]) -> None:
        """Puts records into the cache."""
        known = self._known.records
        missing = [index for index in indices if index not in known]
        if not missing:
            return
        try:
            leaves = self._reader.leaves(missing)
        except DatabaseError as error:
            raise FactsError(str(error)) from error
        known.update(zip(leaves, parse_leaves(list(leaves.values())), strict=True))

    def find(
        self, role: facts.Role, keys: Sequence[Any], after: int, limit: int
    ) -> list[Page[Any]]:
        """See `Facts`."""
        if limit < 1:
            raise ValueError("a limit is at least 1")
        if after >= 0:
            return self._read_pages(role, keys, after, limit)
        kept = self._known.pages[role]
        found = [kept.get(key) for key in keys]
        missing = [
            key
            for key, page in zip(keys, found, strict=True)
            if page is None or len(page.entries) > limit
        ]
        if not missing:
            return found  # type: ignore[return-value]  # no None is left
        if len(kept) > CACHED_RECORDS:
            kept.clear()
        pages = self._read_pages(role, missing, after, limit)
        kept.update((key, page) for key, page in zip(missing, pages, strict=True) if not page.more)
        if len(missing) == len(keys):
            return pages
        fresh = iter(pages)
        return [
            next(fresh) if page is None or len(page.entries) > limit else page for page in found
        ]

    def _read_pages(
        self, role: facts.Role, keys: Sequence[Any], after: int, limit: int
    ) -> list[Page[Any]]:
        """As `find`, of what nobody has asked for before."""
        if len(self._known.records) > CACHED_RECORDS:
            self._known.records.clear()
        known = self._known.records
        kind, keys_of = facts.ROLES[role]
        posted, hash_of = _POSTED[role]
        origin = self._head.origin
        hashes = [hash_of(key) for key in keys]

        def matching(key: Any, indices: Sequence[int]) -> list[Found[Any]]:
            return [
                Found(index, record)
                for index in indices
                if isinstance(record := known[index], kind) and key in keys_of(record, origin)
            ]

        candidates = None if after >= 0 else self._candidates(hashes, posted)
        nothing: Page[Any] = Page()
        pages: list[Page[Any]] = []
        for at, key in enumerate(keys):
            if candidates is not None:
                indices = candidates.get(at)
                if indices is None:
                    pages.append(nothing)
                    continue
                if len(indices) <= limit:
                    pages.append(Page(tuple(matching(key, indices))))
                    continue
            found: list[Found[Any]] = []
            last = after
            while len(found) <= limit:
                indices = self._find(hashes[at], posted, last, limit + 1)
                self._load(indices)
                found += matching(key, indices)
                if len(indices) <= limit:
                    break
                last = indices[-1]
            pages.append(Page(tuple(found[:limit]), more=len(found) > limit))
        return pages

    def _candidates(self, hashes: Sequence[int], role: Role) -> dict[int, list[int]] | None:
        """The candidates for all keys, by position, loaded; None when they are too many at once."""
        near = self._known.near
        candidates: dict[int, list[int]] = {}
        try:
            if role > BEFORE_TO[1] or not self._read_ahead(hashes):
                most = LEAST_ROWS + SPREAD * len(hashes)
                postings = self._reader.find_all(
                    hashes, (role, role), size=self._head.size, limit=most
                )
                if len(postings) >= most:
                    return None
                for at, _, index in postings:
                    candidates.setdefault(at, []).append(index)
            else:
                for at, thing in enumerate(hashes):
                    if indices := near.get((thing, role)):
                        candidates[at] = indices
        except DatabaseError as error:
            raise FactsError(str(error)) from error
        # All candidates at once: a bundle that several keys need is read once.
        self._load([index for indices in candidates.values() for index in indices])
        return candidates

    def _read_ahead(self, hashes: Sequence[int]) -> bool:
        """Makes the postings of some things known, and of things that edges lead to from them.

        Returns False if they are too many at once; then those of these things may be unknown.
        """
        near, read, size = self._known.near, self._known.read, self._head.size
        if len(near) > CACHED_RECORDS:
            near.clear()
            read.clear()
        missing = [thing for thing in dict.fromkeys(hashes) if thing not in read]
        if not missing:
            return True
        # In the order of the index: the search for one thing then ends near that for the next.
        reached = sorted(self._reader.reach(missing, size=size, limit=len(missing) + self._ahead))
        self._ahead = min(MAX_READ_AHEAD, 4 * self._ahead)
        most = LEAST_ROWS + SPREAD * len(reached)
        postings = self._reader.find_all(reached, BEFORE_TO, size=size, limit=most)
        if len(postings) >= most:
            return False
        fresh: dict[tuple[int, int], list[int]] = defaultdict(list)
        for at, role, index in postings:
            fresh[reached[at], role].append(index)
        near.update(fresh)
        read.update(reached)
        if len(postings) <= LINKED * len(reached):
            # Most will be asked for, and many records are parsed together for less.
            self._load(dict.fromkeys(posting.index for posting in postings))
        return read.issuperset(missing)

    def _find(self, thing: int, role: Role, after: int, limit: int) -> list[int]:
        size = self._head.size
        try:
            return self._reader.find(thing, role, after=after, size=size, limit=limit)
        except DatabaseError as error:
            raise FactsError(str(error)) from error


def _of_run(id_: str) -> int:
    return thing_hash("run", id_)


def _of_target(target: TargetRef) -> int:
    return thing_hash("run" if target.kind == "execution" else target.kind, target.id)


_POSTED: Final[Mapping[facts.Role, tuple[Role, Callable[[Any], int]]]] = {
    "from": (Role.FROM, lambda thing: thing_hash(*thing)),
    "to": (Role.TO, lambda thing: thing_hash(*thing)),
    "decision": (Role.ID, lambda id_: thing_hash("decision", id_)),
    "decision of": (Role.DECISION_OF, _of_run),
    "outcome": (Role.OUTCOME, _of_run),
    "verification": (Role.VERIFICATION, _of_run),
    "revocation": (Role.REVOKED, _of_target),
    "approval": (Role.ID, lambda id_: thing_hash("approval", id_)),
    "erasure": (Role.ERASED, lambda digest: thing_hash("addendum", digest)),
}
"""How the index has each role: as which role of a posting, and under what hash of a key."""
