"""Reading facts in bounded batches: whole answers to many keys, or a note that they are not whole.

An answer that was cut off could hide a revocation behind records that somebody logged to fill the
page. So the reader goes on page by page, up to one budget for everything that one caller asks.
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeVar

from muniment.lineage.facts import PAGE, Facts, Found, Page
from muniment.records.kinds import Record
from muniment.records.manifest import Signed

R = TypeVar("R", bound=Record)
K = TypeVar("K")
K_contra = TypeVar("K_contra", contravariant=True)

_BATCH: Final = 500  # keys in one lookup: an SQL statement takes some 1,000 parameters everywhere


class FactsLookup(Protocol[K_contra, R]):
    """One of the lookups of `facts.Facts`."""

    def __call__(
        self, keys: Sequence[K_contra], /, *, after: int = -1, limit: int = PAGE
    ) -> Sequence[Page[R]]:
        """Answers each key, in order."""
        ...


class BudgetedReader:
    """Reads whole answers until its budget, in records over all lookups, is spent.

    Attributes:
        left: How many more records it may read.
        is_cut: Whether an answer was cut off because the budget was spent.
        read: All records read, by leaf index.
        manifests: Leaf indices of all manifests read.
    """

    __slots__ = ("is_cut", "left", "manifests", "read")

    def __init__(self, budget: int) -> None:
        """Takes the budget."""
        self.left = budget
        self.is_cut = False
        self.read: dict[int, Record] = {}
        self.manifests: set[int] = set()

    def all(self, lookup: FactsLookup[K, R], keys: Sequence[K]) -> list[tuple[Found[R], ...]]:
        """Reads everything that answers each key, in order of the log."""
        answers: list[tuple[Found[R], ...]] = []
        for start in range(0, len(keys), _BATCH):
            batch = keys[start : start + _BATCH]
            if self.left <= 0:
                self.is_cut = True
                answers += [()] * len(batch)
                continue
            for key, page in zip(batch, lookup(batch), strict=True):
                entries = page.entries
                if entries:
                    self.left -= len(entries)
                    self.read.update(entries)
                    while page.more and page.entries and self.left > 0:
                        [page] = lookup([key], after=entries[-1].index)
                        entries += self._take(page)
                # Also of a page without records: a proof may name none of what it says there is.
                self.is_cut |= page.more
                answers.append(entries)
        return answers

    def until(
        self,
        lookup: FactsLookup[K, R],
        keys: Sequence[K],
        is_enough: Callable[[K, tuple[Found[R], ...]], bool],
    ) -> list[tuple[tuple[Found[R], ...], bool]]:
        """Reads pages for each key until `is_enough(key, page)`; tells whether there are more."""
        answers: list[tuple[tuple[Found[R], ...], bool]] = []
        for start in range(0, len(keys), _BATCH):
            batch = keys[start : start + _BATCH]
            for key, page in zip(batch, lookup(batch), strict=True):
                entries = last = self._take(page)
                while page.more and last and self.left > 0 and not is_enough(key, last):
                    [page] = lookup([key], after=last[-1].index)
                    last = self._take(page)
                    entries += last
                answers.append((entries, page.more))
        return answers

    def signers(self, facts: Facts, indices: Sequence[int]) -> dict[int, Signed | None]:
        """Who signed the manifests of the records at some leaves; notes the manifests as read."""
        found = dict(zip(indices, facts.signers(indices), strict=True)) if indices else {}
        self.manifests.update(one.manifest for one in found.values() if one is not None)
        return found

    def _take(self, page: Page[R]) -> tuple[Found[R], ...]:
        self.left -= len(page.entries)
        self.read.update(page.entries)
        return page.entries
