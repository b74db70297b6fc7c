"""What a gateway withholds from the log, with nonces that nobody can guess or make again.

The nonces are in the addenda and nowhere else: whoever deletes an addendum has erased it.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from msgspec.structs import replace

from muniment.gateway.pseudonyms import Pseudonyms
from muniment.records.addenda import (
    ARGUMENTS,
    SIGNED,
    NonJsonContents,
    Patterns,
    Withheld,
    named_digests,
    take_out,
)
from muniment.records.batchbody import MAX_ADDENDA_BYTES
from muniment.records.canonical import parse_json
from muniment.records.codec import RecordError, parse_record
from muniment.records.commitments import (
    MAX_ADDENDUM,
    NONCE_SIZE,
    addendum,
    opaque_addendum,
    read_addendum,
)
from muniment.records.kinds import Decision, Edge
from muniment.records.plainvalue import plain_members
from muniment.records.preparation import Preparer, RecordInput
from muniment.records.submission import decision_of_evaluation
from muniment.tlog.encoding import FormatError

WITHHELD_AS_A_RULE: Final = ("/request/context", "/request/*/properties", "/response/context")
"""Patterns for what AuthZEN leaves open, which is where personal data is."""

RESULT: Final = "/outputs/result"
"""Where the outcome of a governed call has the commitment to its result."""

KEPT_AS_A_RULE: Final = (*WITHHELD_AS_A_RULE, RESULT)
"""What a gateway withholds that is told to, and not what: results of governed calls included."""

MAX_INPUT: Final = MAX_ADDENDA_BYTES + 1024 * 1024
"""Most bytes of one decision as JSON text, what is withheld included."""

Keep: TypeAlias = Literal["log", "gateway"]
"""Who keeps addenda: the log, to which they travel with the records, or the gateway's spool."""

Addenda: TypeAlias = Mapping[int, Sequence[bytes]]
"""Addenda of some records, by the number of the record from 0; most have none."""

NO_ADDENDA: Final[Addenda] = MappingProxyType({})


class Prepared(NamedTuple):
    """Records as they are logged, and their addenda."""

    entries: list[bytes]
    addenda: Addenda = NO_ADDENDA


def make_addendum(value: Any) -> bytes:
    """Makes an addendum with a nonce of its own, of a JSON value, or of content that is `bytes`.

    A record names it by its SHA-256, see `commitment_of`. Raises FormatError if the value has no
    canonical JSON, or the addendum is longer than 16 MiB.
    """
    nonce = new_nonce("")
    data = opaque_addendum(nonce, value) if isinstance(value, bytes) else addendum(nonce, value)
    if len(data) > MAX_ADDENDUM:
        raise FormatError(f"an addendum of {len(data)} bytes; at most {MAX_ADDENDUM}")
    return data


def withhold(decision: Decision, patterns: Iterable[str] = WITHHELD_AS_A_RULE) -> Withheld:
    """Takes members out of a decision; withhold first, then sign, submit or prove.

    Raises FormatError if a pattern is no pointer, names what may not be withheld or an element of a
    list; if the decision is signed, or a value has no canonical JSON or is longer than 16 MiB.
    Names the pattern or pointer.

    Args:
        decision: The decision; it may withhold members already.
        patterns: JSON pointers into the record, in which a token ``*`` is any member (or element)
            that may be withheld. Of two matches, one inside the other, the outer one is taken. A
            pattern without a match takes nothing.
    """
    return take_out(decision, patterns, new_nonce)


def new_nonce(_pointer: str = "") -> str:
    """A random nonce."""
    return secrets.token_hex(NONCE_SIZE)


@dataclass(frozen=True, slots=True)
class GatewayWithholding:
    """What one gateway withholds, and who keeps it. Make one with ``of``."""

    keep: Keep | None
    """None when there are pseudonyms, and nothing is withheld."""
    patterns: Patterns
    keeps_arguments: bool
    """Whether governed calls have their arguments in the decision, withheld as a whole."""
    keeps_results: bool
    pseudonyms: Pseudonyms | None

    @classmethod
    def of(
        cls,
        patterns: Iterable[str] | None,
        keep: Keep | None,
        pseudonyms: Mapping[str, Path | str] | None = None,
    ) -> "GatewayWithholding | None":
        """Reads a gateway's options; None when none is given.

        Raises:
            FormatError: If a pattern is not valid.
            ValueError, TypeError: If ``keep`` is something else, the patterns are one text, or
                something else than an id shall have a pseudonym.
            MunimentError: If a pseudonyms' key cannot be had.
        """
        if patterns is None and keep is None and not pseudonyms:
            return None
        if keep not in (None, "log", "gateway"):
            raise ValueError(f"keep: expected 'log' or 'gateway', got {keep!a}")
        if isinstance(patterns, str):
            raise TypeError("withhold: expected several patterns, got one text")
        given: tuple[str, ...] = () if keep is None else KEPT_AS_A_RULE
        if patterns is not None:
            given = tuple(patterns)
        found = Patterns(one for one in given if one != RESULT)
        keep = keep or (None if patterns is None else "log")
        return cls(keep, found, found.cover(ARGUMENTS), RESULT in given, _pseudonyms(pseudonyms))

    def take(self, record: RecordInput) -> tuple[RecordInput, list[bytes]]:
        """Takes out of a decision what is withheld; other records stay, but for pseudonyms.

        Raises FormatError as ``withhold``, or if the record is text and no JSON.
        """
        if self.pseudonyms is not None and isinstance(record, Decision | Edge):
            record = plain_members(record)
        contents = NonJsonContents()
        if isinstance(record, Decision):
            members = {
                "request": contents.copied(record.request, "request"),
                "response": contents.copied(record.response, "response"),
                "addenda": record.addenda,
                "kept": record.kept,
            }
            addenda = self._take_out(members, contents=contents)
            if not addenda:
                return record, []
            if record.signatures is not None:
                raise FormatError(SIGNED)
            return replace(record, **members), [*addenda.values()]
        if not isinstance(record, str | bytes | Mapping):
            return record, []
        members = _members(record, contents)
        changed = self.pseudonyms is not None and self.pseudonyms.replace(members)
        is_decision = members.get("kind") == "decision"
        addenda = self._take_out(members, contents=contents) if is_decision else {}
        if not addenda and not changed:
            return record, []
        if members.get("addenda") is None:
            members.pop("addenda", None)
        if members.get("signatures") is not None:
            raise FormatError(SIGNED)
        return members, [*addenda.values()]

    def take_call(self, members: dict[str, Any], arguments: Sequence[bytes]) -> list[bytes]:
        """As ``take``, of the JSON of a governed call's decision, in place.

        Its ``arguments`` are taken out already; their addendum is kept, if there is one here.
        """
        if self.pseudonyms is not None:
            self.pseudonyms.replace(members)
        before = {sha256(one).hexdigest(): one for one in arguments}
        addenda = [*arguments, *self._take_out(members, before).values()]
        if not members["addenda"]:
            del members["addenda"]
        return addenda

    def _take_out(
        self,
        members: dict[str, Any],
        before: Mapping[str, bytes] = MappingProxyType({}),
        contents: NonJsonContents | None = None,
    ) -> dict[str, bytes]:
        """As ``Patterns.take_out``; notes that the log keeps the addenda if it gets all of them."""
        addenda = self.patterns.take_out(members, new_nonce, contents)
        named = (members["addenda"] or {}).values()
        if self.keep == "log" and named and all(one in addenda or one in before for one in named):
            members["kept"] = "log"
        return addenda


def _pseudonyms(keys: Mapping[str, Path | str] | None) -> Pseudonyms | None:
    return Pseudonyms(keys) if keys else None


def prepare(
    preparer: Preparer,
    withholding: GatewayWithholding | None,
    records: Iterable[RecordInput],
    given: Iterable[bytes] = (),
) -> Prepared:
    """Completes and checks records, without what is withheld; ``given`` are addenda besides that.

    Raises:
        RecordError: For the first record that is none, or of which too much is withheld.
        FormatError: If a given addendum is none, or no record names it; with its number.
    """
    given = tuple(given)
    if withholding is None and not given:
        return Prepared(preparer.prepare(records))
    found: dict[int, list[bytes]] = {}
    if withholding is not None:
        records = list(records)
        for number, record in enumerate(records):
            try:
                records[number], addenda = withholding.take(record)
            except FormatError as error:
                raise RecordError(number, str(error)) from None
            if addenda:
                found[number] = addenda
    entries = preparer.prepare(records)
    if given:
        _assign(entries, given, found)
    for number, addenda in found.items():
        if sum(len(one) + 4 for one in addenda) > MAX_ADDENDA_BYTES:
            raise RecordError(
                number, f"withholds more than {MAX_ADDENDA_BYTES} bytes, which no batch can bring"
            )
    return Prepared(entries, found or NO_ADDENDA)


def _assign(
    entries: Sequence[bytes], given: Iterable[bytes], found: dict[int, list[bytes]]
) -> None:
    """Finds for addenda the records that name them."""
    names: dict[str, int] = {}
    for number, entry in enumerate(entries):
        for digest in named_digests(parse_record(entry)).values():
            names.setdefault(digest, number)
    for number, data in enumerate(given):
        read_addendum(data, f"addendum {number}")
        digest = sha256(data).hexdigest()
        if digest not in names:
            raise FormatError(f"addendum {number}: no record names {digest}")
        found.setdefault(names[digest], []).append(data)


def _members(record: str | bytes | Mapping[str, Any], contents: NonJsonContents) -> dict[str, Any]:
    """The members of a record, a decision's request and response as copies without contents."""
    if isinstance(record, Mapping):
        members = dict(record)
    else:
        data = record.encode() if isinstance(record, str) else record
        members = parse_json(data, "record", most=MAX_INPUT)
        if not isinstance(members, dict):
            return {}
    if "kind" not in members:
        try:
            members = decision_of_evaluation(members)
        except FormatError:
            return {}  # for the preparer to explain
    if members.get("kind") == "decision":
        for name in ("request", "response"):
            members[name] = contents.copied(members.get(name), name)
    return members
