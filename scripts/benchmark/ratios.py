"""The judge of the regression check: ratios within one run, never absolute times. Pure.

Each bound lies far from what is measured on an idle machine, so that a busy one does not fail it,
and a change that costs a third of the rate as a rule does not pass it by.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final


@dataclass(frozen=True)
class Bound:
    """What a ratio must keep to.

    Attributes:
        what: What is compared with what.
        least: The ratio may not be lower; None for no such bound.
        most: The ratio may not be higher; None for no such bound.
        usual: What it is on an idle machine.
        advice: Where to look when it does not hold.
    """

    what: str
    usual: float
    advice: str
    least: float | None = None
    most: float | None = None

    def holds(self, ratio: float) -> bool:
        """Whether a ratio keeps to the bound."""
        return (self.least is None or ratio >= self.least) and (
            self.most is None or ratio <= self.most
        )


BOUNDS: Final[Mapping[str, Bound]] = {
    "ingest_of_hash_limit": Bound(
        "the rate of durable ingest over the rate of only hashing the same records",
        usual=0.11,
        least=0.035,
        advice="profile the log while `scripts/bench ingest` runs: what does a record cost now "
        "that it did not before?",
    ),
    "audit_of_hash_limit": Bound(
        "the rate of a full audit over HTTP over the rate of only hashing the same records",
        usual=0.09,
        least=0.025,
        advice="profile `muniment audit` on a log that `scripts/bench growth` makes",
    ),
    "cost_last_over_first": Bound(
        "the cost of a record at the end of the growth of a log over that at its beginning",
        usual=1.0,
        most=1.6,
        advice="something on the write path depends on the size of the log: compare "
        "`scripts/bench growth` with fewer and more --records",
    ),
}
"""By the name of the ratio."""


def judge(rounds: Sequence[Mapping[str, float]]) -> list[str]:
    """Judges the ratios of some rounds by their medians.

    Args:
        rounds: The ratios of each round, by name; at least one round.

    Returns:
        A message for each ratio that does not keep to its bound.
    """
    messages: list[str] = []
    for name, bound in BOUNDS.items():
        ratio = median([one[name] for one in rounds])
        if bound.holds(ratio):
            continue
        limit = (
            f"at least {bound.least:g}" if bound.least is not None else f"at most {bound.most:g}"
        )
        messages.append(
            f"{name} is {ratio:.3g}: {bound.what} should be {limit} (usually {bound.usual:g}). "
            f"To do: {bound.advice}."
        )
    return messages
