"""The heads of index logs whose every leaf this witness has computed itself: a file for each log.

What the database says was cosigned need not have been compared: `recompute` may be set since then,
and a lost record is taken back without. A file that is lost or damaged costs the time to compare
again from the first leaf.
"""

from pathlib import Path
from typing import Final

from muniment.local.atomicfile import read_bounded, write_atomic
from muniment.tlog.encoding import (
    FormatError,
    MunimentError,
    format_base64,
    parse_decimal,
    parse_hash,
    parse_text,
    split_lines,
)
from muniment.tlog.heads import Head
from muniment.tlog.witnesswire import origin_hash

MOST: Final = 4
"""Heads that are remembered, the one that is cosigned and newer ones: they may become so."""

_MAX_SIZE: Final = 1024
_WHAT: Final = "compared heads"


class ComparedHeads:
    """`witness.db.compared-<hash>` where the database is `witness.db`, for each index log."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._known: dict[str, tuple[Head, ...]] = {}

    def path(self, origin: str) -> Path:
        """Where those of an index log are."""
        name = f"{self._database.name}.compared-{origin_hash(origin)[:16]}"
        return self._database.with_name(name)

    def of(self, origin: str) -> tuple[Head, ...]:
        """The heads of an index log that were compared from its first leaf on, oldest first."""
        known = self._known.get(origin)
        if known is None:
            try:
                known = _parse(read_bounded(self.path(origin), _WHAT, most=_MAX_SIZE))
            except MunimentError:
                known = ()
            self._known[origin] = known
        return known

    def add(self, origin: str, head: Head, cosigned: Head) -> None:
        """Remembers a head, and the cosigned one if it is known; raises InputError if it cannot."""
        others = [one for one in self.of(origin) if one != head]
        base = [one for one in others if one == cosigned]
        newer = [one for one in others if one != cosigned]
        known = (*base, *newer[-(MOST - 2) :], head)
        lines = [f"{each.size} {format_base64(each.root)}\n" for each in known]
        write_atomic(self.path(origin), "".join(lines).encode(), _WHAT)
        self._known[origin] = known


def _parse(data: bytes) -> tuple[Head, ...]:
    return tuple(map(_head, split_lines(parse_text(data, _WHAT, most=_MAX_SIZE))))


def _head(line: str) -> Head:
    size, space, root = line.partition(" ")
    if not space:
        raise FormatError(f"{_WHAT}: no root")
    return Head(parse_decimal(size, _WHAT), parse_hash(root, _WHAT))
