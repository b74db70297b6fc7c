"""The newest checkpoints that rated witnesses and mirrors have cosigned, beside the log's database.

Not in the database: they are written every second, and what they hold can be asked for again.
Backups need not have them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from muniment.local.atomicfile import read_bounded, write_atomic
from muniment.tlog.note import MAX_NOTE_SIZE

if TYPE_CHECKING:
    from pathlib import Path


class CosignedFile:
    """`log.cosigned` where the database is `log.db`; see `publish.keeping.CosignedKeeper`.

    With another suffix the same for what others have cosigned.
    """

    def __init__(self, database: Path, suffix: str = ".cosigned") -> None:
        self.path = database.with_suffix(suffix)

    async def load(self) -> bytes | None:
        """What was kept; None when there is none. Raises InputError if it cannot be read."""
        if not await asyncio.to_thread(self.path.exists):
            return None
        return await asyncio.to_thread(
            read_bounded, self.path, "cosigned checkpoint", most=MAX_NOTE_SIZE
        )

    async def keep(self, note: bytes) -> None:
        """Replaces what was kept before; InputError if it cannot be written."""
        await asyncio.to_thread(write_atomic, self.path, note, "cosigned checkpoint")
