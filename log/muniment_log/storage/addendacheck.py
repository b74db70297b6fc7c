"""Checks the file of the addenda: against itself, and against the records that rely on it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from muniment.local.sqlitefile import AbsentDatabaseError, open_reader
from muniment.records.manifest import MANIFEST
from muniment.tlog.encoding import FormatError, unframe
from muniment_log.core.naming import KEPT, SUBJECT_SIZE, kept_by
from muniment_log.storage.addendarows import check_version, migrations
from muniment_log.storage.digests import Digests, is_searched
from muniment_log.storage.packs import SLOTS_BEHIND, SUBJECT, bounds, is_whole, live, stand_in
from muniment_service.soundness import (
    FILE,
    Findings,
    check_schema,
    check_structure,
    inspect_file,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TABLE: Final = "addendum"
PACK: Final = "pack"

_NUMBER_OF_RUNS: Final = "CASE WHEN json_valid(runs) THEN json_array_length(runs) END"

_AT_ONCE: Final = 1000


def check_addenda(path: Path, origin: str, log: Path, *, full: bool) -> Findings:
    """Checks the addenda of the log in a database; neither has to stand still.

    A full check rereads every addendum, and looks for those of which a record says that the log
    keeps them. A log that never had any has no file, and that is sound. Raises DatabaseError if a
    file cannot be opened.
    """
    findings = Findings()
    # First the log's: what a record of it names was stored before.
    wanted = [*_kept_by(log)] if full else []

    def work(db: sqlite3.Connection) -> None:
        try:
            check_version(db)
        except sqlite3.DatabaseError as error:
            findings.add(FILE, str(error))
            return  # what is in it need not be found
        check_schema(db, migrations(), findings)
        (owner,) = db.execute("SELECT origin FROM log").fetchone()
        if owner != origin:
            findings.add("log", f"these are the addenda of {owner}, not of {origin}")
        if full:
            check_structure(db, findings)
            for digest, data in db.execute(
                "SELECT digest, data FROM addendum WHERE erased IS NULL"
            ):
                if data is None or sha256(data).digest() != digest:
                    findings.add(TABLE, f"{digest.hex()}: other bytes than those of its digest")
            stand_in(db)
            _check_packs(db, findings)
            _check_subjects(db, findings)
            _check_digests(db, findings)
        for leaf, digest in _missing(db, wanted):
            findings.add(TABLE, f"{digest.hex()}: missing; leaf {leaf} says that the log has it")

    try:
        inspect_file(path, findings, work)
    except AbsentDatabaseError:
        if path.exists():
            raise
        for leaf, digest in wanted:
            findings.add(
                TABLE, f"{digest.hex()}: missing, with all of {path.name}; leaf {leaf} names it"
            )
    return findings


def _missing(
    db: sqlite3.Connection, wanted: list[tuple[int, bytes]]
) -> Iterator[tuple[int, bytes]]:
    """Those of the digests, each with a leaf, that have no row."""
    if not is_searched(db):
        for leaf, digest in wanted:
            if db.execute("SELECT 1 FROM addendum WHERE digest = ?", (digest,)).fetchone() is None:
                yield leaf, digest
        return
    stand_in(db)
    digests = Digests(db)
    for start in range(0, len(wanted), _AT_ONCE):
        some = wanted[start : start + _AT_ONCE]
        found = digests.find(db, [digest for _, digest in some])
        yield from ((leaf, digest) for leaf, digest in some if digest not in found)


def _check_packs(db: sqlite3.Connection, findings: Findings) -> None:
    """Looks for slots with other bytes than they should have, or whose subject is not known."""
    following = 0
    for first, number, digests, ends, runs, data in db.execute(
        f"SELECT first, number, digests, ends, {_NUMBER_OF_RUNS}, data FROM pack ORDER BY first"  # noqa: S608  # constants
    ):
        if first < following or runs != number or not is_whole(number, digests, ends, data):
            findings.add(PACK, f"row {first}: not what its number of addenda has")
            continue
        following = first + number
        there = dict(live(digests))
        for at in range(number):
            begin, end = bounds(ends, at)
            if (digest := there.get(at)) is None:
                if any(data[begin:end]):
                    findings.add(PACK, f"{first + at}: has bytes, and was erased or refused")
            elif sha256(data[begin:end]).digest() != digest:
                findings.add(PACK, f"{digest.hex()}: other bytes than those of its digest")
    for (digest,) in db.execute(
        f"SELECT digest FROM ({SLOTS_BEHIND}) AS slot"  # noqa: S608  # constants
        f" WHERE coalesce({SUBJECT}, x'') IN (x'', zeroblob({SUBJECT_SIZE}))",
        (-1, -1),
    ):
        findings.add("subjects", f"{digest.hex()}: not found by its subject")


def _check_digests(db: sqlite3.Connection, findings: Findings) -> None:
    """Looks for addenda that would not be found by their digest, or that are there twice."""
    if not is_searched(db):
        return
    every = f"(SELECT id, digest FROM addendum UNION ALL SELECT id, digest FROM ({SLOTS_BEHIND}))"  # noqa: S608  # constants
    for (digest,) in db.execute(
        f"SELECT digest FROM {every} AS one WHERE id <= (SELECT sorted FROM log) AND NOT EXISTS"  # noqa: S608  # constants
        " (SELECT 1 FROM by_digest WHERE prefix = substr(digest, 1, 8) AND id = one.id)",
        (-1, -1),
    ):
        findings.add("by_digest", f"{digest.hex()}: not found by its digest")
    for (digest,) in db.execute(
        f"SELECT digest FROM {every} GROUP BY digest HAVING count(*) > 1",  # noqa: S608  # constants
        (-1, -1),
    ):
        findings.add(TABLE, f"{digest.hex()}: there twice")


def _check_subjects(db: sqlite3.Connection, findings: Findings) -> None:
    """Looks for addenda that an erasure of their subject would not find."""
    if db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'subjects'").fetchone() is None:
        return  # of an older version, which has an index instead
    groups = db.execute("SELECT first, keys FROM subjects ORDER BY first")
    first, keys, following = 0, b"", groups.fetchone()
    rows = db.execute(
        "SELECT id, digest, subject FROM addendum WHERE subject IS NOT NULL ORDER BY id"
    )
    for number, digest, subject in rows:
        while following is not None and following[0] <= number:
            (first, keys), following = following, groups.fetchone()
        at = (number - first) * SUBJECT_SIZE
        if keys[at : at + SUBJECT_SIZE] != subject:
            findings.add("subjects", f"{digest.hex()}: not found by its subject")


def _kept_by(log: Path) -> Iterator[tuple[int, bytes]]:
    """Leaf index and digest of each addendum of which a record says that the log keeps it."""
    with closing(open_reader(log)) as db:
        db.execute("BEGIN")
        index = 0
        for (data,) in db.execute(
            "SELECT data FROM (SELECT data FROM bundle ORDER BY idx)"
            " UNION ALL SELECT data FROM (SELECT data FROM tail ORDER BY first)"
        ):
            leaves = _leaves(data)
            if KEPT in data:
                for place, leaf in enumerate(leaves):
                    if not leaf.startswith(MANIFEST):
                        yield from ((index + place, digest) for digest in kept_by(leaf))
            index += len(leaves)


def _leaves(data: bytes) -> list[bytes]:
    try:
        return unframe(data)
    except FormatError:
        return []  # the check of the log itself says so
