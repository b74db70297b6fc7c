"""What a report is about: a half-open window of time, and subjects."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from muniment.records.kinds import Decision, Entity
from muniment.tlog.encoding import FormatError

MAX_SUBJECTS: Final = 100
"""Subjects of one report."""

SILENCE: Final = 3_600
"""Seconds without a decision from which on a gateway counts as silent, unless asked otherwise."""

_BARS: Final = 100  # most bars of a picture over time
_STEPS: Final = (60, 300, 900, 3_600, 6 * 3_600, 86_400, 7 * 86_400, 28 * 86_400)


class ReportScope(NamedTuple):
    """What a report is about.

    Attributes:
        start: The first moment of the window, Unix seconds.
        end: The first moment behind it.
        subjects: Whose decisions; () for everybody's.
        silence: Seconds without a decision that count as a silence.
    """

    start: int
    end: int
    subjects: tuple[Entity, ...] = ()
    silence: int = SILENCE

    def check(self) -> None:
        """Raises FormatError if nothing can be in it."""
        if self.start >= self.end:
            raise FormatError(
                f"the window [{self.start}, {self.end}) is empty: it ends before it began"
            )
        if self.silence < 1:
            raise FormatError("a silence lasts at least a second")
        if len(self.subjects) > MAX_SUBJECTS:
            raise FormatError(f"{len(self.subjects)} subjects: at most {MAX_SUBJECTS}")

    def has_time(self, time: int) -> bool:
        """Whether a record's time, Unix milliseconds, is in the window."""
        return self.start * 1000 <= time < self.end * 1000

    def has(self, decision: Decision) -> bool:
        """Whether a decision is about a subject that is asked for, whenever it was made."""
        return not self.subjects or decision.subject in self.subjects

    @property
    def step(self) -> int:
        """Seconds of one bar of a picture over time: at most _BARS bars fill the window."""
        length = self.end - self.start
        for step in _STEPS:
            if length <= step * _BARS:
                return step
        return -(-length // _BARS)

    @property
    def bars(self) -> int:
        """How many bars there are; the last one may be cut short."""
        return -(-(self.end - self.start) // self.step)


def scope_of(
    start: int, end: int, subjects: Sequence[Entity] = (), silence: int = SILENCE
) -> ReportScope:
    """Makes a scope with each subject once, in order; FormatError as `ReportScope.check`."""
    scope = ReportScope(start, end, tuple(sorted(set(subjects))), silence)
    scope.check()
    return scope
