"""How long addenda are kept: by the governance labels of the records that name them. Pure."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

_CACHED: Final = 1024  # combinations of labels: a log has a handful

_UNITS: Final = (("d", 86_400_000), ("h", 3_600_000), ("s", 1000))


class Rule(NamedTuple):
    """How long addenda are kept, counted from when the log took them; in milliseconds.

    Attributes:
        label: of whose records: ``name=text``, or ``name`` with any text; None for all.
        retain: after that they are erased; None leaves them.
        legal_minimum: before that nobody erases them; 0 for no minimum.
    """

    label: str | None
    retain: int | None = None
    legal_minimum: int = 0

    def covers(self, labels: Sequence[str]) -> bool:
        """Whether records with these labels are meant."""
        wanted = self.label
        return wanted is None or any(wanted in (label, label.partition("=")[0]) for label in labels)

    def __str__(self) -> str:
        return "all records" if self.label is None else f"label {self.label}"


class RetentionTimes(NamedTuple):
    """How long addenda with some labels are kept, and by which rules.

    Attributes:
        minimum: the longest legal minimum, milliseconds.
        protector: the rule that has it; None without one.
        due: after that they are erased, milliseconds; None for never.
        eraser: the rule that says so: the one with the shortest time.
    """

    minimum: int
    protector: Rule | None
    due: int | None
    eraser: Rule | None


class Retention:
    """The rules of a log.

    Of several that cover an addendum, the shortest time to retain counts and the longest legal
    minimum; where they contradict each other, the minimum.

    Attributes:
        periods: all times after which something may have to be erased, ascending; milliseconds.
    """

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self.rules: Final = tuple(rules)
        times = {rule.retain for rule in rules if rule.retain is not None}
        if times:
            times |= {one.legal_minimum for one in rules if one.legal_minimum > min(times)}
        self.periods: Final = tuple(sorted(times))
        self.kept: Final = lru_cache(_CACHED)(self._kept)

    def _kept(self, labels: tuple[str, ...]) -> RetentionTimes:
        covering = [rule for rule in self.rules if rule.covers(labels)]
        protector = max(covering, key=lambda rule: rule.legal_minimum, default=None)
        minimum = 0 if protector is None else protector.legal_minimum
        erasing = [(rule.retain, rule) for rule in covering if rule.retain is not None]
        due, eraser = min(erasing, key=lambda one: one[0], default=(None, None))
        return RetentionTimes(
            minimum,
            protector if minimum else None,
            None if due is None else max(due, minimum),
            eraser,
        )


def say_duration(milliseconds: int) -> str:
    """A duration as configurations have it: ``180d``, ``12h``, ``30s``."""
    for unit, size in _UNITS:
        if not milliseconds % size:
            return f"{milliseconds // size}{unit}"
    raise ValueError("not of whole seconds")


def parse_duration(text: str) -> int:
    """Milliseconds of a duration whose form `say_duration` has."""
    return int(text[:-1]) * dict(_UNITS)[text[-1]]
