"""A log made of nothing but the formats and the RFC 6962 oracle, to put questions to witnesses."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import rfc6962
from muniment.tlog.checkpoint import Checkpoint, SignedCheckpoint, sign_checkpoint
from muniment.tlog.cosignature import signer_for, verifier_for
from muniment.tlog.keys.keyfile import Algorithm, generate
from muniment.tlog.note import SignatureLine, Signer, Verifier, VKey
from muniment.tlog.witnesswire import AddCheckpoint, SignSubtree
from muniment_witness.cli import setup
from muniment_witness.store.database import create
from muniment_witness.store.heads import HeadStore

ORIGIN = "log.example/decisions"
WITNESS = "witness.example/w1"


def log_signer(origin: str = ORIGIN, algorithm: str = "ed25519") -> Signer:
    return signer_for(origin, generate(algorithm), use="log")  # type: ignore[arg-type]


def witness_signer(algorithm: str = "ed25519", name: str = WITNESS) -> Signer:
    return signer_for(name, generate(algorithm), use="witness")  # type: ignore[arg-type]


@dataclass
class GrowingLog:
    """An honest log whose leaves are known; `fork` differs from some leaf on."""

    origin: str = ORIGIN
    signers: list[Signer] = field(default_factory=list)
    fork_at: int | None = None

    def __post_init__(self) -> None:
        if not self.signers:
            self.signers = [log_signer(self.origin)]

    def fork(self, at: int) -> "GrowingLog":
        """The same keys, another history from leaf `at` on."""
        return GrowingLog(self.origin, self.signers, at)

    @property
    def vkeys(self) -> list[str]:
        return [str(signer.vkey) for signer in self.signers]

    @property
    def verifiers(self) -> tuple[Verifier, ...]:
        return tuple(verifier_for(signer.vkey) for signer in self.signers)

    def leaves(self, size: int) -> list[bytes]:
        at = size if self.fork_at is None else self.fork_at
        return [b"leaf %d %d" % (index, index >= at) for index in range(size)]

    def root(self, size: int) -> bytes:
        return rfc6962.MTH(self.leaves(size))

    def proof(self, old: int, new: int) -> tuple[bytes, ...]:
        return tuple(rfc6962.PROOF(old, self.leaves(new))) if 0 < old < new else ()

    def checkpoint(
        self,
        size: int,
        *,
        root: bytes | None = None,
        extensions: Sequence[str] = (),
        signers: Sequence[Signer] | None = None,
        more: Sequence[SignatureLine] = (),
        now: int = 1,
    ) -> SignedCheckpoint:
        value = Checkpoint(
            self.origin, size, self.root(size) if root is None else root, tuple(extensions)
        )
        signed = sign_checkpoint(value, self.signers if signers is None else signers, now)
        return signed.with_signatures(more)

    def request(
        self,
        old: int,
        new: int,
        *,
        proof: Sequence[bytes] | None = None,
        checkpoint: SignedCheckpoint | None = None,
    ) -> AddCheckpoint:
        return AddCheckpoint(
            old,
            self.proof(old, new) if proof is None else tuple(proof),
            checkpoint or self.checkpoint(new),
        )

    def subtree_request(
        self, start: int, end: int, reference: SignedCheckpoint, *, hash_: bytes | None = None
    ) -> SignSubtree:
        size = reference.checkpoint.size
        leaves = self.leaves(max(size, end))
        fits = rfc6962.is_subtree(start, end) and end <= size
        proof = tuple(rfc6962.SUBTREE_PROOF(start, end, leaves)) if fits else ()
        return SignSubtree(
            start, end, rfc6962.MTH(leaves[start:end]) if hash_ is None else hash_, proof, reference
        )


def set_up(
    folder: Path,
    logs: Sequence[str],
    *algorithms: Algorithm,
    name: str = WITNESS,
    port: int = 0,
    mirror: bool = False,
) -> tuple[Path, tuple[VKey, ...]]:
    """What `init` makes: the configuration, and the keys; port 0 is of the system's choice."""
    vkeys = setup.init(
        folder,
        name=name,
        listen=f"127.0.0.1:{port}",
        logs=logs,
        algorithms=algorithms or ("ed25519",),
        passphrase_file=None,
        passphrase=None,
        mirror=mirror,
    )
    return folder / setup.CONFIG_NAME, vkeys


async def opened_store(path: Path, keys: Sequence[VKey]) -> HeadStore:
    """The database of a witness, made as by `init` where there is none."""
    if not await asyncio.to_thread(path.exists):
        await create(path, keys, "init")
    return await HeadStore.open(path, keys)
