"""What a log's database knows of the file of its addenda: that it was there, and what it had.

The two files are kept and restored apart. A log that went on without any would take
again what was erased; one that goes on with an older copy has lost what it has promised to keep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from muniment_log.errors import RolledBackError

if TYPE_CHECKING:
    from muniment_log.storage.addenda import AddendaStore
    from muniment_log.storage.sqlite import SQLiteStore

WHAT_TO_DO: Final = (
    "Put the newest copy of the addenda there, without -wal and -shm files, while the log is "
    "stopped. If there is none, `muniment-log new-addenda` accepts what is lost, and `muniment-log "
    "check` names it"
)


async def find_lost(store: SQLiteStore, addenda: AddendaStore) -> bytes | None:
    """Compares the file of the addenda with what the log's database knows of it.

    Returns the digest of an addendum that was acknowledged and is not in the file: that is an older
    copy, or another file, or somebody has deleted from it. None if nothing is known to be lost.

    Raises:
        RolledBackError: there is no file.
        StorageError: one of them cannot be read.
    """
    newest = await store.newest_addendum()
    if newest is None or await addenda.read(newest) is not None:
        return None
    if addenda.is_open:
        return newest
    raise RolledBackError(
        f"{addenda.path}: missing: the log has acknowledged the addendum {newest.hex()}. "
        + WHAT_TO_DO
    )
