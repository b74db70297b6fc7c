"""Silences: how long each gateway has decided nothing within the window.

The window is cut into slots; a gateway is silent where no decision of it falls into any slot for
long enough. So the order in which decisions reached the log does not matter, and memory is bounded.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from muniment.records.kinds import Decision
from muniment.report.queries import find_commands
from muniment.report.scope import ReportScope

MAX_PRODUCERS: Final = 1_000
"""Gateways that are looked at, those that the log has first; of more it is only said that there
are more."""

MAX_SILENCES: Final = 100
"""Silences that are listed, the longest ones."""

_SLOTS: Final = 1 << 16  # at most: 64 KiB a gateway
_SHARE: Final = 20  # slots that a silence lasts, as a rule: it is found to a twentieth


class Silences:
    """Takes all decisions of the log, whoever they are about."""

    def __init__(self, scope: ReportScope, expected: Iterable[str] = ()) -> None:
        """`expected` are gateways that should decide in all of the window."""
        self._scope = scope
        length = scope.end - scope.start
        self.slot: Final = max(1, -(-scope.silence // _SHARE), -(-length // _SLOTS))
        self._count = -(-length // self.slot)
        self._seen: dict[str, bytearray] = {}
        self._before: set[str] = set(expected)  # who was there when the window began
        self.is_cut = False
        for name in sorted(self._before):
            self._slots(name)

    def add(self, decision: Decision) -> None:
        """Takes a decision."""
        name, scope = decision.producer, self._scope
        seconds = decision.time // 1000
        if seconds >= scope.end:
            return
        slots = self._slots(name)
        if slots is None:
            return
        if seconds < scope.start:
            self._before.add(name)
        else:
            slots[(seconds - scope.start) // self.slot] = 1

    def members(self, until: int) -> dict[str, Any]:
        """As JSON values; what comes after `until`, Unix seconds, is nobody's silence."""
        end = min(self._scope.end, until)
        found = [
            (start - stop, name, start, stop)  # the longest first
            for name in self._seen
            for start, stop in self._of(name, end)
        ]
        found.sort()
        return {
            "least": self._scope.silence,
            "slot": self.slot,
            "until": end,
            "count": len(found),
            "producers": len(self._seen),
            "more_producers": self.is_cut,
            "rows": [
                {
                    "producer": name,
                    "from": start,
                    "to": stop,
                    "seconds": stop - start,
                    "queries": find_commands(
                        self._scope._replace(start=start, end=stop),
                        0,
                        {"--producer": name},
                        subjects=(),
                    ),
                }
                for _, name, start, stop in found[:MAX_SILENCES]
            ],
        }

    def _slots(self, name: str) -> bytearray | None:
        slots = self._seen.get(name)
        if slots is None:
            if len(self._seen) >= MAX_PRODUCERS:
                self.is_cut = True
                return None
            slots = self._seen[name] = bytearray(self._count)
        return slots

    def _of(self, name: str, end: int) -> Iterator[tuple[int, int]]:
        """The silences of a gateway, [start, stop) in Unix seconds."""
        scope, slots = self._scope, self._seen[name]
        first = 0 if name in self._before else slots.find(1)
        if first < 0:
            return
        for match in re.compile(rb"\x00+").finditer(slots, first):
            start = scope.start + match.start() * self.slot
            stop = min(end, scope.start + match.end() * self.slot)
            if stop - start >= scope.silence:
                yield start, stop
