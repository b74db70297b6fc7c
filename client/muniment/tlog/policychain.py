"""A trust policy over time: versions, each for a window of time and signed by root keys.

`policyversion` has the file, whose signatures are verified when it is parsed. Who holds it trusts
it as they trust any policy file; `policyupdate` says which other one may take its place.

What counts when:

- A cosignature counts under a version if the time that it states is in the version's window, from
  the first second to before the last. A checkpoint is accepted if the signatures that count meet
  the policy of one version. So a proof of last year is judged by the policy of last year.
- Who acts now (`PolicyChain.at`) counts only the versions whose window is open now. A key of last
  year that is stolen today signs nothing that anybody acts on, whatever time it states.
- A witness's key that is listed as compromised counts for nothing, whatever time it states and
  whatever its name: a thief writes any. One that is listed as retired counts for the times before.
  A key of the log that is listed either way counts for checkpoints that, by the times of a quorum,
  were there before.
"""

from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Self

from muniment.tlog.checkpoint import SignedCheckpoint, parse_signed_checkpoint
from muniment.tlog.encoding import FormatError, VerificationError
from muniment.tlog.note import VKey
from muniment.tlog.policyjudge import CosignedCheckpoint, Policy, PolicyKey
from muniment.tlog.policyrules import show
from muniment.tlog.policyversion import KeyRevocation, PolicyVersion, SignedVersion, Word, say_time


@dataclass(frozen=True, slots=True)
class PolicyChain(Policy):
    """A policy over time, its versions verified. It stands wherever a `Policy` does.

    Logs, witnesses, groups and quorum are those of its newest version whose window has begun, by
    the time for which the object was made; without one, of its newest. `origins` and `log_keys`
    have those of all versions that count.

    Attributes:
        chain: All versions.
        counted: Those that count here: all, or those in force at a time.
        revoked: Public keys of any version's list, with the word that weighs most and the earliest
            time. Whoever has a key signs under any name, so names tell nothing here.
    """

    chain: tuple[SignedVersion, ...] = ()
    counted: tuple[PolicyVersion, ...] = ()
    revoked: dict[bytes, KeyRevocation] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _at: dict[tuple[int, ...], "PolicyChain"] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def of(
        cls,
        chain: Sequence[SignedVersion],
        counted: Sequence[PolicyVersion] | None = None,
        *,
        now: int | None = None,
    ) -> Self:
        """Makes one of what `parse_chain` gave; FormatError if key IDs of two versions collide."""
        versions = tuple(signed.version for signed in chain) if counted is None else tuple(counted)
        begun = [one for one in versions if now is not None and one.start <= now]
        policy = (begun or versions)[-1].policy
        made = cls(
            policy.logs, policy.witnesses, policy.groups, policy.quorum, tuple(chain), versions
        )
        for version in versions:
            for key, known in version.policy.known.items():
                other = made.known.setdefault(key, known)
                if other.verifier.vkey != known.verifier.vkey:
                    raise FormatError(f"policy: two keys {key[0]} have the ID {key[1]:08x}")
                origins = tuple(dict.fromkeys((*other.origins, *known.origins)))
                made.known[key] = other._replace(origins=origins)
        for signed in chain:
            for one in signed.version.revoked:
                public = one.vkey.public
                listed = made.revoked.get(public, one)
                word: Word = "retired" if one.word == listed.word == "retired" else "compromised"
                made.revoked[public] = KeyRevocation(word, one.vkey, min(one.since, listed.since))
        return made

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins of the logs of all versions that count, newest first, each once."""
        return tuple(dict.fromkeys(o for one in reversed(self.counted) for o in one.policy.origins))

    def log_keys(self, origin: str, old: Iterable[VKey] = ()) -> tuple[VKey, ...]:
        """As `Policy.log_keys`, of all versions that count."""
        given = tuple(old)
        keys = [key for one in reversed(self.counted) for key in one.policy.log_keys(origin, given)]
        return tuple(dict.fromkeys(keys))

    def of_index_log(self, origin: str, version: int = 1) -> Policy:
        """As `Policy.of_index_log`, in each version."""

        def renamed(one: PolicyVersion) -> PolicyVersion:
            other = copy(one)  # not made anew: no text of its own says this
            object.__setattr__(other, "policy", one.policy.of_index_log(origin, version))
            return other

        return PolicyChain.of(
            [one._replace(version=renamed(one.version)) for one in self.chain],
            [renamed(one) for one in self.counted],
        )

    def at(self, now: int) -> Policy:
        """The versions whose window is open at a time, in Unix seconds.

        Raises VerificationError if there is none: the policy has expired, or has not begun.
        """
        numbers = self.numbers_at(now)
        if not numbers:
            newest = self.chain[-1].version
            if now >= newest.until:
                raise VerificationError(
                    f"the trust policy has expired: its newest version, {newest.number}, ended on "
                    f"{say_time(newest.until)}. Get a newer one: muniment policy update"
                )
            raise VerificationError(
                "no version of the trust policy is in force: the next one begins on "
                + say_time(min(s.version.start for s in self.chain if s.version.start > now))
            )
        made = self._at.get(numbers)
        if made is None:
            made = PolicyChain.of(self.chain, [self.chain[n - 1].version for n in numbers])
            self._at.clear()
            self._at[numbers] = made
        return made

    def versions(self) -> tuple[Policy, ...]:
        """As `Policy.versions`."""
        return tuple(PolicyChain.of(self.chain, [one]) for one in reversed(self.counted))

    def version_of(self, cosigned: CosignedCheckpoint) -> PolicyVersion:
        """The version by which `verify` accepted a checkpoint."""
        return next(one for one in self.counted if one.policy is cosigned.policy)

    def has_revoked(self, vkey: VKey) -> bool:
        """Whether any version lists the key."""
        return vkey.public in self.revoked

    def numbers_at(self, now: int) -> tuple[int, ...]:
        """The numbers of the versions whose window is open at a time, Unix seconds."""
        return tuple(one.number for one, _ in self.chain if one.is_open(now))

    def next_change(self, now: int) -> int | None:
        """When a window begins or ends next after a time, Unix seconds; None when none does."""
        ends = (time for one, _ in self.chain for time in (one.start, one.until) if time > now)
        return min(ends, default=None)

    def judge_of(self, signed: SignedCheckpoint) -> Policy:
        """The policy of the version that accepts a checkpoint; else of the newest that knows it."""
        try:
            return self.verify(signed).policy
        except VerificationError:
            lines = {(line.name, line.key_id) for line in signed.note.signatures}
            for version in reversed(self.counted):
                if any(
                    (key.name, key.key_id) in lines
                    for key in version.policy.log_keys(signed.checkpoint.origin)
                ):
                    return version.policy
            return self

    def verify(
        self, data: bytes | SignedCheckpoint, *, origin: str | None = None
    ) -> CosignedCheckpoint:
        """As `Policy.verify`, by the newest version that accepts the checkpoint."""
        signed = parse_signed_checkpoint(data) if isinstance(data, bytes) else data
        found = signed.checkpoint.origin
        if origin is not None and found != origin:
            raise VerificationError(f"checkpoint: of log {found}, expected {origin}")
        if found not in self.origins:
            raise VerificationError(f"checkpoint: the policy does not list log {found}")
        # Each key signs once, however many versions list it.
        verified = [
            ((known.verifier.vkey.name, known.verifier.vkey.key_id), time)
            for known, time in self.signatures(signed)
        ]
        failures: list[tuple[int, int, int, str]] = []
        for version in reversed(self.counted):
            roles = version.policy.known
            mine = [(roles[key], time) for key, time in verified if key in roles]
            try:
                return self._judge(signed, version, mine)
            except VerificationError as error:
                cosigned = [time for known, time in mine if known.witness]
                inside = sum(version.is_open(time or 0) for time in cosigned)
                why = f"version {version.number} of the policy: {error}"
                failures.append((inside, len(cosigned), version.number, why))
        raise VerificationError(max(failures)[-1])

    def _judge(
        self,
        signed: SignedCheckpoint,
        version: PolicyVersion,
        verified: Sequence[tuple[PolicyKey, int | None]],
    ) -> CosignedCheckpoint:
        left_out: list[str] = []
        kept: list[tuple[PolicyKey, int | None]] = []
        for known, time in verified:
            reason = self._doubt(known, time, version)
            if reason is None:
                kept.append((known, time))
            elif known.origins:
                kept.append((known._replace(witness=None), time))
            if reason is not None:
                left_out.append(f"{show(known.witness or '')} ({reason})")
        try:
            cosigned = version.policy.decide(signed, kept)
        except VerificationError as error:
            without = f"; these do not count: {', '.join(left_out)}" if left_out else ""
            raise VerificationError(f"{error}{without}") from None
        keys = tuple(key for key in cosigned.log_keys if self._was_there(cosigned, key))
        if not keys:
            key = cosigned.log_keys[0]
            one = self.revoked[key.public]
            raise VerificationError(
                f"checkpoint: the log's key {key.name} is {one.word} since "
                f"{say_time(one.since)}, and no quorum says that this was there before"
            )
        return replace(cosigned, log_keys=keys)

    def _was_there(self, cosigned: CosignedCheckpoint, key: VKey) -> bool:
        """Whether a log's key is not revoked, or a quorum had cosigned before it was."""
        one = self.revoked.get(key.public)
        if one is None:
            return True
        # Witnesses cosign the head of an idle log again: what counts is what they stated before.
        return cosigned.policy.is_met({name for name, time in cosigned.stated if time < one.since})

    def _doubt(self, known: PolicyKey, time: int | None, version: PolicyVersion) -> str | None:
        """Why a cosignature does not count under a version; None if it does."""
        if known.witness is None or not time:
            return None
        revoked = self.revoked.get(known.verifier.vkey.public)
        if revoked is not None and revoked.word == "compromised":
            return f"its key is compromised since {say_time(revoked.since)}"
        if revoked is not None and time >= revoked.since:
            return f"its key is retired since {say_time(revoked.since)}"
        if time < version.start:
            return f"of {say_time(time)}, before the version, from {say_time(version.start)}"
        if time >= version.until:
            return f"of {say_time(time)}, after the version, until {say_time(version.until)}"
        return None
