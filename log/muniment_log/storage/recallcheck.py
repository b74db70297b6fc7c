"""Checks what recognises records that come again, see `recalled`."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Final

from muniment_log.core.recall import SCOPE_SIZE
from muniment_log.storage.newest import places
from muniment_log.storage.recalled import PREFIX, recalls_of

if TYPE_CHECKING:
    from muniment_service.soundness import Findings

TABLE: Final = "recalled"

_IS_THERE: Final = f"SELECT 1 FROM sqlite_schema WHERE name = '{TABLE}'"  # noqa: S608  # a constant
_UNFOUND: Final = f"""
SELECT count(*) FROM json_each(?2) WHERE ?3 + key <= ?4 AND NOT EXISTS
    (SELECT 1 FROM recalled_by_name WHERE prefix = {PREFIX} AND id = ?3 + key)
"""  # noqa: S608  # constants


def check_recalled(db: sqlite3.Connection, findings: Findings) -> None:
    """Looks for rows that are damaged, and for names that nobody would find.

    A record with such a name could be logged twice. A file of an older version has no such rows.
    """
    if db.execute(_IS_THERE).fetchone() is None:
        return
    match db.execute("SELECT sorted FROM recalled_state").fetchall():
        case [(int(mark),)]:
            pass
        case _:
            findings.add(TABLE, "it is not known which names are sorted")
            return
    following = 0
    rows = db.execute(f"SELECT first, stream, names, data FROM {TABLE} ORDER BY first")  # noqa: S608  # a constant
    for first, stream, names, data in rows:
        try:
            recalls = recalls_of(names, data)
        except sqlite3.DatabaseError:
            recalls = []
        is_whole = first >= following and isinstance(stream, bytes) and len(stream) == SCOPE_SIZE
        if not recalls or not is_whole:
            findings.add(TABLE, f"row {first}: not what recognises records")
            continue
        following = first + len(recalls)
        keys = [stream + one.name for one in recalls]
        (unfound,) = db.execute(_UNFOUND, (*places(keys), first, mark)).fetchone()
        if unfound:
            findings.add(TABLE, f"row {first}: {unfound} names that would not be found")
