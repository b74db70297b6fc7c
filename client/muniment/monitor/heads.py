"""C2SP tlog-witness "Monitoring": what a log or witness shows, verified by a policy. No I/O."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from muniment.tlog.checkpoint import SignedCheckpoint, parse_signed_checkpoint
from muniment.tlog.cosignature import verifier_for
from muniment.tlog.encoding import VerificationError
from muniment.tlog.evidence import Evidence, contradiction_of, key_name
from muniment.tlog.heads import Prefix
from muniment.tlog.note import Verifier, VKey
from muniment.tlog.policy import Policy

LOG: Final = "log"
"""The party that is the log itself."""

EARLIER: Final = "earlier"
"""The party that is the log as this monitor saw it before: what it must still contain."""


_NOBODY: Final = Policy((), (), (), "none")


@dataclass(frozen=True, slots=True)
class ShownHead:
    """A *verified* head: a key of the log signed it. Only `HeadReader.read` makes one.

    Attributes:
        party: Who showed it: LOG, EARLIER or a witness's URL.
        signed: The checkpoint.
        cosigners: (name in the policy, Unix seconds) of the policy's witnesses that cosigned it.
        stated: The same of every cosignature: a witness may have made several.
        has_quorum: Whether the policy accepts it: they are a quorum, of keys and times that count.
        policy: The policy that says so: of a policy over time, the version that judges this head.
    """

    party: str
    signed: SignedCheckpoint
    cosigners: tuple[tuple[str, int], ...]
    stated: tuple[tuple[str, int], ...]
    has_quorum: bool
    policy: Policy = field(default=_NOBODY, repr=False, compare=False)

    @property
    def size(self) -> int:
        """Number of leaves."""
        return self.signed.checkpoint.size

    @property
    def root(self) -> bytes:
        """Root hash, 32 bytes."""
        return self.signed.checkpoint.root


class HeadReader:
    """Verifies what parties show of the log with an origin.

    `log_verifiers` are the verifiers of the log's keys, old ones too: what evidence is verified by.
    """

    def __init__(self, policy: Policy, origin: str, old: Sequence[VKey] = ()) -> None:
        """Takes what it verifies by.

        Keys that the log had before those of the policy, and keys that the policy lists as revoked,
        count for EARLIER alone: a key is given up because others may have it. Raises ValueError if
        the policy has no log of the origin.
        """
        if origin not in policy.origins:
            raise ValueError(f"the policy does not list the log {origin}")
        self.policy = policy
        self.origin = origin
        keys = policy.log_keys(origin)
        known = policy.log_keys(origin, old)
        self._old = known[len(keys) :]
        self._keys = frozenset(key for key in keys if not policy.has_revoked(key))
        self.log_verifiers = tuple(map(verifier_for, known))

    def read(self, party: str, data: bytes) -> ShownHead:
        """Verifies a checkpoint that a party showed.

        The quorum is not demanded: a head that only the log has signed binds the log as much.

        Raises:
            FormatError: If it is not a checkpoint.
            VerificationError: If it is of another log, not signed by a known key of the log, or a
                signature of a known key does not hold.
        """
        signed = parse_signed_checkpoint(data)
        if signed.checkpoint.origin != self.origin:
            raise VerificationError(f"a checkpoint of the log {signed.checkpoint.origin}")
        found = self.policy.recognise(signed, old=self._old if party == EARLIER else ())
        if party != EARLIER and not any(verified.vkey in self._keys for verified in found):
            raise VerificationError("signed only by keys of the log that others may have")
        try:
            cosigned = self.policy.verify(signed)
        except VerificationError:
            pass  # no quorum: what it has is told all the same
        else:
            stated = cosigned.stated
            return ShownHead(
                party, signed, cosigned.cosigners, stated, has_quorum=True, policy=cosigned.policy
            )
        policy = self.policy.judge_of(signed)
        names = {witness.vkey: witness.name for witness in policy.witnesses}
        stated = tuple(
            (names[verified.vkey], verified.timestamp or 0)
            for verified in found
            # Who has stolen a key writes any time.
            if verified.vkey in names and not self.policy.has_revoked(verified.vkey)
        )
        cosigners = {name: max(time for one, time in stated if one == name) for name, _ in stated}
        return ShownHead(
            party, signed, tuple(cosigners.items()), stated, has_quorum=False, policy=policy
        )


@dataclass(frozen=True, slots=True)
class Pair:
    """Two heads that have to be consistent, the smaller one first."""

    older: ShownHead
    newer: ShownHead

    @property
    def needs_proof(self) -> bool:
        """Whether it takes tiles to compare them."""
        return 0 < self.older.size < self.newer.size


def pairs_of(heads: Sequence[ShownHead]) -> list[Pair]:
    """The comparisons that, when all hold, show that all of some heads are of one history.

    Each head with the next larger one: consistency carries over, so n - 1 comparisons do for n
    heads, and when two heads are of different histories, one of the comparisons shows it.
    """
    ordered = sorted(heads, key=lambda head: head.size)
    return [Pair(older, newer) for older, newer in pairwise(ordered)]


def compare(
    pair: Pair, prefix: Prefix | None = None, verifiers: Sequence[Verifier] = ()
) -> Evidence | None:
    """What a pair proves; None when that is nothing, or when the two are consistent.

    `prefix` is what the newer tree's tiles have at the older size. Without it, None says nothing of
    a pair that needs a proof. `verifiers` are those of the log, whose origin may not be the name of
    its keys. Raises VerificationError if the tiles are not those of the newer tree: nothing is
    known then.
    """
    older, newer = pair.older.signed, pair.newer.signed
    return contradiction_of(older, newer, prefix, key_name(older, verifiers))
