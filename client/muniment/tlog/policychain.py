"""A trust policy over time: versions, each for a window of time and signed by root keys.

A policy chain is a file of signed notes, one a version, the first version first. Each states its
number, its window, the hash of the version before, the root keys that may sign the next one, keys
that no longer count, and a tlog-policy. Who holds a chain trusts it as they trust a policy file;
`policyupdate` says which other chain may take its place.

What counts when:

- A cosignature counts under a version if the time that it states is in the version's window, from
  the first second to before the last. A checkpoint is accepted if the signatures that count meet
  the policy of one version. So a proof of last year is judged by the policy of last year.
- Who acts now (`PolicyChain.at`) counts only the versions whose window is open now. A key of last
  year that is stolen today signs nothing that anybody acts on, whatever time it states.
- A witness's key that is listed as compromised counts for nothing, whatever time it states: a thief
  writes any. One that is listed as retired counts for the times before. A key of the log that is
  listed either way counts for checkpoints that, by the times of a quorum, were there before.
"""

import re
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final, Literal, NamedTuple, Self, TypeAlias

from muniment.tlog.checkpoint import SignedCheckpoint, parse_signed_checkpoint
from muniment.tlog.cosignature import MAX_TIMESTAMP, verifier_for
from muniment.tlog.encoding import (
    FormatError,
    VerificationError,
    format_base64,
    parse_decimal,
    parse_hash,
    split_lines,
)
from muniment.tlog.indexleaf import index_origin
from muniment.tlog.note import (
    ED25519,
    PUBLIC_KEY_SIZES,
    UnverifiedNote,
    VKey,
    parse_note,
    parse_vkey,
    verify_note,
)
from muniment.tlog.policyjudge import CosignedCheckpoint, Known, Policy
from muniment.tlog.policyrules import show
from muniment.tlog.policytext import parse_policy_text
from muniment.tlog.quorum import NONE

HEADER: Final = "muniment/policy/v1"
"""The first line of each version."""

MAX_VERSIONS: Final = 1024
"""Most versions of a chain."""

MAX_ROOTS: Final = 16
"""Most root keys of a version."""

MAX_REVOKED: Final = 256
"""Most keys that one version lists as compromised or retired."""

Word: TypeAlias = Literal["compromised", "retired"]

_START: Final = re.compile(rf"^(?={HEADER}$)".encode(), re.MULTILINE)
_LINE: Final = re.compile(r"(compromised|retired) (\S+) (\S+)")


class Root(NamedTuple):
    """The root keys of a version, plain Ed25519 note keys, and how many of them must sign."""

    threshold: int
    keys: tuple[VKey, ...]


class Revoked(NamedTuple):
    """A key that no longer counts, from a time on in Unix seconds; see the module for how."""

    word: Word
    vkey: VKey
    since: int


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """A version of a policy, unsigned; FormatError if a member cannot stand in one.

    Attributes:
        number: From 1.
        start: The first second in which it is in force, Unix seconds.
        until: The first second in which it is not any more.
        previous: The SHA-256 of the text of the version before; None in the first.
        root: Who may sign this version and the next one.
        revoked: Keys that no longer count; what earlier versions list need not stand here again.
        body: The tlog-policy, verbatim.
        policy: The same, parsed.
    """

    number: int
    start: int
    until: int
    previous: bytes | None
    root: Root
    revoked: tuple[Revoked, ...]
    body: str
    policy: Policy = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 1 <= self.number <= MAX_VERSIONS:
            raise FormatError(f"version is not between 1 and {MAX_VERSIONS}")
        if (self.number == 1) != (self.previous is None):
            raise FormatError("the first version, and no other, has no version before it")
        if not 0 < self.start < self.until <= MAX_TIMESTAMP:
            raise FormatError("the window ends before it begins, or begins before 1970")
        threshold, keys = self.root
        if any(vkey.algorithm != ED25519 for vkey in keys):
            raise FormatError("a root key is not a plain Ed25519 note key")
        if len({vkey.public for vkey in keys}) != len(keys):
            raise FormatError("a root key is there twice")
        if not 1 <= threshold <= len(keys) <= MAX_ROOTS:
            raise FormatError(
                f"the root needs {threshold} signatures and has {len(keys)} keys, of at most "
                f"{MAX_ROOTS}"
            )
        if len(self.revoked) > MAX_REVOKED:
            raise FormatError(f"more than {MAX_REVOKED} compromised or retired keys")
        policy = parse_policy_text(self.body.encode())
        if policy.quorum == NONE:
            # Nobody would attest when a checkpoint was there, so no version could be chosen for it.
            raise FormatError("quorum none: a version needs witnesses, whose times decide")
        object.__setattr__(self, "policy", policy)

    @property
    def text(self) -> str:
        """The note's text."""
        lines = [HEADER, f"version {self.number}", f"from {self.start}", f"until {self.until}"]
        if self.previous is not None:
            lines.append(f"previous {format_base64(self.previous)}")
        lines.append(f"root {self.root.threshold} {' '.join(map(str, self.root.keys))}")
        lines += [f"{word} {vkey} {since}" for word, vkey, since in self.revoked]
        return "\n".join((*lines, "", self.body))

    @property
    def digest(self) -> bytes:
        """The SHA-256 of the text, which the next version names."""
        return sha256(self.text.encode()).digest()

    def is_open(self, time: int) -> bool:
        """Whether a time, in Unix seconds, is in the window."""
        return self.start <= time < self.until


def parse_version(text: str) -> PolicyVersion:
    """Parses the one spelling of a version's text; FormatError if it is not that."""
    head, empty, body = text.partition("\n\n")
    lines = split_lines(f"{head}\n")
    if not empty or lines.pop(0) != HEADER:
        raise FormatError(f"the first line is not {HEADER}, or there is no empty line")
    number, start, until = (
        parse_decimal(_item(lines, word), word, most=MAX_TIMESTAMP)
        for word in ("version", "from", "until")
    )
    previous = None
    if lines and lines[0].startswith("previous "):
        previous = parse_hash(_item(lines, "previous"), "previous")
    threshold, *keys = _item(lines, "root").split(" ")
    root = Root(
        parse_decimal(threshold, "root"), tuple(parse_vkey(key, "root key") for key in keys)
    )
    revoked: list[Revoked] = []
    for line in lines:
        match = _LINE.fullmatch(line)
        if match is None:
            raise FormatError(f"{line[:40]!a} where a compromised or retired line may stand")
        word: Word = "compromised" if match[1] == "compromised" else "retired"
        since = parse_decimal(match[3], word, most=MAX_TIMESTAMP)
        revoked.append(Revoked(word, parse_vkey(match[2], word), since))
    return PolicyVersion(number, start, until, previous, root, tuple(revoked), body)


def _item(lines: list[str], word: str) -> str:
    if not lines or not lines[0].startswith(f"{word} "):
        raise FormatError(f"no {word} line where it has to stand")
    return lines.pop(0).removeprefix(f"{word} ")


class SignedVersion(NamedTuple):
    """A version and its note."""

    version: PolicyVersion
    note: UnverifiedNote


def lacking(note: UnverifiedNote, roots: Iterable[Root]) -> tuple[tuple[int, Root], ...]:
    """Whose signatures a note lacks: (how many more, of which root), empty when none.

    A root key counts once. Raises VerificationError if a signature of a root key does not hold;
    FormatError if two of them have one name and ID.
    """
    needed = tuple(dict.fromkeys(roots))
    keys = dict.fromkeys(key for root in needed for key in root.keys)
    known = {(key.name, key.key_id): key for key in keys}
    for key in keys:
        if known[key.name, key.key_id] != key:
            raise FormatError(f"two root keys {key.name} have the ID {key.key_id:08x}")
    found: set[VKey] = set()
    if any((line.name, line.key_id) in known for line in note.signatures):
        signers = verify_note(note, [verifier_for(key) for key in keys]).signatures
        found = {verified.vkey for verified in signers}
    counts = ((root.threshold - len(found.intersection(root.keys)), root) for root in needed)
    return tuple((count, root) for count, root in counts if count > 0)


def roots_of(version: PolicyVersion, before: PolicyVersion | None) -> tuple[Root, ...]:
    """Who has to sign a version: its own root, and that of the version before."""
    return (version.root,) if before is None else (before.root, version.root)


def is_chain(data: bytes) -> bool:
    """Whether a policy file is a chain, by its first line."""
    return data.startswith(f"{HEADER}\n".encode())


def parse_chain(data: bytes, *, is_draft: bool = False) -> tuple[SignedVersion, ...]:
    """Parses a chain and verifies its numbers, windows, hashes and signatures.

    The newest version of a draft may lack signatures. Raises FormatError, which names the version.
    """
    if not is_chain(data):
        raise FormatError(f"policy: the first line is not {HEADER}")
    chain: list[SignedVersion] = []
    pieces = _START.split(data)[1:]
    if len(pieces) > MAX_VERSIONS:
        raise FormatError(f"policy: more than {MAX_VERSIONS} versions")
    for number, piece in enumerate(pieces, 1):
        try:
            note = parse_note(piece)
            signed = SignedVersion(parse_version(note.text), note)
            before = chain[-1].version if chain else None
            _check_next(number, signed.version, before)
            missing = lacking(note, roots_of(signed.version, before))
        except (FormatError, VerificationError) as error:
            raise FormatError(f"policy: version {number}: {error}") from None
        chain.append(signed)
        if missing and not (is_draft and number == len(pieces)):
            raise FormatError(f"policy: version {number}: {say_lacking(missing)}")
    return tuple(chain)


def _check_next(number: int, version: PolicyVersion, before: PolicyVersion | None) -> None:
    if version.number != number:
        raise FormatError(f"says that it is version {version.number}")
    if before is None:
        return
    if version.previous != before.digest:
        raise FormatError("is not made for the version before it, whose hash it should state")
    if version.start < before.start:
        raise FormatError("its window begins before that of the version before it")


def say_lacking(missing: Iterable[tuple[int, Root]]) -> str:
    """In words whose signatures are missing."""
    return "; ".join(
        f"lacks {count} of the {root.threshold} root signatures that it needs of "
        + ", ".join(f"{key.name}+{key.key_id:08x}" for key in root.keys)
        for count, root in missing
    )


def format_chain(chain: Iterable[SignedVersion]) -> bytes:
    """The bytes of a chain; `parse_chain` gives back equal values."""
    return b"".join(signed.note.encode() for signed in chain)


def say_time(time: int) -> str:
    """A time in words, whatever the number is."""
    try:
        return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return f"{time} s after 1970"


@dataclass(frozen=True, slots=True)
class PolicyChain(Policy):
    """A policy over time, its versions verified. It stands wherever a `Policy` does.

    Logs, witnesses, groups and quorum are those of its newest version whose window has begun, by
    the time for which the object was made; without one, of its newest. `origins` and `log_keys`
    have those of all versions that count.

    Attributes:
        chain: All versions.
        counted: Those that count here: all, or those in force at a time.
        revoked: Keys of any version's list, by name and key ID, with the word that weighs most and
            the earliest time.
    """

    chain: tuple[SignedVersion, ...] = ()
    counted: tuple[PolicyVersion, ...] = ()
    revoked: dict[VKey, Revoked] = field(
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
                listed = made.revoked.get(one.vkey, one)
                word: Word = "retired" if one.word == listed.word == "retired" else "compromised"
                made.revoked[one.vkey] = Revoked(word, one.vkey, min(one.since, listed.since))
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
        """As `Policy.of_index_log`, in each version; a revoked key is so under both names."""
        name = index_origin(origin, version)

        def renamed(one: PolicyVersion) -> PolicyVersion:
            also = [
                each._replace(vkey=VKey.of(name, each.vkey.algorithm, each.vkey.public))
                for each in one.revoked
                if each.vkey.algorithm in PUBLIC_KEY_SIZES
            ]
            other = copy(one)  # not made anew: no text of its own says this
            object.__setattr__(other, "policy", one.policy.of_index_log(origin, version))
            object.__setattr__(other, "revoked", (*one.revoked, *also))
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

    def version_of(self, cosigned: CosignedCheckpoint) -> PolicyVersion:
        """The version by which `verify` accepted a checkpoint."""
        return next(one for one in self.counted if one.policy is cosigned.policy)

    def has_revoked(self, vkey: VKey) -> bool:
        """Whether any version lists the key."""
        return vkey in self.revoked

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
        verified: Sequence[tuple[Known, int | None]],
    ) -> CosignedCheckpoint:
        left_out: list[str] = []
        kept: list[tuple[Known, int | None]] = []
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
        time = cosigned.time()
        keys = tuple(
            key
            for key in cosigned.log_keys
            if (one := self.revoked.get(key)) is None or time < one.since
        )
        if not keys:
            one = self.revoked[cosigned.log_keys[0]]
            raise VerificationError(
                f"checkpoint: the log's key {one.vkey.name} is {one.word} since "
                f"{say_time(one.since)}, and no quorum says that this was there before"
            )
        return replace(cosigned, log_keys=keys)

    def _doubt(self, known: Known, time: int | None, version: PolicyVersion) -> str | None:
        """Why a cosignature does not count under a version; None if it does."""
        if known.witness is None or not time:
            return None
        revoked = self.revoked.get(known.verifier.vkey)
        if revoked is not None and revoked.word == "compromised":
            return f"its key is compromised since {say_time(revoked.since)}"
        if revoked is not None and time >= revoked.since:
            return f"its key is retired since {say_time(revoked.since)}"
        if time < version.start:
            return f"of {say_time(time)}, before the version, from {say_time(version.start)}"
        if time >= version.until:
            return f"of {say_time(time)}, after the version, until {say_time(version.until)}"
        return None
