"""Whose word counts: a lineage is made of what producers say, and not each may speak for each run.

A gateway that decides on a run is the run's *issuer*. Of what the log holds on a run, only what its
issuers say is judged, or what the gateways say that the verifier has named. What others say is
kept, with their names, and judged as nothing: whoever may write to the log could otherwise allow,
deny, break or end the runs of everybody else.

Without named gateways, every producer's *decisions* count, so that a run may have several issuers:
nobody can tell then which one governs it, and the lineage says so (`contested_run`).
"""

from collections.abc import Collection, Iterable
from typing import Final

from muniment.tlog.note import VKey

ANYBODY: Final = None
"""The issuers of a run on which nobody has decided, when no gateways are named."""

Issuers = frozenset[str] | None
"""Names of producers whose word counts, or ANYBODY."""


class Gateways:
    """The gateways that a verifier has named, by key name; of None it names none."""

    __slots__ = ("_names",)

    def __init__(self, keys: Collection[VKey] | None) -> None:
        self._names = None if keys is None else frozenset(vkey.name for vkey in keys)

    @property
    def are_named(self) -> bool:
        """Whether the verifier has named gateways."""
        return self._names is not None

    def decides(self, producer: str) -> bool:
        """Whether the decisions of a producer count."""
        return self._names is None or producer in self._names

    def vouches(self, producer: str) -> bool:
        """Whether the word of a producer counts for every run and agent: only a named one's."""
        return self._names is not None and producer in self._names

    def issuers(self, producers: Iterable[str]) -> Issuers:
        """Whose word counts for a run on which these producers have decided."""
        return self._names if self._names is not None else frozenset(producers) or ANYBODY


def counts(producer: str, issuers: Issuers) -> bool:
    """Whether a producer's word counts for a run or agent with these issuers."""
    return issuers is None or producer in issuers  # ANYBODY
