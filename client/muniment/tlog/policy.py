"""C2SP tlog-policy: which logs are trusted, and which witnesses make a quorum.

`Policy.verify` is the one door from a parsed checkpoint to a `CosignedCheckpoint`, the type of
what may be believed.
"""

import codecs
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from muniment.tlog import quorum
from muniment.tlog.checkpoint import Checkpoint, SignedCheckpoint, parse_signed_checkpoint
from muniment.tlog.cosignature import verifier_for
from muniment.tlog.encoding import FormatError, VerificationError, parse_decimal
from muniment.tlog.heads import Head
from muniment.tlog.note import Verified, Verifier, VKey, parse_vkey
from muniment.tlog.policyrules import (
    ESCAPE,
    MAX_GROUPS,
    MAX_LOGS,
    MAX_WITNESSES,
    PolicyGroup,
    PolicyLog,
    PolicyWitness,
    Rules,
    show,
)

__all__ = [
    "MAX_GROUPS",
    "MAX_LOGS",
    "MAX_POLICY_SIZE",
    "MAX_WITNESSES",
    "CosignedCheckpoint",
    "Policy",
    "PolicyGroup",
    "PolicyLog",
    "PolicyWitness",
    "format_policy",
    "parse_policy",
    "show",
]

MAX_POLICY_SIZE: Final = 2 * 1024 * 1024
"""Largest policy file in bytes: the most logs and witnesses with ML-DSA-44 keys, and URLs."""

_BAD_OCTET: Final = re.compile(rb"[^\t\n\x20-\x7e\x80-\xff]")
_MARKS: Final = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_ITEM: Final = re.compile(r"[^ \t]+")


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


class _Known(NamedTuple):
    """A key of the policy and the parts it plays; the spec lets a key be log and witness.

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
    """

    logs: tuple[PolicyLog, ...]
    witnesses: tuple[PolicyWitness, ...]
    groups: tuple[PolicyGroup, ...]
    quorum: str
    _keys: dict[tuple[str, int], _Known] = field(
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
            self._keys[log.vkey.name, log.vkey.key_id] = _Known(
                verifier_for(log.vkey), log.origins, witness=None
            )
        for witness in self.witnesses:
            key = (witness.vkey.name, witness.vkey.key_id)
            known = self._keys.get(key)
            verifier = known.verifier if known else verifier_for(witness.vkey)
            origins = known.origins if known else ()
            self._keys[key] = _Known(verifier, origins, witness.name)

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

    def is_met(self, cosigners: Collection[str]) -> bool:
        """Whether these witnesses, by their names in the policy, make a quorum.

        Names that are not witnesses of the policy, group names too, do not count.
        """
        return self.quorum == quorum.NONE or self.quorum in quorum.witnessed(self, cosigners)

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
        # Time 0 is that of a subtree's signature, which does not say that this tree is the newest
        # (tlog-cosignature v1.1.0: signatures of checkpoints state a time).
        every = self._verify(signed)
        signatures = [(known, time) for known, time in every if time != 0]
        log_keys = _log_keys(signatures, found)
        stated = tuple((known.witness, time or 0) for known, time in signatures if known.witness)
        cosigners: dict[str, int] = {}
        for name, time in stated:
            cosigners[name] = max(time, cosigners.get(name, 0))
        if not log_keys:
            if _log_keys(every, found):
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
        signatures = self._verify(signed, old)
        if not _log_keys(signatures, origin):
            raise VerificationError(_by_others(signed))
        return tuple(Verified(known.verifier.vkey, time) for known, time in signatures)

    def _verify(
        self, signed: SignedCheckpoint, old: Iterable[VKey] = ()
    ) -> list[tuple[_Known, int | None]]:
        """The known keys' signatures, each of which must hold, and their times, in order."""
        origin = signed.checkpoint.origin
        before = {(key.name, key.key_id): key for key in self.log_keys(origin, old)} if old else {}
        found: list[tuple[_Known, int | None]] = []
        for line in signed.note.signatures:
            key = (line.name, line.key_id)
            known = self._keys.get(key)
            if known is None and key in before:
                known = _Known(verifier_for(before[key]), (origin,), witness=None)
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


def _log_keys(signatures: Iterable[tuple[_Known, int | None]], origin: str) -> tuple[VKey, ...]:
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


def parse_policy(data: bytes) -> Policy:
    """Parses a policy file of at most MAX_POLICY_SIZE bytes.

    Names and URLs are decoded as UTF-8 with surrogateescape: the file is octets, whose meaning must
    not depend on Unicode, and so each sequence of octets is exactly one string. Raises FormatError
    if the data breaks a rule of the spec; the message names the line, 1-based.
    """
    if len(data) > MAX_POLICY_SIZE:
        raise FormatError(f"policy: more than {MAX_POLICY_SIZE} bytes")
    if not data:
        raise FormatError("policy: empty (0 bytes)")
    if data.startswith(_MARKS):
        raise FormatError("policy: begins with a byte order mark: save it as UTF-8 without one")
    if bad := _BAD_OCTET.search(data):
        line = data.count(b"\n", 0, bad.start()) + 1
        what = f"octet {data[bad.start()]:#04x}"
        if data.startswith(b"\r\n", bad.start()):
            what = "ends with CR and LF: save the file with line ends of LF alone"
        raise FormatError(f"policy: line {line}: {what}")
    if not data.endswith(b"\n"):
        raise FormatError(
            "policy: the last line does not end with a newline: end it with one, unless the file "
            "was cut off"
        )
    parser = _Parser()
    for number, text in enumerate(data.decode("utf-8", ESCAPE).split("\n"), 1):
        try:
            parser.feed(_ITEM.findall(text), text)
        except FormatError as error:
            raise FormatError(f"policy: line {number}: {error}") from None
    if parser.quorum is None:
        raise FormatError("policy: no quorum line")
    return Policy(tuple(parser.logs), tuple(parser.witnesses), tuple(parser.groups), parser.quorum)


class _Parser:
    """Takes a policy file line by line; what a line may refer to has been fed before it."""

    def __init__(self) -> None:
        self.logs: list[PolicyLog] = []
        self.witnesses: list[PolicyWitness] = []
        self.groups: list[PolicyGroup] = []
        self.quorum: str | None = None
        self._rules = Rules()
        self._follows_log = False

    def feed(self, items: list[str], text: str) -> None:
        """Takes a line: its items, and its text, since an origin may hold spaces."""
        match items:
            case []:
                pass
            case [first, *_] if first.startswith("#"):
                pass
            case ["log", vkey, *url] if len(url) <= 1:
                log = PolicyLog(parse_vkey(vkey), url[0] if url else None)
                self._rules.add_log(log)
                self.logs.append(log)
            case ["origin", _, *_]:
                if not self._follows_log:
                    raise FormatError("an origin line that does not follow its log line")
                last = self.logs[-1]
                origin = text.strip(" \t").removeprefix("origin").strip(" \t")
                self.logs[-1] = replace(last, stated=(*last.stated, origin))
                self._rules.add_origin(self.logs[-1])
            case ["witness", name, vkey, *url] if len(url) <= 1:
                witness = PolicyWitness(name, parse_vkey(vkey), *url)
                self._rules.add_witness(witness)
                self.witnesses.append(witness)
            case ["group", name, threshold, *members]:
                group = PolicyGroup(name, _threshold(threshold, len(members)), tuple(members))
                self._rules.add_group(group)
                self.groups.append(group)
            case ["quorum", name]:
                if self.quorum is not None:
                    raise FormatError("a second quorum line")
                self._rules.set_quorum(name)
                self.quorum = name
            case ["log" | "origin" | "witness" | "group" | "quorum" as keyword, *_]:
                raise FormatError(f"wrong number of items after {keyword}")
            case _:
                raise FormatError("starts with none of log, origin, witness, group, quorum")
        if items and not items[0].startswith("#"):
            self._follows_log = items[0] in {"log", "origin"}


def _threshold(text: str, members: int) -> int:
    if text == "any":
        return 1
    if text == "all":
        return members
    return parse_decimal(text, "threshold")


def format_policy(policy: Policy) -> bytes:
    """Writes a policy file without comments, which `parse_policy` reads as an equal policy."""
    lines: list[str] = []
    for log in policy.logs:
        lines.append(f"log {log.vkey}{_suffix(log.url)}")
        lines += [f"origin {origin}" for origin in log.stated]
    lines += [f"witness {w.name} {w.vkey}{_suffix(w.url)}" for w in policy.witnesses]
    for group in policy.groups:
        count = len(group.members)
        words = {1: "any", count: "all"}
        threshold = words.get(group.threshold, str(group.threshold))
        lines.append(f"group {group.name} {threshold} {' '.join(group.members)}")
    lines += [f"quorum {policy.quorum}", ""]
    return "\n".join(lines).encode("utf-8", ESCAPE)


def _suffix(url: str | None) -> str:
    return "" if url is None else f" {url}"
