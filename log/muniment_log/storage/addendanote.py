"""What a log's database knows of the file of its addenda: that it was there, and what it had.

The two files are kept and restored apart. A log that went on with an older copy, or without any,
would take again what was erased, and tell nobody that it lost what it has promised to keep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from muniment_log.errors import RolledBackError

if TYPE_CHECKING:
    from muniment_log.storage.addenda import AddendaStore
    from muniment_log.storage.sqlite import SQLiteStore


async def check_addenda_there(store: SQLiteStore, addenda: AddendaStore) -> None:
    """Compares the file of the addenda with what the log's database knows of it.

    Raises:
        RolledBackError: it is missing, or older than what the log has acknowledged.
        StorageError: one of them cannot be read.
    """
    newest = await store.newest_addendum()
    if newest is None or await addenda.read(newest) is not None:
        return
    what = "an older copy, or another file" if addenda.is_open else "missing"
    raise RolledBackError(
        f"{addenda.path}: {what}: the log has acknowledged the addendum {newest.hex()}, which is "
        "not there. Put the newest copy there, without -wal and -shm files. If there is none, "
        "`muniment-log new-addenda` lets the log go on without what is lost, and `muniment-log "
        "check` then names it"
    )
