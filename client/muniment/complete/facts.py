"""`lineage.facts.Facts` from a completeness proof: what a runtime asks that has no replica.

A lookup of what the proof covers has the answer that a replica of the same size has, because the
proof names all leaves there are. What it does not cover, or names without the leaf being at hand,
raises FactsError: who decides on that, denies.

One thing a proof does not tell: that the id of a decision which states its run was used again, for
another run. The decisions of an id are those that are listed under the id (they state no run) and
those of the runs that the proof covers.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from muniment.complete.keys import Key, key_of
from muniment.complete.listing import Listing
from muniment.complete.prooffile import VerifiedComplete, check_entries
from muniment.lineage.facts import (
    PAGE,
    FactsError,
    Interval,
    MemoryFacts,
    Page,
    Ref,
    Role,
    head_of,
)
from muniment.records.codec import parse_leaves
from muniment.records.kinds import Edge
from muniment.records.manifest import MANIFEST
from muniment.tlog.encoding import VerificationError

_NOTHING: Final[Mapping[int, bytes]] = {}


class CompleteFacts(MemoryFacts):
    """Facts from a verified completeness proof, at the size of the log that this is about.

    Attributes:
        missing: With `explore`, the keys that were asked for and that the proof does not cover, or
            of which leaves are not at hand; they were answered with nothing.
    """

    __slots__ = ("_explore", "_heads", "_known", "_lists", "missing")

    def __init__(
        self,
        proof: VerifiedComplete,
        *,
        before: Iterable[VerifiedComplete] = (),
        entries: Mapping[int, bytes] = _NOTHING,
        now: int | None = None,
        explore: bool = False,
    ) -> None:
        """Takes the proof that answers, and where leaves come from that it names.

        Raises FactsError if the proofs are of several logs, or contradict the leaves.

        Args:
            proof: The newest proof.
            before: Proofs of earlier, that had leaves.
            entries: Other leaves of the log, verified, by leaf index.
            now: Unix seconds; cosignatures of a later time do not count.
            explore: Whether to note what is missing, instead of raising FactsError.
        """
        older = tuple(before)
        for one in older:
            if one.log.origin != proof.log.origin:
                raise FactsError(f"proofs of two logs: {proof.log.origin} and {one.log.origin}")
        head = head_of(proof.log, now)
        leaves = dict(entries)
        for one in (*older, proof):
            leaves.update(one.entries)
        leaves = {index: leaf for index, leaf in leaves.items() if index < head.size}
        try:
            check_entries(proof.lists, leaves, head.origin)
        except VerificationError as error:
            raise FactsError(str(error)) from error
        manifests = [one for one in leaves.items() if one[1].startswith(MANIFEST)]
        others = {index: leaf for index, leaf in leaves.items() if not leaf.startswith(MANIFEST)}
        parsed = parse_leaves(list(others.values()))
        records = [(index, record) for index, record in zip(others, parsed, strict=True) if record]
        super().__init__(head, records, manifests)
        self._lists = proof.lists
        self._known = frozenset(leaves)
        self._heads = sorted({head_of(one.log, now)[1:] for one in (*older, proof)})
        self._explore = explore
        self.missing: dict[Key, None] = {}

    def find(self, role: Role, keys: Sequence[Any], after: int, limit: int) -> list[Page[Any]]:
        """See `Facts`."""
        return self._pages(
            role, keys, [key_of(role, key, self.head.origin) for key in keys], after, limit
        )

    def _pages(
        self, role: Role, keys: Sequence[Any], asked: Sequence[Key], after: int, limit: int
    ) -> list[Page[Any]]:
        lists = self._covered(asked)
        pages = super().find(role, keys, after, limit)
        return [
            page if found is None or found.is_whole else _cut(page, found)
            for page, found in zip(pages, lists, strict=True)
        ]

    def revoking_edges(
        self, decisions: Sequence[str], *, after: int = -1, limit: int = PAGE
    ) -> list[Page[Edge]]:
        """See `Facts`: those that revoke are listed among the decision's revocations."""
        asked = [Key("revocations", ("decision", id_)) for id_ in decisions]
        return self._pages("from", [Ref("decision", id_) for id_ in decisions], asked, after, limit)

    def intervals(self, indices: Sequence[int]) -> list[Interval]:
        """See `Facts`: by the heads of all proofs."""
        found: list[Interval] = []
        for index in indices:
            without = [time for size, time in self._heads if size <= index and time]
            having = [time for size, time in self._heads if size > index and time]
            found.append(Interval(max(without, default=None), min(having, default=None)))
        return found

    def _covered(self, asked: Iterable[Key]) -> list[Listing | None]:
        """The lists of some keys, whose leaves are at hand."""
        lists = [(key, self._lists.get(key)) for key in asked]
        lacking = [
            key
            for key, found in lists
            if found is None or not self._known.issuperset(found.indices)
        ]
        if lacking and not self._explore:
            raise FactsError(f"the completeness proof does not cover {lacking[0].text}")
        self.missing.update(dict.fromkeys(lacking))
        return [found for _, found in lists]


def _cut(page: Page[Any], listing: Listing) -> Page[Any]:
    """A page of a list of which only the beginning is proven."""
    last = max(listing.indices, default=-1)
    within = tuple(one for one in page.entries if one.index <= last)
    return Page(within, more=True)
