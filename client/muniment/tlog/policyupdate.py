"""Which policy chain may take the place of another one, and how the next version is made.

Versions only go up: an update has every version that is installed, with the same text, and perhaps
more. What the root keys have signed twice is told from what they have not signed.
"""

from collections.abc import Iterable, Sequence
from itertools import zip_longest

from muniment.tlog.encoding import VerificationError
from muniment.tlog.note import Signer, VKey, sign_note
from muniment.tlog.policyversion import (
    KeyRevocation,
    PolicyVersion,
    Root,
    SignedVersion,
    lacking,
    say_lacking,
)

Chain = Sequence[SignedVersion]


class PolicyRollback(VerificationError):  # noqa: N818 - says what happened
    """The chain that was offered ends before the one that is installed."""


class PolicyFork(VerificationError):  # noqa: N818 - says what happened
    """The root keys have signed two versions of one number: the two chains are the evidence.

    Attributes:
        number: The first version that differs.
    """

    def __init__(self, number: int) -> None:
        super().__init__(
            f"the root keys have signed two versions {number} of the policy, the one installed and "
            "the one offered: keep both files, and ask who holds the root keys"
        )
        self.number = number


def check_first(offered: Chain, roots: Iterable[VKey], threshold: int = 1) -> None:
    """Checks that a chain begins with a version that given root keys have signed.

    As many of them as its threshold says, which must be `threshold` at the least: whoever has one
    of the keys can write a chain that asks for one. No signature of another key counts. Raises
    VerificationError if not.
    """
    first = offered[0].version
    if first.root.threshold < threshold:
        raise VerificationError(
            f"the policy's first version asks for {first.root.threshold} root signatures, and "
            f"{threshold} are wanted"
        )
    known = tuple(key for key in first.root.keys if key in set(roots))
    needed = Root(first.root.threshold, known)
    if len(known) < needed.threshold:
        raise VerificationError(
            f"the policy's first version needs {needed.threshold} root keys, and of those that "
            f"were given it names {len(known)}"
        )
    if missing := lacking(offered[0].note, [needed]):
        raise VerificationError(f"the policy's first version {say_lacking(missing)}")


def check_update(installed: Chain, offered: Chain) -> int:
    """Checks that a chain continues the installed one; returns how many versions it adds.

    Both are verified. Raises PolicyRollback, PolicyFork, or VerificationError for a chain that the
    installed root keys have not signed.
    """
    for number, (old, new) in enumerate(zip_longest(installed, offered), 1):
        if new is None:
            raise PolicyRollback(
                f"the policy that was offered ends with version {number - 1}, and version "
                f"{installed[-1].version.number} is installed: it is older, or was rolled back"
            )
        if old is None or old.version.text == new.version.text:
            continue
        # Up to here they are the same, so the root of the version before has signed both; of the
        # first version only its own root can have.
        if number > 1 or not lacking(new.note, [old.version.root]):
            raise PolicyFork(number)
        raise VerificationError("this is another policy: the installed root has not signed it")
    return len(offered) - len(installed)


def next_version(
    chain: Chain,
    body: str,
    window: tuple[int, int],
    root: Root | None = None,
    revoked: Iterable[KeyRevocation] = (),
) -> PolicyVersion:
    """Makes the version that follows a chain, empty for the first, which needs a root.

    `window` is from its first second to before its last, Unix seconds. Raises FormatError if a
    member cannot stand in it.
    """
    if not chain and root is None:
        raise ValueError("the first version needs a root")
    newest = chain[-1].version if chain else None
    return PolicyVersion(
        len(chain) + 1,
        *window,
        None if newest is None else newest.digest,
        root or chain[-1].version.root,
        tuple(revoked),
        body.replace("\t", " "),  # a note has no tab, and a policy takes either
    )


def sign_version(version: PolicyVersion, signers: Sequence[Signer]) -> SignedVersion:
    """Signs a version with each signer, at least one."""
    return SignedVersion(version, sign_note(version.text, signers, 0))
