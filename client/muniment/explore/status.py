"""What every page says of the replica: how far it is, who vouches for that, and what nobody did."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from muniment.index.reader import IndexReader
from muniment.tlog.policy import CosignedCheckpoint, Policy, show
from muniment.tlog.quorum import NONE


class CosignedBy(NamedTuple):
    """A witness of the policy that has cosigned, and when, Unix seconds."""

    name: str
    time: int


@dataclass(frozen=True, slots=True)
class Status:
    """The replica at one moment.

    Attributes:
        origin: The log.
        size: Leaves that every answer reflects.
        root: Of the tree of that size.
        time: For which a quorum vouches, Unix seconds; 0 for none.
        age: Seconds since then; None without such a time.
        cosigners: Who cosigned the checkpoint.
        quorum: What the policy asks for, in words.
        unverified: What was not verified, or could not be: a sentence each.
        trouble: Why the log could not be followed last time; empty when it could.
        is_condemned: Whether the replica holds proof that the log signed two histories.
    """

    origin: str
    size: int
    root: bytes
    time: int
    age: int | None
    cosigners: tuple[CosignedBy, ...]
    quorum: str
    unverified: tuple[str, ...]
    trouble: str
    is_condemned: bool


class Standing:
    """Reads the status; verifies the replica's checkpoint by the policy, once for each."""

    def __init__(self, policy: Policy) -> None:
        """Takes the policy that must accept it."""
        self._policy = policy
        self._known: CosignedCheckpoint | None = None

    def checkpoint(self, reader: IndexReader) -> CosignedCheckpoint | None:
        """The checkpoint that answers reflect, verified; None while there is none.

        Raises VerificationError if the policy does not accept what the replica keeps.
        """
        state = reader.state()
        if state.checkpoint is None:
            return None
        if self._known is None or self._known.signed != state.checkpoint:
            self._known = self._policy.verify(state.checkpoint, origin=state.origin)
        return self._known

    def read(
        self, reader: IndexReader, now: int, trouble: str, notes: Sequence[str]
    ) -> Status | None:
        """The status at a time, Unix seconds; None while nothing is verified.

        `trouble` is of the follower, `notes` what others have to say on what was not verified.
        """
        found = self.checkpoint(reader)
        if found is None:
            return None
        time = found.time(now)
        return Status(
            origin=found.origin,
            size=found.size,
            root=found.root,
            time=time,
            age=max(0, now - time) if time else None,
            cosigners=tuple(CosignedBy(show(name), at) for name, at in found.cosigners),
            quorum=describe_quorum(found.policy),
            unverified=(*self._unverified(reader, found, now), *notes),
            trouble=trouble,
            is_condemned=reader.is_condemned(),
        )

    def _unverified(self, reader: IndexReader, found: CosignedCheckpoint, now: int) -> list[str]:
        said: list[str] = []
        if unknown := reader.state().unknown:
            said.append(f"{unknown:,} leaves are neither a record nor a manifest.")
        for name, _ in found.ahead(now):
            said.append(f"The cosignature of {show(name)} is of a time in the future: not counted.")
        if found.policy.quorum == NONE:
            said.append("The policy asks for no witness: the log alone vouches for this tree.")
        if reader.gateways() is None:
            said.append(
                "No gateways are named (--gateway): who signed a batch is shown, and whether that "
                "key was entitled to is not judged."
            )
        said.append(
            "Batch signatures and gaps in streams are checked by muniment audit, not here; nobody "
            "can show that a gateway logged all that it decided."
        )
        return said


def describe_quorum(policy: Policy) -> str:
    """What a policy asks for, in words: ``2 of w1, w2, w3``."""
    if policy.quorum == NONE:
        return "none"
    groups = {group.name: group for group in policy.groups}

    def words(name: str, depth: int) -> str:
        group = groups.get(name)
        if group is None or depth > 3:  # deeper ones by their names
            return show(name)
        members = ", ".join(words(member, depth + 1) for member in group.members)
        count = len(group.members)
        said = (
            f"all of {members}" if group.threshold == count else f"{group.threshold} of {members}"
        )
        return f"({said})" if depth else said

    return words(policy.quorum, 0)
