"""What a reader of an index has read before, and keeps for further questions."""

from typing import TYPE_CHECKING, Any, Final

from muniment.lineage.facts import ROLES, Page

if TYPE_CHECKING:
    from muniment.records.kinds import Record

KEPT_RECORDS: Final = 8_192
"""Parsed records, and postings, that a reader keeps for the next question: some 15 MB."""


class KnownLeaves:
    """What was read of a log before: leaves do not change, so it stays true as the log grows.

    Attributes:
        records: Leaves, parsed; None for what is no valid record.
        size: The size at which postings were read.
        read: Hashes of things whose postings are all known.
        near: Leaves by a thing's hash and a role.
        pages: Whole answers, by role, then by key.
    """

    __slots__ = ("near", "pages", "read", "records", "size")

    def __init__(self) -> None:
        self.records: dict[int, Record | None] = {}
        self.size = 0
        self.read: set[int] = set()
        self.near: dict[tuple[int, int], list[int]] = {}
        self.pages: dict[str, dict[Any, Page[Any]]] = {role: {} for role in ROLES}

    def at(self, size: int) -> None:
        """Prepares for questions at a size, and lets go of what has become too much to keep."""
        if len(self.records) > KEPT_RECORDS:
            self.records = {}
        answers = max(len(self.near), *map(len, self.pages.values()))
        if self.size != size or answers > KEPT_RECORDS:
            self.size, self.read, self.near = size, set(), {}
            self.pages = {role: {} for role in ROLES}
