"""Addenda: made, together as those of a batch of usual decisions are, and as a file keeps them."""

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from itertools import accumulate, count
from pathlib import Path

from muniment_log.core.addenda import Addendum, Pack
from muniment_log.core.naming import subject_key
from muniment_log.storage.addenda import AddendaStore
from muniment_log.storage.addendacontents import AddendaContents, Row
from waiting import at_work

DAY = 86_400_000
ALICE, BOB = subject_key("user", "alice"), subject_key("user", "bob")

_numbers = count(1 << 20)


def made(
    number: int | None = None,
    *,
    subject: bytes | None = ALICE,
    run: str | None = None,
    labels: tuple[str, ...] = (),
    size: int = 60,
) -> Addendum:
    """An addendum of a number; without one, another addendum each time."""
    data = random.Random(next(_numbers) if number is None else number).randbytes(size)
    return Addendum(sha256(data).digest(), data, subject, run, labels)


@asynccontextmanager
async def working(store: AddendaStore) -> AsyncIterator[AddendaStore]:
    """A store that is open and takes addenda."""
    await store.open()
    try:
        async with at_work(store.run()):
            yield store
    finally:
        await store.close()


def stored(path: Path) -> list[tuple[Row, bytes | None]]:
    """All that a file of addenda has, one by one or together; no bytes of what is erased."""
    if not path.exists():
        return []
    contents = AddendaContents(path)
    rows = [row for chunk in contents.chunks() for row in chunk]
    data = {digest: data for part in contents.data([*rows]) for digest, data in part}
    return [(row, data.get(row.digest)) for row in rows]


def packed(addenda: Sequence[Addendum]) -> Pack:
    """The same addenda together; each has a subject, and no label."""
    return Pack(
        b"".join(len(one.data).to_bytes(4, "big") + one.data for one in addenda),
        [*accumulate(4 + len(one.data) for one in addenda)],
        [one.digest for one in addenda],
        b"".join(one.subject or b"" for one in addenda),
        [None if one.execution is None else one.execution.encode() for one in addenda],
    )
