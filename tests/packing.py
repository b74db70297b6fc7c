"""Addenda that stay together, as those of a batch of usual decisions do; and what a file keeps."""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from muniment_log.core.addenda import Addendum, Pack
from muniment_log.storage.addendacontents import AddendaContents, Row


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
