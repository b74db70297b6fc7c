"""Fixed keys, and mutations of valid examples, for the tests of the signed formats."""

from functools import cache
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from hypothesis import strategies as st

from muniment.tlog.checkpoint import Checkpoint, SignedCheckpoint, sign_checkpoint
from muniment.tlog.cosignature import Ed25519Cosigner, MLDSA44Cosigner
from muniment.tlog.note import Ed25519Signer, Signer

NOW = 1_790_000_000
ORIGIN = "log.example/one"


@cache
def ed25519(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(sha256(name.encode()).digest())


@cache
def mldsa44(name: str) -> MLDSA44PrivateKey:
    return MLDSA44PrivateKey.from_seed_bytes(sha256(name.encode()).digest())


@cache
def log_signer(name: str = ORIGIN) -> Ed25519Signer:
    return Ed25519Signer(name, ed25519(name))


@cache
def log_mldsa44(name: str = ORIGIN) -> MLDSA44Cosigner:
    return MLDSA44Cosigner(name, mldsa44(name))


@cache
def witness(name: str) -> Ed25519Cosigner:
    return Ed25519Cosigner(name, ed25519(name))


@cache
def witness_mldsa44(name: str) -> MLDSA44Cosigner:
    return MLDSA44Cosigner(name, mldsa44(name))


def signed(
    *signers: Signer, size: int = 7, origin: str = ORIGIN, now: int = NOW
) -> SignedCheckpoint:
    return sign_checkpoint(
        Checkpoint(origin, size, sha256(b"%d" % size).digest()), signers or (log_signer(),), now
    )


@st.composite
def mutations(draw: st.DrawFn, examples: list[bytes]) -> bytes:
    """A valid example after one to three small edits."""
    data = draw(st.sampled_from(examples))
    scraps = st.sampled_from(
        [
            b"\n", b"\n\n", b" ", b"+", b"=", b"0", b"-", b"\r", b"\t", b"\x00", b"\xff",
            b"\xe2\x80\x94 ",
        ]
    )  # fmt: skip
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        end = draw(st.integers(at, min(len(data), at + 12)))
        patch = draw(scraps | st.binary(max_size=4) | st.just(data[at:end] * 2) | st.just(b""))
        data = data[:at] + patch + data[end:]
    return data
