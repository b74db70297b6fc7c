"""ML-DSA-44 key expansion (FIPS 204, Algorithm 6), to check a stored expanded key against its seed.

Nothing is signed with what is computed here: the library signs, from the seed. It takes a few
milliseconds, and that time tells nothing to anybody but who reads the key file anyway.
"""

from collections.abc import Iterator, Sequence
from hashlib import shake_128, shake_256
from typing import Final

SEED_SIZE: Final = 32
EXPANDED_SIZE: Final = 2560

_Q: Final = 8_380_417
_N: Final = 256
_K: Final = 4
_L: Final = 4
_ETA: Final = 2
_D: Final = 13  # low bits of t that stay in the private key
_ROOT: Final = 1753  # a 512th root of unity modulo q

_Polynomial = list[int]


def expand(seed: bytes) -> bytes:
    """The 2,560 bytes of a seed's expanded private key (skEncode, Algorithm 24)."""
    if len(seed) != SEED_SIZE:
        raise ValueError(f"a seed of {len(seed)} bytes")
    stream = shake_256(seed + bytes([_K, _L])).digest(128)
    rho, secret, key = stream[:32], stream[32:96], stream[96:]
    short = [_sample_short(secret + r.to_bytes(2, "little")) for r in range(_L + _K)]
    s1, s2 = short[:_L], short[_L:]
    transformed = [_transform(poly) for poly in s1]
    low, high = [], b""
    for r in range(_K):
        total = [0] * _N
        for s in range(_L):
            matrix = _sample_uniform(rho + bytes([s, r]))
            for i, (a, b) in enumerate(zip(matrix, transformed[s], strict=True)):
                total[i] += a * b
        t = [(a + b) % _Q for a, b in zip(_transform_back(total), s2[r], strict=True)]
        # Power2Round (Algorithm 35): the rest is in (-2^12, 2^12].
        rests = [(value + (1 << (_D - 1)) - 1) % (1 << _D) - (1 << (_D - 1)) + 1 for value in t]
        high += _pack([(v - r0) >> _D for v, r0 in zip(t, rests, strict=True)], 10)
        low.append(_pack([(1 << (_D - 1)) - r0 for r0 in rests], _D))
    digest = shake_256(rho + high).digest(64)
    packed = [_pack([_ETA - value for value in poly], 3) for poly in (*s1, *s2)]
    return rho + key + digest + b"".join(packed) + b"".join(low)


def _sample_uniform(seed: bytes) -> _Polynomial:
    """RejNTTPoly (Algorithm 30): 256 coefficients below q."""
    # 894 bytes are needed when none is rejected; one in 1,024 is.
    size = 1008
    while True:
        data = shake_128(seed).digest(size)
        found = []
        for i in range(0, size, 3):
            value = data[i] | data[i + 1] << 8 | (data[i + 2] & 0x7F) << 16
            if value < _Q:
                found.append(value)
        if len(found) >= _N:
            return found[:_N]
        size *= 2


def _sample_short(seed: bytes) -> _Polynomial:
    """RejBoundedPoly (Algorithm 31): 256 coefficients from -2 to 2."""
    size = 272
    while True:
        halves = (half for byte in shake_256(seed).digest(size) for half in (byte & 15, byte >> 4))
        found = [_ETA - half % 5 for half in halves if half < 15]
        if len(found) >= _N:
            return found[:_N]
        size *= 2


def _roots() -> Sequence[int]:
    """Powers of the root of unity in the order that the transformation takes them."""
    return [pow(_ROOT, int(f"{i:08b}"[::-1], 2), _Q) for i in range(_N)]


_ROOTS: Final = _roots()


def _butterflies(*, back: bool) -> Iterator[tuple[int, int, int]]:
    """Number of the root, start and half width of each block, in order or in reverse."""
    widths = [_N >> (level + 1) for level in range(8)]
    number = _N if back else 0
    for half in reversed(widths) if back else widths:
        for start in range(0, _N, 2 * half):
            number += -1 if back else 1
            yield number, start, half


def _transform(poly: Sequence[int]) -> _Polynomial:
    """NTT (Algorithm 41)."""
    w = list(poly)
    for number, start, half in _butterflies(back=False):
        root = _ROOTS[number]
        for j in range(start, start + half):
            term = root * w[j + half] % _Q
            w[j + half] = w[j] - term
            w[j] += term
    return [value % _Q for value in w]


def _transform_back(poly: Sequence[int]) -> _Polynomial:
    """The inverse NTT (Algorithm 42)."""
    w = list(poly)
    for number, start, half in _butterflies(back=True):
        root = -_ROOTS[number]
        for j in range(start, start + half):
            term = w[j]
            w[j] = term + w[j + half]
            w[j + half] = root * (term - w[j + half]) % _Q
    scale = pow(_N, -1, _Q)
    return [value * scale % _Q for value in w]


def _pack(values: Sequence[int], bits: int) -> bytes:
    """SimpleBitPack (Algorithm 16): values of so many bits, the lowest first."""
    whole = 0
    for at, value in enumerate(values):
        whole |= value << (at * bits)
    return whole.to_bytes(len(values) * bits // 8, "little")
