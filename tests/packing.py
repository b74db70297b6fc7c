"""Addenda, made and as a file keeps them, records that name them, and what a log takes of both."""

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from itertools import accumulate, count
from pathlib import Path
from typing import Any

import decisions
from muniment.records.canonical import encode_canonical
from muniment.records.commitments import addendum
from muniment.tlog.encoding import in_one_go
from muniment_log.core.addenda import Addendum, Pack, Sent
from muniment_log.core.matching import matching
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


def content(number: int, value: object = "text") -> bytes:
    return addendum(f"{number:032x}", value)


def digest_of(data: bytes) -> bytes:
    return sha256(data).digest()


def record(*withheld: bytes, **members: Any) -> bytes:
    request = decisions.request("alice", "read", ("document", "1"), kind="user")
    addenda = {f"/request/m{n}": digest_of(data).hex() for n, data in enumerate(withheld)}
    return encode_canonical(
        {
            "v": 1,
            "kind": "decision",
            "id": "1",
            "time": 1_790_000_000_000,
            "producer": "gw.example/x",
            "request": request,
            "response": {"decision": True},
            **({"addenda": addenda} if addenda else {}),
            **members,
        }
    )


def match(records: list[bytes], addenda: list[bytes]) -> Sent | None:
    return in_one_go(matching(records, addenda, b"".join(records)))
