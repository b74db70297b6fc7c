"""Policy chains with fixed keys: who signs, which witnesses, which windows."""

from collections.abc import Sequence

from muniment.tlog.note import Ed25519Signer
from muniment.tlog.policyupdate import next_version, sign_version
from muniment.tlog.policyversion import KeyRevocation, Root, SignedVersion, format_chain
from signing import ed25519, log_signer, witness

YEAR = 365 * 86_400
START = 1_767_225_600  # 2026-01-01


def root_signer(name: str = "root.example/a") -> Ed25519Signer:
    return Ed25519Signer(name, ed25519(name))


def root(*names: str, threshold: int = 1) -> Root:
    return Root(threshold, tuple(root_signer(n).vkey for n in names or ("root.example/a",)))


def body(*witnesses: str, threshold: int | None = None, log: str | None = None) -> str:
    """A policy of one log and witnesses by their key names, all of which must have cosigned."""
    signer = log_signer() if log is None else log_signer(log)
    names = [name.replace("/", "-") for name in witnesses]
    lines = [f"log {signer.vkey}"]
    lines += [f"witness {n} {witness(w).vkey}" for n, w in zip(names, witnesses, strict=True)]
    lines += [f"group all-of-them {threshold or len(names)} {' '.join(names)}"]
    return "\n".join((*lines, "quorum all-of-them", ""))


def version(
    chain: Sequence[SignedVersion],
    text: str,
    window: tuple[int, int],
    *,
    signers: Sequence[str] = ("root.example/a",),
    new_root: Root | None = None,
    revoked: Sequence[KeyRevocation] = (),
) -> tuple[SignedVersion, ...]:
    """The chain with one version more."""
    made = next_version(chain, text, window, new_root or (root() if not chain else None), revoked)
    return (*chain, sign_version(made, [root_signer(name) for name in signers]))


def two_years(**options: object) -> tuple[SignedVersion, ...]:
    """Year 1 believes w1 and w2, year 2 w3 and w4; the windows meet, and do not overlap."""
    first = version((), body("w1", "w2"), (START, START + YEAR))
    return version(first, body("w3", "w4"), (START + YEAR, START + 2 * YEAR), **options)  # type: ignore[arg-type]


def file(chain: Sequence[SignedVersion]) -> bytes:
    return format_chain(chain)
