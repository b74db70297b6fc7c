"""C2SP tlog-policy ("Policy file syntax and structure"): the parts of a policy, and their rules.

`policy` puts them together; import them from there.
"""

import re
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from muniment.tlog.encoding import FormatError
from muniment.tlog.note import COSIGNATURE_ED25519, COSIGNATURE_MLDSA44, ED25519, VKey
from muniment.tlog.quorum import NONE

MAX_LOGS: Final = 256
"""Most logs in a policy; the spec recommends to support 32."""

MAX_WITNESSES: Final = 256
"""Most witnesses in a policy; the spec recommends to support 32."""

MAX_GROUPS: Final = 256
"""Most groups in a policy; the spec recommends to support 32."""

ESCAPE: Final = "surrogateescape"
"""How to decode and encode the UTF-8 of a policy file.

Octets above 0x7F are opaque, so those that are not UTF-8 must survive: as lone surrogates.
"""

_LOG_TYPES: Final = frozenset({ED25519, COSIGNATURE_MLDSA44})
_WITNESS_TYPES: Final = frozenset({COSIGNATURE_ED25519, COSIGNATURE_MLDSA44})
_NOT_IN_ITEM: Final = re.compile(r"[\x00-\x20\x7f]")
_NOT_IN_ORIGIN: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class PolicyLog(Struct, frozen=True):
    """A trusted log: its key, where to reach it, and the origins that `origin` lines give it."""

    vkey: VKey
    url: str | None = None
    stated: tuple[str, ...] = ()

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins of the logs that the key signs: the stated ones, else the key's name."""
        return self.stated or (self.vkey.name,)


class PolicyWitness(Struct, frozen=True):
    """A known witness: its name inside the policy, its key, and where to reach it."""

    name: str
    vkey: VKey
    url: str | None = None


class PolicyGroup(Struct, frozen=True):
    """A group: it has witnessed what at least `threshold` of its members have witnessed."""

    name: str
    threshold: int
    members: tuple[str, ...]


def show(name: str) -> str:
    r"""A name, URL or comment of a policy as text that any stream takes: odd octets as ``\xNN``."""
    return name.encode("utf-8", ESCAPE).decode("utf-8", "backslashreplace")


class Rules:
    """The rules on what may follow what precedes it; one instance sees one policy, in order."""

    def __init__(self) -> None:
        self._log_keys: set[bytes] = set()
        self._witness_keys: set[bytes] = set()
        self._vkeys: dict[tuple[str, int], VKey] = {}
        self._groups = 0
        self._origins = 0
        self._defined: set[str] = set()
        self._members: set[str] = set()

    def add_log(self, log: PolicyLog) -> None:
        """Takes the next log; FormatError if it breaks a rule."""
        if log.vkey.algorithm not in _LOG_TYPES:
            raise FormatError(f"log key of signature type {log.vkey.algorithm:#04x}")
        self._add_key(log.vkey, self._log_keys, "log", MAX_LOGS)
        _check_item(log.url, "URL")
        for count in range(len(log.stated)):
            self.add_origin(replace(log, stated=log.stated[: count + 1]))

    def add_origin(self, log: PolicyLog) -> None:
        """Takes the newest origin that is stated of the last log; FormatError if it may not be."""
        *before, origin = log.stated
        self._origins += 1
        if self._origins > MAX_LOGS:
            raise FormatError(f"more than {MAX_LOGS} origin lines")
        if origin in before:
            raise FormatError(f"{show(origin)} is an origin of this log already")
        if not origin or origin.strip(" \t") != origin or _NOT_IN_ORIGIN.search(origin):
            raise FormatError("origin cannot stand in a policy file")

    def add_witness(self, witness: PolicyWitness) -> None:
        """Takes the next witness; FormatError if it breaks a rule."""
        self._define(witness.name)
        if witness.vkey.algorithm not in _WITNESS_TYPES:
            raise FormatError(f"witness key of signature type {witness.vkey.algorithm:#04x}")
        self._add_key(witness.vkey, self._witness_keys, "witness", MAX_WITNESSES)
        _check_item(witness.url, "URL")

    def add_group(self, group: PolicyGroup) -> None:
        """Takes the next group; FormatError if it breaks a rule or names what has not come yet."""
        self._groups += 1
        if self._groups > MAX_GROUPS:
            raise FormatError(f"more than {MAX_GROUPS} groups")
        if not group.members:
            raise FormatError(f"group {show(group.name)} has no members")
        if not 1 <= group.threshold <= len(group.members):
            raise FormatError(
                f"threshold {group.threshold} of group {show(group.name)} is not between 1 and "
                f"{len(group.members)}"
            )
        for member in group.members:
            if member == NONE:
                raise FormatError("none cannot be a member")
            if member not in self._defined:
                raise FormatError(f"member {show(member)} is not defined before")
            if member in self._members:
                raise FormatError(f"{show(member)} is a member already")
            self._members.add(member)
        self._define(group.name)

    def set_quorum(self, name: str) -> None:
        """Takes the quorum; FormatError if nothing before has this name."""
        if name != NONE and name not in self._defined:
            raise FormatError(f"quorum {show(name)} is not defined before")

    def _define(self, name: str) -> None:
        _check_item(name, "name")
        if name == NONE:
            raise FormatError("none cannot be defined")
        if name in self._defined:
            raise FormatError(f"{show(name)} is defined already")
        self._defined.add(name)

    def _add_key(self, vkey: VKey, publics: set[bytes], what: str, most: int) -> None:
        if vkey.public in publics:
            raise FormatError(f"{what} key {vkey.name} is there already")
        publics.add(vkey.public)
        if len(publics) > most:
            raise FormatError(f"more than {most} {what} lines")
        # Key IDs are short enough to be collided on purpose; then one key would poison the other.
        if self._vkeys.setdefault((vkey.name, vkey.key_id), vkey) != vkey:
            raise FormatError(f"another key {vkey.name} has the ID {vkey.key_id:08x}")


def _check_item(item: str | None, what: str) -> None:
    """Checks that an item comes back when it is written to a policy file and read again."""
    if item is None:
        return
    try:
        same = item.encode("utf-8", ESCAPE).decode("utf-8", ESCAPE) == item
    except UnicodeEncodeError:
        same = False
    if not item or not same or _NOT_IN_ITEM.search(item):
        raise FormatError(f"{what} cannot stand in a policy file")
