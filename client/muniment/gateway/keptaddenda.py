"""The addenda that a spool's file keeps instead of the log: what is in the table `kept`."""

import sqlite3
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from muniment.gateway.withholding import Addenda
from muniment.records.addenda import named_digests
from muniment.records.codec import parse_record
from muniment.records.members import MAX_ERASED


class KeptBytes(NamedTuple):
    """An addendum that is kept: its SHA-256, and what names it."""

    digest: str
    producer: str
    record: str
    pointer: str
    data: bytes


class KeptAddendum(NamedTuple):
    """What a spool's file says of an addendum that it keeps.

    ``digest`` is its SHA-256 in hexadecimal digits; ``record`` the id of the record, of a
    ``producer``, that named it last, at ``pointer``; ``size`` its bytes.
    """

    digest: str
    producer: str
    record: str
    pointer: str
    size: int


def kept_addenda(entries: Sequence[bytes], addenda: Addenda) -> list[KeptBytes]:
    """Addenda of records as they are kept: each with the record, and where it names it."""
    found: list[KeptBytes] = []
    for number, several in addenda.items():
        record = parse_record(entries[number])
        pointers = {digest: pointer for pointer, digest in named_digests(record).items()}
        for data in several:
            digest = sha256(data).hexdigest()
            found.append(KeptBytes(digest, record.producer, record.id, pointers[digest], data))
    return found


def erasures(digests: Sequence[str], by: str, reason: str | None) -> list[dict[str, Any]]:
    """The records that say that addenda, in the order of their digests, were erased."""
    return [
        {
            "kind": "erasure",
            "digests": list(digests[at : at + MAX_ERASED]),
            "by": by,
            **({} if reason is None else {"reason": reason}),
        }
        for at in range(0, len(digests), MAX_ERASED)
    ]


def keep(addenda: Sequence[KeptBytes], db: sqlite3.Connection) -> None:
    """Adds addenda; of one that is there, it notes what names it now."""
    db.executemany(
        "INSERT INTO kept VALUES (?, ?, ?, ?, ?) ON CONFLICT (digest) DO UPDATE"
        " SET record = excluded.record, pointer = excluded.pointer",
        addenda,
    )


def list_kept(db: sqlite3.Connection) -> list[KeptAddendum]:
    """What is kept, in the order in which it came."""
    rows = db.execute(
        "SELECT digest, producer, record, pointer, length(data) FROM kept ORDER BY rowid"
    )
    return [KeptAddendum(*row) for row in rows]


def read_kept(digest: str, db: sqlite3.Connection) -> bytes | None:
    """An addendum that is kept; None if it is not."""
    row = db.execute("SELECT data FROM kept WHERE digest = ?", (digest,)).fetchone()
    return None if row is None else bytes(row[0])


def erase_kept(digests: Sequence[str], db: sqlite3.Connection) -> int:
    """Erases addenda; says how many it were."""
    wipe(db)
    return int(
        db.executemany("DELETE FROM kept WHERE digest = ?", [(one,) for one in digests]).rowcount
    )


def wipe(db: sqlite3.Connection) -> None:
    """Has what is deleted from now on overwritten in the file."""
    db.execute("PRAGMA secure_delete=1")
