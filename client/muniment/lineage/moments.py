"""When things happened: what producers say of time, held against what witnesses attest.

A record's `time` is its producer's word. The log took its leaf between two moments: when witnesses
cosigned, or the verifier itself saw, a head without it, and when they cosigned the first head with
it. A verifier knows of such heads what it has seen: a replica those that it followed, a bundle only
its own.

A time outside of that interval, by more than a tolerance, is *implausible*. What was logged after
the end of a validity cannot show by its own word that it was before: then the earliest moment that
the heads allow counts, without tolerance; and of an implausible time both ends have to be valid.
"""

from typing import Final, NamedTuple

from muniment.lineage.facts import Interval
from muniment.records.artifact import Validity

TOLERANCE: Final = 60
"""Seconds by which a producer's clock may differ from those of the witnesses, unless the verifier
says otherwise."""


class Moment(NamedTuple):
    """The Unix second that a producer states, and when the log took the record.

    Clocks may differ by `tolerance` seconds.
    """

    time: int
    interval: Interval
    tolerance: int

    @property
    def is_implausible(self) -> bool:
        """Whether the stated time cannot be right, by what is attested."""
        earliest, latest = self.interval
        return (earliest is not None and self.time < earliest - self.tolerance) or (
            latest is not None and self.time > latest + self.tolerance
        )

    def is_within(self, period: Validity, leeway: int) -> bool:
        """Whether it was in a period, as far as the stated time can be believed.

        The period begins `leeway` seconds earlier.
        """
        begin, end = period.not_before - leeway, period.not_after
        earliest, latest = self.interval
        if self.is_implausible:
            return latest is not None and latest < end and begin <= (earliest or latest)
        return begin <= self.time < end and (earliest is None or earliest < end)

    def is_before(self, since: int) -> bool:
        """Whether it was before a time, as far as the stated time can be believed."""
        earliest, latest = self.interval
        if self.is_implausible:
            return latest is not None and latest < since
        return self.time < since and (earliest is None or earliest < since)

    @property
    def words(self) -> str:
        """The interval in words."""
        earliest, latest = self.interval
        if latest is None:
            return f"after {earliest}"
        return f"in [{earliest if earliest is not None else 'the beginning'}, {latest}]"
