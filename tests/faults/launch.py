"""Runs a service's own command line with a small write-ahead log, so that tests see checkpoints.

Its clock may be wrong, too: `time.time` is shifted, as on a machine whose clock was never set.

python -m faults.launch PAGES CLOCK_OFF muniment_log.cli serve --config ...
"""

import importlib
import sqlite3
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from muniment.local import sqlitefile as database

WAL_OF = {
    "muniment_log.cli": ("muniment_log.storage.sqlite", "muniment_log.storage.addendafile"),
    "muniment_witness.cli": ("muniment_witness.store.mirrordb",),
}
"""By service, the modules that say how long their write-ahead logs are."""


def main(pages: int, clock_off: int, module: str, arguments: list[str]) -> None:
    if clock_off:
        seconds, nanoseconds = time.time, time.time_ns
        time.time = lambda: seconds() + clock_off
        time.time_ns = lambda: nanoseconds() + clock_off * 1_000_000_000
    set_up = database.set_up

    def smaller(
        connection: sqlite3.Connection, path: Path, migrations: Sequence[str], application: int
    ) -> None:
        set_up(connection, path, migrations, application)
        connection.execute(f"PRAGMA wal_autocheckpoint={pages}")

    database.set_up = smaller
    for name in WAL_OF.get(module, ()):
        store: Any = importlib.import_module(name)
        assert store.WAL_PAGES, name  # what is not there any more would be set without effect
        store.WAL_PAGES = pages
    importlib.import_module(module).main(arguments)


def command(pages: int, module: str, *arguments: object, clock_off: int = 0) -> list[str]:
    """The command line, under this interpreter; `environment` makes it find this module.

    Args:
        pages: how long the write-ahead log grows until a commit checkpoints it.
        module: the service's, such as `muniment_log.cli`.
        arguments: the service's.
        clock_off: how many seconds its clock is ahead.
    """
    numbers = (str(pages), str(clock_off))
    return [sys.executable, "-m", "faults.launch", *numbers, module, *map(str, arguments)]


def environment() -> dict[str, str]:
    return {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
