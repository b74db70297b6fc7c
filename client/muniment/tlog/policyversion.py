"""The versions of a trust policy over time, as a file: a policy chain.

It is a sequence of signed notes, one a version, the first version first. Each states its number,
its window, the hash of the version before, the root keys that may sign the next one, keys that no
longer count, and a tlog-policy.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final, Literal, NamedTuple, TypeAlias

from muniment.tlog.cosignature import MAX_TIMESTAMP, verifier_for
from muniment.tlog.encoding import (
    FormatError,
    VerificationError,
    format_base64,
    parse_decimal,
    parse_hash,
    split_lines,
)
from muniment.tlog.note import (
    ED25519,
    UnverifiedNote,
    VKey,
    parse_note,
    parse_vkey,
    verify_note,
)
from muniment.tlog.policyjudge import Policy
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


class KeyRevocation(NamedTuple):
    """A key that no longer counts, from a time on in Unix seconds; see `policychain` for how."""

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
    revoked: tuple[KeyRevocation, ...]
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
    revoked: list[KeyRevocation] = []
    for line in lines:
        match = _LINE.fullmatch(line)
        if match is None:
            raise FormatError(f"{line[:40]!a} where a compromised or retired line may stand")
        word: Word = "compromised" if match[1] == "compromised" else "retired"
        since = parse_decimal(match[3], word, most=MAX_TIMESTAMP)
        revoked.append(KeyRevocation(word, parse_vkey(match[2], word), since))
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
