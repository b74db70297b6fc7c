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
from muniment.complete.listing import KeyList
from muniment.complete.prooffile import (
    VerifiedComplete,
    check_lists,
    manifests_of,
    parsed_records,
    places_of,
)
from muniment.lineage.facts import (
    PAGE,
    FactsError,
    FactsHead,
    Interval,
    MemoryFacts,
    Page,
    Ref,
    Role,
    head_of,
)
from muniment.records.kinds import Edge
from muniment.tlog.encoding import VerificationError

_NOTHING: Final[Mapping[int, bytes]] = {}


class CompleteFacts(MemoryFacts):
    """Facts from verified completeness proofs, at the size of the log that they are about.

    Of each key the newest proof answers. When these are proofs of several sizes, as where only what
    is revoked was asked for anew, the facts reflect the smallest.

    Attributes:
        revoked_as_of: What the answers on revocations reflect.
        missing: With `explore`, the keys that were asked for and that no proof covers, or of which
            leaves are not at hand; they were answered with nothing.
    """

    __slots__ = ("_explore", "_heads", "_known", "_lists", "missing", "revoked_as_of")

    def __init__(
        self,
        *proofs: VerifiedComplete,
        entries: Mapping[int, bytes] = _NOTHING,
        now: int | None = None,
        explore: bool = False,
    ) -> None:
        """Takes the proofs, at least one, in any order.

        Raises FactsError if they are of several logs, or contradict the leaves.

        Args:
            proofs: What answers, and leaves that come with it.
            entries: Other leaves of the log, verified, by leaf index.
            now: Unix seconds; cosignatures of a later time do not count.
            explore: Whether to note what is missing, instead of raising FactsError.
        """
        ordered = sorted(proofs, key=lambda one: one.log.size)
        newest = head_of(ordered[-1].log, now)
        leaves = dict(entries)
        self._lists: dict[Key, tuple[FactsHead, KeyList]] = {}
        for one in ordered:
            head = head_of(one.log, now)
            if head.origin != newest.origin:
                raise FactsError(f"proofs of two logs: {head.origin} and {newest.origin}")
            self._lists.update((key, (head, listing)) for key, listing in one.lists.items())
            leaves.update(one.entries)
        leaves = {index: leaf for index, leaf in leaves.items() if index < newest.size}
        places = places_of(leaves, newest.origin)
        try:
            for one in ordered:
                check_lists(one.lists, places, one.log.size)
        except VerificationError as error:
            raise FactsError(str(error)) from error
        parsed = parsed_records(leaves)
        records = [(index, record) for index, record in parsed.items() if record is not None]
        super().__init__(newest, records, manifests_of(leaves).items())
        self._head = min((head for head, _ in self._lists.values()), key=_size)
        revoking = [head for head in map(self._revoked_as_of, self._lists) if head is not None]
        self.revoked_as_of = min(revoking, key=_size, default=self._head)
        self._known = frozenset(leaves)
        self._heads = sorted({head_of(one.log, now)[1:] for one in ordered})
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

    def _covered(self, asked: Iterable[Key]) -> list[KeyList | None]:
        """The lists of some keys, whose leaves are at hand."""
        found: list[KeyList | None] = []
        for key in asked:
            answers, listing = self._answer(key)
            if listing is None or not self._known.issuperset(listing.indices):
                if not self._explore:
                    raise FactsError(f"the completeness proof does not cover {answers.text}")
                self.missing[answers] = None
            found.append(listing)
        return found

    def _answer(self, key: Key) -> tuple[Key, KeyList | None]:
        """The key that answers, and its list: what there is on a run has its revocations, too."""
        if key.kind == "revocations" and key.parts[0] == "execution":
            run = Key("execution", key.parts[1:])
            if self._size_of(key) < self._size_of(run) or key not in self._lists:
                key = run
        found = self._lists.get(key)
        return key, None if found is None else found[1]

    def _revoked_as_of(self, key: Key) -> FactsHead | None:
        """What the answer reflects on what is revoked of a key's thing; None for other keys."""
        if key.kind == "execution":
            key, _ = self._answer(Key("revocations", ("execution", *key.parts)))
        elif key.kind != "revocations":
            return None
        return self._lists[key][0]

    def _size_of(self, key: Key) -> int:
        found = self._lists.get(key)
        return -1 if found is None else found[0].size


def _size(head: FactsHead) -> int:
    return head.size


def _cut(page: Page[Any], listing: KeyList) -> Page[Any]:
    """A page of a list of which only the beginning is proven."""
    last = max(listing.indices, default=-1)
    within = tuple(one for one in page.entries if one.index <= last)
    return Page(within, more=True)
