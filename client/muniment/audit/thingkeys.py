"""64 bits for each thing that records speak of, by which an audit brings together what is said.

Python's own hash of bytes takes a sixth of what SHA-256 does, and nobody outside can make two names
collide under it: it is SipHash, with a secret of each program's start. Processes that were forked
have the secret of the program; those that were started anew have others, so there SHA-256 is used,
salted by what the first process makes of its secret. So it is where the hash is another one, or the
secret none: `PYTHONHASHSEED` sets it, and who knows that can make names collide, in 2^32 steps.

By chance two of n things have one key in n^2 of 2^65 audits: of a million things in one of 37
million. A warning may be false or missing then, but no finding, and no word of ids that come again:
these are read once more, see ``reuse``. So it is with what tells the leaves of one id apart.
"""

import os
import sys
from collections.abc import Callable
from hashlib import sha256
from typing import Final, TypeAlias

NameKey: TypeAlias = Callable[[bytes], int]
"""What makes a signed number of 64 bits of a thing's id."""

_PROBE: Final = b"muniment audit"
_MASK: Final = (1 << 64) - 1
_IS_SECRET: Final = bool(
    sys.hash_info.algorithm.startswith("siphash")
    and sys.hash_info.width == 64
    and not sys.hash_info.cutoff
    and sys.flags.hash_randomization
    and os.environ.get("PYTHONHASHSEED", "random") in ("", "random")
)


def probe() -> int:
    """By which another process tells whether it has this one's secret."""
    return hash(_PROBE)


def name_key(probed: int) -> NameKey:
    """The function for an audit that was begun where `probe` gave this, the same in all processes.

    All of them are forks of that process, and have its secret, or none is one.
    """
    if _IS_SECRET and probed == probe():
        return hash
    salted = sha256(key_bytes(probed))

    def digest(name: bytes) -> int:
        hash_ = salted.copy()
        hash_.update(name)
        return int.from_bytes(hash_.digest()[:8], "big", signed=True)

    return digest


def _bits(text: bytes) -> int:
    return int.from_bytes(sha256(text).digest()[:8], "big", signed=True)


RUN: Final = _bits(b"run")
"""The bits that are turned of the key of a run's id; none are of a decision's."""

_OTHER: Final = _bits(b"other")


def thing_key(thing: str, key: NameKey) -> int:
    """The key of a thing that is spelled as its kind, a zero byte, and its id."""
    kind, _, id_ = thing.partition("\0")
    if kind == "decision":
        return key(id_.encode())
    # Records may name kinds of their own, which must not be found to collide either.
    return key(id_.encode()) ^ RUN if kind == "run" else key(thing.encode()) ^ _OTHER


def key_bytes(key: int) -> bytes:
    """A key as an event has it, 8 bytes."""
    return (key & _MASK).to_bytes(8, "big")
