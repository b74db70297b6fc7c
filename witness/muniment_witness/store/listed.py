"""The logs that lists have brought (C2SP tlog-list): a file beside the database, itself a list.

Only ever added to. It is the operator's as much as the configuration is: a log that is taken out of
it by hand comes again with the next list that has it, unless the `[[list]]` table says otherwise.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from muniment.local.atomicfile import read_bounded, write_atomic
from muniment.tlog.loglist import MAX_LIST_SIZE, ListedLog, format_log_list, parse_log_list

MAX_LISTED: Final = 40_000
"""Most logs taken from lists: the larger capacity profile of the public witness network."""


class ListedLogs:
    """`witness.listed` where the database is `witness.db`."""

    def __init__(self, database: Path) -> None:
        self.path: Final = database.with_suffix(".listed")

    def read(self) -> tuple[ListedLog, ...]:
        """The logs, in the order in which they came.

        Raises InputError if the file cannot be read; FormatError if it is no list.
        """
        if not self.path.exists():
            return ()
        return parse_log_list(read_bounded(self.path, "listed logs", most=MAX_LIST_SIZE))

    def add(self, logs: Sequence[ListedLog]) -> tuple[ListedLog, ...]:
        """Adds logs of origins that are not there; gives all. Raises as `read`, and `write_atomic`.

        Those beyond MAX_LISTED are left out.
        """
        known = {log.origin: log for log in self.read()}
        for log in logs:
            if len(known) < MAX_LISTED:
                known.setdefault(log.origin, log)
        every = tuple(known.values())
        write_atomic(self.path, format_log_list(every), "listed logs")
        return every
