"""What an eraser asks of the storage of addenda, and in which terms."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Selection(NamedTuple):
    """Which addenda are to be erased: those of some digests, or those of a subject.

    Attributes:
        digests: their SHA-256.
        subject: whose; see `naming.subject_key`. Outcomes of the subject's runs count, too.
        before_ms: only what the log took before, Unix milliseconds.
        is_whole: whether each of the digests has to be kept here.
    """

    digests: tuple[bytes, ...] = ()
    subject: bytes | None = None
    before_ms: int | None = None
    is_whole: bool = True


class Stored(NamedTuple):
    """An addendum that is kept.

    Attributes:
        digest: its SHA-256.
        size: its bytes.
        time: when the log took it, Unix milliseconds.
        leaves: how many leaves the log had then.
        labels: governance labels of the decision that names it; of an outcome's addendum those of
            all decisions on its run that have an addendum here, or had one that was erased.
    """

    digest: bytes
    size: int
    time: int
    leaves: int
    labels: tuple[str, ...]


class Mark(NamedTuple):
    """Up to where the log's erasures were carried through.

    Attributes:
        next: number of the next record on the log's own stream, on which they stand.
        seen: leaf index from which on those stand that are not.
    """

    next: int
    seen: int


class Totals(NamedTuple):
    """How many addenda are kept, their bytes, and how many were erased."""

    addenda: int
    bytes: int
    erased: int


class ErasablePort(Protocol):
    """What an eraser asks of the storage. Every call raises StorageError when that fails."""

    @property
    def totals(self) -> Totals:
        """How much is kept."""
        ...

    async def find(self, selection: Selection, most: int) -> list[Stored]:
        """The selected addenda that are kept, at most so many; oldest first."""
        ...

    async def after(self, id_: int, until_ms: int, most: int) -> tuple[list[Stored], int]:
        """Of the addenda behind one, at most so many up to the first that came after a time.

        Returns those that are kept, oldest first, and the last id that was looked at.
        """
        ...

    async def begin(self, records: Mapping[str, bytes]) -> None:
        """Notes erasures durably, by the id of each record, before they are logged."""
        ...

    async def begun(self) -> list[bytes]:
        """The records of erasures that are not complete."""
        ...

    async def remove(
        self, id_: str, digests: Sequence[bytes], index: int, now_ms: int
    ) -> Sequence[str]:
        """Removes the bytes of addenda for good, and the note of the erasure.

        Args:
            id_: the id of the record that says so.
            digests: the addenda.
            index: where the record stands.
            now_ms: now.

        Returns:
            The old versions that the storage keeps of them by itself, and that only its operator
            can remove.
        """
        ...

    async def mark(self) -> Mark | None:
        """Up to where erasures were carried through; None while nothing was ever kept."""
        ...

    async def put_mark(self, mark: Mark) -> None:
        """Notes up to where erasures were carried through."""
        ...

    async def forget(self) -> bool:
        """Removes old bytes from where the storage still has them; False if it could not yet."""
        ...
