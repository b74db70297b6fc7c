"""How large a run is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """How large a run is.

    Attributes:
        quick: Each scenario ends within 45 seconds, set-up included.
        seed: Of the decisions.
        records: Size of the large log.
    """

    quick: bool
    seed: int
    records: int
