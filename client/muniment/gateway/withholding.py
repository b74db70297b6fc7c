"""What a gateway withholds from the log, with nonces that nobody can guess or make again."""

import secrets
from collections.abc import Iterable
from typing import Final

from muniment.records.addenda import Withheld, take_out
from muniment.records.commitments import NONCE_SIZE
from muniment.records.kinds import Decision

WITHHELD_AS_A_RULE: Final = ("/request/context", "/request/*/properties", "/response/context")
"""Patterns for what AuthZEN leaves open, which is where personal data is."""


def withhold(decision: Decision, patterns: Iterable[str] = WITHHELD_AS_A_RULE) -> Withheld:
    """Takes members out of a decision; withhold first, then sign, submit or prove.

    The nonces are in the addenda and nowhere else: whoever deletes an addendum has erased it.

    Args:
        decision: The decision; it may withhold members already.
        patterns: JSON pointers into the record, in which a token ``*`` is any member (or element)
            that may be withheld. Of two matches, one inside the other, the outer one is taken. A
            pattern without a match takes nothing.

    Raises:
        FormatError: If a pattern is no pointer, names what may not be withheld or an element of a
            list; if the decision is signed, or a value has no canonical JSON or is longer than
            16 MiB. Names the pattern or pointer.
    """
    return take_out(decision, patterns, lambda _pointer: secrets.token_hex(NONCE_SIZE))
