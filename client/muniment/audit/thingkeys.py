"""64 bits for each thing that records speak of, by which an audit brings together what is said.

Python's own hash of bytes takes a sixth of what SHA-256 does, and nobody outside can make two names
collide under it: it is SipHash, with a secret of each program's start. Processes that were forked
have the secret of the program; those that were started anew have others, so there SHA-256 is used.
So it is where the secret is none (`PYTHONHASHSEED` sets it), or the hash another one.
"""

import os
import sys
from collections.abc import Callable
from functools import lru_cache
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
    return hash if _IS_SECRET and probed == probe() else _digest


def _digest(name: bytes) -> int:
    return int.from_bytes(sha256(name).digest()[:8], "big", signed=True)


@lru_cache(maxsize=64)
def kind_key(kind: str) -> int:
    """What tells things of one kind from those of others with the same id; 0 for decisions.

    A thing's key is that of its id, with the bits of this turned.
    """
    return _digest(kind.encode()) ^ _DECISION


_DECISION: Final = _digest(b"decision")


def thing_key(thing: str, key: NameKey) -> int:
    """The key of a thing that is spelled as its kind, a zero byte, and its id."""
    kind, _, id_ = thing.partition("\0")
    return key(id_.encode()) ^ kind_key(kind)


def key_bytes(key: int) -> bytes:
    """A key as an event has it, 8 bytes."""
    return (key & _MASK).to_bytes(8, "big")
