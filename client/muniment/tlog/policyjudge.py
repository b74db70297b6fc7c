"""What a trust policy makes of a checkpoint; import its names from `policy`.

`Policy.verify` is the one door from a parsed checkpoint to a `CosignedCheckpoint`, the type of
what may be believed.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from muniment.tlog import quorum
from muniment.tlog.checkpoint import Checkpoint, SignedCheckpoint, parse_signed_checkpoint
from muniment.tlog.cosignature import verifier_for
from muniment.tlog.encoding import VerificationError
from muniment.tlog.heads import Head
from muniment.tlog.indexleaf import index_origin
from muniment.tlog.note import Verified, Verifier, VKey
from muniment.tlog.policyrules import PolicyGroup, PolicyLog, PolicyWitness, Rules, show


@dataclass(frozen=True, slots=True)
class CosignedCheckpoint:
    """A *verified* checkpoint: signed by a log of the policy, cosigned by a quorum.

    Only `Policy.verify` makes one.

    Attributes:
        signed: The checkpoint and its note, with all signature lines, also those of unknown keys.
        log_keys: The keys of the log that signed it, at least one.
        cosigners: (name in the policy, Unix seconds) of the witnesses that cosigned it, in the
            order of the note, each once with its newest time. 0 is an ML-DSA-44 witness'
            "consistent, but I do not say newest".
        stated: The same of every cosignature: a witness may have made several.
    """

    signed: SignedCheckpoint
    log_keys: tuple[VKey, ...]
    cosigners: tuple[tuple[str, int], ...]
    stated: tuple[tuple[str, int], ...] = field(repr=False)
    policy: "Policy" = field(repr=False, compare=False)

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint."""
        return self.signed.checkpoint

    @property
    def origin(self) -> str:
        """Origin of the log."""
        return self.signed.checkpoint.origin

    @property
    def size(self) -> int:
        """Number of leaves."""
        return self.signed.checkpoint.size

    @property
    def root(self) -> bytes:
        """Root hash, 32 bytes."""
        return self.signed.checkpoint.root

    @property
    def head(self) -> Head:
        """Size and root."""
        return self.signed.checkpoint.head

    def time(self, now: int | None = None) -> int:
        """The time for which a quorum vouches, Unix seconds; 0 for none. See `quorum.time_of`."""
        return quorum.time_of(self.policy, self.stated, now)

    def ahead(self, now: int) -> tuple[tuple[str, int], ...]:
        """The cosignatures whose time is in the future: (witness, Unix seconds)."""
        return quorum.ahead(self.stated, now)


class PolicyKey(NamedTuple):
    """A key of a policy and the parts it plays; the spec lets a key be log and witness.

    `origins` are of the logs that it signs; none for a key of a witness alone.
    """

    verifier: Verifier
    origins: tuple[str, ...]
    witness: str | None


@dataclass(frozen=True, slots=True)
class Policy:
    """A trust policy. Its verifiers are prepared once, when it is made.

    Any of the logs may have signed. Groups come after their members; `quorum` names the witness or
    group that must have witnessed, or is ``none``. Raises FormatError if the parts break a rule of
    the spec.

    Attributes:
        known: The keys by name and key ID.
    """

    logs: tuple[PolicyLog, ...]
    witnesses: tuple[PolicyWitness, ...]
    groups: tuple[PolicyGroup, ...]
    quorum: str
    known: dict[tuple[str, int], PolicyKey] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        rules = Rules()
        for log in self.logs:
            rules.add_log(log)
        for witness in self.witnesses:
            rules.add_witness(witness)
        for group in self.groups:
            rules.add_group(group)
        rules.set_quorum(self.quorum)
        for log in self.logs:
            self.known[log.vkey.name, log.vkey.key_id] = PolicyKey(
                verifier_for(log.vkey), log.origins, witness=None
            )
        for witness in self.witnesses:
            key = (witness.vkey.name, witness.vkey.key_id)
            known = self.known.get(key)
            verifier = known.verifier if known else verifier_for(witness.vkey)
            origins = known.origins if known else ()
            self.known[key] = PolicyKey(verifier, origins, witness.name)

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins of the logs, each once, in order."""
        return tuple(dict.fromkeys(origin for log in self.logs for origin in log.origins))

    def log_keys(self, origin: str, old: Iterable[VKey] = ()) -> tuple[VKey, ...]:
        """The keys of the log of an origin, and those of `old` that have the name of one of them.

        `old` are keys that the log had before those of the policy.
        """
        keys = [log.vkey for log in self.logs if origin in log.origins]
        names = {key.name for key in keys}
        return tuple(dict.fromkeys((*keys, *(key for key in old if key.name in names))))

    def of_index_log(self, origin: str, version: int = 1) -> "Policy":
        """The same trust in the index log of a log: its keys are the log's under that origin.

        A policy file cannot list both: "Duplicate logs, i.e., multiple log lines with the same
        public key, are not allowed" (tlog-policy). One that lists no log of this origin gives one
        without logs.
        """
        name = index_origin(origin, version)
        logs = [
            PolicyLog(VKey.of(name, log.vkey.algorithm, log.vkey.public))
            for log in self.logs
            if origin in log.origins
        ]
        return replace(self, logs=tuple(logs))

    def is_met(self, cosigners: Collection[str]) -> bool:
        """Whether these witnesses, by their names in the policy, make a quorum.

        Names that are not witnesses of the policy, group names too, do not count.
        """
        return self.quorum == quorum.NONE or self.quorum in quorum.witnessed(self, cosigners)

    def at(self, now: int) -> "Policy":  # noqa: ARG002 - for policies over time
        """What counts for whoever acts at a time, in Unix seconds.

        This policy itself; of a policy over time (`policychain`), its versions in force then.
        Raises VerificationError if there is none.
        """
        return self

    def has_revoked(self, vkey: VKey) -> bool:  # noqa: ARG002 - as above
        """Whether a key is listed as one that others may have, or that was given up."""
        return False

    def judge_of(self, signed: SignedCheckpoint) -> "Policy":  # noqa: ARG002 - as above
        """The policy that judges a checkpoint: this one; of a policy over time, a version of it."""
        return self

    def versions(self) -> "tuple[Policy, ...]":
        """Of a policy over time each version that counts, the newest first; of others none."""
        return ()

    def verify(
        self, data: bytes | SignedCheckpoint, *, origin: str | None = None
    ) -> CosignedCheckpoint:
        """Verifies that a trusted log signed a checkpoint and a quorum of witnesses cosigned it.

        Every signature of a known key must hold, also one that is not needed; one that states time
        0 does not count. No statement is made on the age of the cosignatures. `origin` is the log
        that it must be of; None for any of the policy. Raises FormatError if the data is not a
        checkpoint; VerificationError, which tells what is missing, if it is not verified.
        """
        signed = parse_signed_checkpoint(data) if isinstance(data, bytes) else data
        found = signed.checkpoint.origin
        if origin is not None and found != origin:
            raise VerificationError(f"checkpoint: of log {found}, expected {origin}")
        if not any(found in log.origins for log in self.logs):
            raise VerificationError(f"checkpoint: the policy does not list log {found}")
        return self.decide(signed, self.signatures(signed))

    def decide(
        self, signed: SignedCheckpoint, verified: Sequence[tuple[PolicyKey, int | None]]
    ) -> CosignedCheckpoint:
        """Judges a checkpoint by those of its signatures that were verified and count.

        Raises VerificationError if no key of its log is among them, or no quorum.
        """
        found = signed.checkpoint.origin
        # Time 0 is that of a subtree's signature, which does not say that this tree is the newest
        # (tlog-cosignature v1.1.0: signatures of checkpoints state a time).
        signatures = [(known, time) for known, time in verified if time != 0]
        log_keys = _log_keys(signatures, found)
        stated = tuple((known.witness, time or 0) for known, time in signatures if known.witness)
        cosigners: dict[str, int] = {}
        for name, time in stated:
            cosigners[name] = max(time, cosigners.get(name, 0))
        if not log_keys:
            if _log_keys(verified, found):
                raise VerificationError("checkpoint: the log's signature states no time")
            raise VerificationError(f"checkpoint: {_by_others(signed)}")
        if not self.is_met(cosigners):
            raise VerificationError(self._explain(cosigners))
        return CosignedCheckpoint(signed, log_keys, tuple(cosigners.items()), stated, self)

    def recognise(
        self, signed: SignedCheckpoint, *, old: Iterable[VKey] = ()
    ) -> tuple[Verified, ...]:
        """Each signature of a known key on a checkpoint, in order, a key of its log among them.

        The quorum is not asked for: a head that only the log has signed binds the log as much, and
        the policy may have changed since a checkpoint was stored. `old` are keys that the log had
        before those of the policy, whose signatures count. Raises VerificationError if no key of
        the log has signed it, or a signature of a known key does not hold.
        """
        origin = signed.checkpoint.origin
        if origin not in self.origins:
            raise VerificationError(f"the policy does not list log {origin}")
        signatures = self.signatures(signed, old)
        if not _log_keys(signatures, origin):
            raise VerificationError(_by_others(signed))
        return tuple(Verified(known.verifier.vkey, time) for known, time in signatures)

    def signatures(
        self, signed: SignedCheckpoint, old: Iterable[VKey] = ()
    ) -> list[tuple[PolicyKey, int | None]]:
        """The known keys' signatures, each of which must hold, and their times, in order."""
        origin = signed.checkpoint.origin
        before = {(key.name, key.key_id): key for key in self.log_keys(origin, old)} if old else {}
        found: list[tuple[PolicyKey, int | None]] = []
        for line in signed.note.signatures:
            key = (line.name, line.key_id)
            known = self.known.get(key)
            if known is None and key in before:
                known = PolicyKey(verifier_for(before[key]), (origin,), witness=None)
            if known is not None:
                found.append((known, known.verifier.verify(signed.note.text, line.signature)))
        return found

    def _explain(self, cosigners: Collection[str]) -> str:
        have = ", ".join(map(show, cosigners)) or "no witness"
        needs = "; ".join(
            f"{show(name)} needs {count} more of {', '.join(map(show, members))}"
            for name, count, members in quorum.shortage(self, cosigners)
        )
        return f"checkpoint: no quorum: cosigned by {have}; {needs}"


def _log_keys(signatures: Iterable[tuple[PolicyKey, int | None]], origin: str) -> tuple[VKey, ...]:
    """The keys of the log among those that signed, each once."""
    return tuple(
        dict.fromkeys(known.verifier.vkey for known, _ in signatures if origin in known.origins)
    )


def _by_others(signed: SignedCheckpoint) -> str:
    """Says whose a checkpoint is, when no key that is known for its log has signed it."""
    origin = signed.checkpoint.origin
    names = dict.fromkeys(
        f"{line.name}+{line.key_id:08x}" for line in signed.note.signatures if line.name == origin
    )
    if not names:
        return f"not signed by a key of log {origin}"
    return (
        f"signed by {', '.join(names)} only, which the policy does not list: another key of the "
        f"log {origin}, earlier or later, or another log of that name"
    )
