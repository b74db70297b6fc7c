"""What callers have to write into a spool, and the one change of its file that this makes."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from muniment.gateway.keptaddenda import KeptBytes
from muniment.gateway.spoolfile import Change
from muniment.gateway.withholding import Addenda


@dataclass(slots=True, eq=False)
class Put:
    """What one caller has to write; ``addenda`` of a call that begins are at number 0."""

    entries: Sequence[bytes] = ()
    begun: tuple[int, bytes] | None = None
    ended: int | None = None
    addenda: Addenda | None = None
    kept: Sequence[KeptBytes] = ()
    names: Sequence[bytes] = ()
    is_beginning: bool = False
    """Whether something is to begin that may as well not: it does not need the spare room."""
    done: "asyncio.Future[None]" = field(
        init=False, default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    @property
    def size(self) -> int:
        """Bytes of the records, and of their addenda to be sent."""
        size = sum(map(len, self.entries))
        return size + sum(len(data) for _, data in self.of_entries) if self.addenda else size

    @property
    def of_entries(self) -> list[tuple[int, bytes]]:
        """The addenda of the records, with the record's number."""
        if self.begun is not None or self.addenda is None:
            return []
        return [(at, data) for at, several in self.addenda.items() for data in several]


def change_of(taken: Sequence[Put]) -> Change:
    """The one change of the file for what several callers have to write, in their order."""
    entries = [entry for one in taken for entry in one.entries]
    begun = [one.begun for one in taken if one.begun is not None]
    ended = [one.ended for one in taken if one.ended is not None]
    names: list[bytes] = []
    has_addenda = False
    for one in taken:
        names += one.names
        has_addenda = has_addenda or bool(one.addenda or one.kept)
    if not has_addenda:
        return Change(entries, begun, ended, (), (), (), names)
    addenda: list[tuple[int, bytes]] = []
    before = 0
    for one in taken:
        addenda += [(before + at, data) for at, data in one.of_entries]
        before += len(one.entries)
    of_calls = [
        (one.begun[0], data)
        for one in taken
        if one.begun is not None and one.addenda is not None
        for data in one.addenda.get(0, ())
    ]
    kept = [addendum for one in taken for addendum in one.kept]
    return Change(entries, begun, ended, addenda, of_calls, kept, names)


def settle(taken: Sequence[Put], error: Exception | None = None) -> None:
    """Tells each caller that what it had is written, or why not."""
    for one in taken:
        if one.done.done():
            continue
        if error is None:
            one.done.set_result(None)
        else:
            one.done.set_exception(error)
            one.done.exception()  # the caller may have been cancelled
