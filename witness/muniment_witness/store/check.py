"""Checks a witness's database: at each start, and by `muniment-witness check`.

*Quick* reads what a start reads and decides from: the keys, the latest heads, the newest step of
each history, and what was observed. A witness refuses to start on any damage there: a head that is
lost, or smaller than what was signed, would make it sign a second history in good faith. *Full*
also reads SQLite's own structure and every step of the history, with its proof and its signatures.

With heads.py, database.py and observations.py, the only modules with SQL.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from sqlite3 import Connection
from typing import Final

from muniment.tlog.cosignature import verifier_for
from muniment.tlog.encoding import FormatError, VerificationError
from muniment.tlog.heads import Head
from muniment.tlog.merkle import EMPTY_ROOT
from muniment.tlog.note import Verifier, VKey, parse_vkey
from muniment.tlog.proofs import verify_consistency
from muniment.tlog.witnesswire import AddCheckpoint
from muniment_service.soundness import Findings, check_schema, check_structure, inspect_file
from muniment_witness.judge.decide import KnownLog
from muniment_witness.store.rows import (
    DamagedRowError,
    HistoryRow,
    accepted_step,
    check_evidence,
    check_latest,
    check_signatures,
    check_suspicion,
    signed_note,
)

HISTORY_ROWS: Final = "SELECT origin, size, root, digest, old_size, proof, note FROM history"
"""The columns of a `HistoryRow`."""


class DatabaseReport(Findings):
    """What a check found: latest heads, and steps of histories that were read; 0 if quick."""

    heads: int = 0
    steps: int = 0


def check(
    path: Path,
    migrations: Sequence[str],
    keys: Sequence[VKey],
    logs: Mapping[str, KnownLog],
    *,
    full: bool,
    cosigns: bool = True,
) -> DatabaseReport:
    """Checks the database of a witness; one that runs on it is not disturbed.

    The signatures of the keys of `logs` are verified. `migrations` make the schema. Raises
    DatabaseError if there is no such database, or it cannot be opened.
    """
    report = DatabaseReport()

    def work(db: Connection) -> None:
        if full:
            check_structure(db, report)
        check_schema(db, migrations, report)
        check_start(db, keys, report, cosigns=cosigns)
        (report.heads,) = db.execute("SELECT count(*) FROM head").fetchone()
        if full:
            _signatures(db, logs, report)
            _steps(db, report)

    inspect_file(path, report, work)
    return report


def check_start(
    db: Connection, keys: Sequence[VKey], findings: Findings, *, cosigns: bool = True
) -> None:
    """Checks everything that a start reads; `keys` are the witness's own, as configured.

    The heads of one that does not cosign have no cosignatures to check.
    """
    own = _identity(db, keys, findings) if cosigns else None
    heads = _heads(db, own, findings)
    _newest(db, heads, findings)
    _observations(db, findings)


def _identity(db: Connection, keys: Sequence[VKey], findings: Findings) -> list[Verifier]:
    """Reads every key that the witness has or had."""
    own = {str(key): verifier_for(key) for key in keys}
    for (text,) in db.execute("SELECT vkey FROM identity"):
        with _named(findings, "identity", str(text)[:40]):
            try:
                own[text] = verifier_for(parse_vkey(text))
            except (FormatError, TypeError) as error:
                raise DamagedRowError(str(error)) from error
    return list(own.values())


def _heads(db: Connection, own: Sequence[Verifier] | None, findings: Findings) -> dict[str, Head]:
    heads: dict[str, Head] = {}
    rows = db.execute("SELECT origin, size, root, note, time FROM head")
    for origin, size, root, note, time in rows:
        heads[origin] = Head(size, root)
        with _named(findings, "head", origin):
            check_latest(origin, heads[origin], note, time=time, own=own)
    return heads


def _newest(db: Connection, heads: Mapping[str, Head], findings: Findings) -> None:
    """Checks that the history of each log ends at its head, and that neither is alone."""
    for origin in heads.keys() | set(_origins(db)):
        with _named(findings, "head", origin):
            newest = db.execute(
                f"{HISTORY_ROWS} WHERE origin = ? ORDER BY size DESC LIMIT 1", (origin,)
            ).fetchone()
            if origin not in heads:
                raise DamagedRowError("there is a history, and no head")
            if newest is None:
                raise DamagedRowError("there is a head, and no history")
            row = HistoryRow(*newest)
            if row.head != heads[origin]:
                raise DamagedRowError(f"the history ends at another head, of size {row.size}")
            accepted_step(row)


def _origins(db: Connection) -> Iterator[str]:
    # Steps over the index: a history has thousands of rows for each of a few logs.
    origin = ""
    while True:
        (origin,) = db.execute(
            "SELECT min(origin) FROM history WHERE origin > ?", (origin,)
        ).fetchone()
        if origin is None:
            return
        yield origin


def _observations(db: Connection, findings: Findings) -> None:
    """Checks evidence, suspicions, and heads that others have shown."""
    tables: tuple[tuple[str, str, Callable[..., object]], ...] = (
        ("evidence", "origin, kind, hash, contradiction, file", check_evidence),
        ("suspicion", "origin, digest, note, request", check_suspicion),
        ("watched", "origin, note", signed_note),
        ("shown", "origin, note", signed_note),
    )
    for table, columns, judge in tables:
        for row in db.execute(f"SELECT {columns} FROM {table}"):  # noqa: S608  # the names above
            with _named(findings, table, row[0]):
                judge(*row)


def _signatures(db: Connection, logs: Mapping[str, KnownLog], findings: Findings) -> None:
    """Verifies the log's own lines on every stored note by the keys that are configured."""
    for table in ("head", "history", "suspicion", "watched", "shown"):
        for origin, note in db.execute(f"SELECT origin, note FROM {table}"):  # noqa: S608  # as above
            with _named(findings, table, origin):
                if origin in logs:
                    check_signatures(signed_note(origin, note).note, logs[origin].verifiers)


def _steps(db: Connection, report: DatabaseReport) -> None:
    """Checks every step of every history by itself, and that it leads on from the last."""
    origin, last, here = "", None, Head(0, EMPTY_ROOT)
    # As they were accepted: the step that led to a tree, and then those that repeat the tree.
    for columns in db.execute(f"{HISTORY_ROWS} ORDER BY origin, size, rowid"):
        report.steps += 1
        row = HistoryRow(*columns)
        if row.origin != origin:
            # The steps before the oldest one that is kept are forgotten.
            last = None if row.old_size else Head(0, EMPTY_ROOT)
            origin, here = row.origin, row.head
        elif row.size != here.size:
            last, here = here, row.head
        with _named(report, "history", f"{origin}, size {row.size}"):
            step = accepted_step(row)
            if row.head != here:
                raise DamagedRowError("another root than a step of the same size")
            if row.old_size == row.size:
                continue  # cosigned again, with other extension lines
            if last is not None:
                _leads_on(last, row.head, step)
            elif not row.proof:
                raise DamagedRowError("a step without a proof")


def _leads_on(last: Head, head: Head, step: AddCheckpoint) -> None:
    if step.old_size != last.size:
        raise DamagedRowError(
            f"it leads on from {step.old_size}, the step before it to {last.size}"
        )
    try:
        verify_consistency(*last, *head, step.proof)
    except VerificationError as error:
        raise DamagedRowError(str(error)) from error


@contextmanager
def _named(findings: Findings, table: str, row: object) -> Iterator[None]:
    """Turns the damage of one row into a finding that names the table and the row."""
    try:
        yield
    except DamagedRowError as error:
        findings.add(table, f"{row}: {error}")
