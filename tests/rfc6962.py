"""The oracle: RFC 6962 section 2.1 and SUBTREE_PROOF, transcribed literally, naive on purpose.

It shares nothing with the implementation: no constant, no algorithm, no import but hashlib. Every
function takes the list of entries D[n] itself, slices it, and recurses as the definition does.
"""

import hashlib
from collections.abc import Sequence


def HASH(data: bytes) -> bytes:  # noqa: N802 - the names of the definitions
    return hashlib.sha256(data).digest()


def split(n: int) -> int:
    """k: the largest power of two smaller than n (for n > 1)."""
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def MTH(d: Sequence[bytes]) -> bytes:  # noqa: N802
    """Section 2.1, the Merkle tree hash."""
    n = len(d)
    if n == 0:
        return HASH(b"")
    if n == 1:
        return HASH(b"\x00" + d[0])
    k = split(n)
    return HASH(b"\x01" + MTH(d[0:k]) + MTH(d[k:n]))


def PATH(m: int, d: Sequence[bytes]) -> list[bytes]:  # noqa: N802
    """Section 2.1.1, the audit path for leaf m."""
    n = len(d)
    if n == 1:
        return []
    k = split(n)
    if m < k:
        return [*PATH(m, d[0:k]), MTH(d[k:n])]
    return [*PATH(m - k, d[k:n]), MTH(d[0:k])]


def PROOF(m: int, d: Sequence[bytes]) -> list[bytes]:  # noqa: N802
    """Section 2.1.2, the consistency proof from m leaves, 0 < m <= n."""
    return SUBPROOF(m, d, True)


def SUBPROOF(m: int, d: Sequence[bytes], b: bool) -> list[bytes]:  # noqa: N802
    n = len(d)
    if m == n:
        return [] if b else [MTH(d)]
    k = split(n)
    if m <= k:
        return [*SUBPROOF(m, d[0:k], b), MTH(d[k:n])]
    return [*SUBPROOF(m - k, d[k:n], False), MTH(d[0:k])]


def is_subtree(start: int, end: int) -> bool:
    """merkle-tree-certs, "Definition of a Subtree": start is a multiple of BIT_CEIL(size)."""
    if not 0 <= start <= end:
        return False
    ceil = 1
    while ceil < end - start:
        ceil *= 2
    return start % ceil == 0


def SUBTREE_PROOF(start: int, end: int, d: Sequence[bytes]) -> list[bytes]:  # noqa: N802
    """merkle-tree-certs, "Generating a Subtree Consistency Proof"."""
    if start == end:
        return []
    return SUBTREE_SUBPROOF(start, end, d, True)


def SUBTREE_SUBPROOF(  # noqa: N802
    start: int, end: int, d: Sequence[bytes], b: bool
) -> list[bytes]:
    n = len(d)
    if start == 0 and end == n:
        return [] if b else [MTH(d)]
    k = split(n)
    if end <= k:
        return [*SUBTREE_SUBPROOF(start, end, d[0:k], b), MTH(d[k:n])]
    if k <= start:
        return [*SUBTREE_SUBPROOF(start - k, end - k, d[k:n], b), MTH(d[0:k])]
    return [*SUBTREE_SUBPROOF(0, end - k, d[k:n], False), MTH(d[0:k])]
