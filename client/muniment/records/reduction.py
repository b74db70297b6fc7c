r"""Denials that cannot be recorded as they are, reduced to what can be.

What is too long, or is no canonical JSON, is left out or cut short, and noted by its path in
``denial.reduced``: its size, a commitment to it, and where it is nothing that JSON has a form for,
its type. The rest stays: who asked to do what to what, and the codes.

Size and commitment are those of the canonical JSON of the value in its *wide form*, in which also
numbers and strings have a spelling that I-JSON does not have:

- an integer beyond ±(2**53 - 1), and a whole float there, is a string of its decimal digits;
- a number that is not finite is the string ``NaN``, ``Infinity`` or ``-Infinity``;
- a lone surrogate in a string is its escape of six characters, e.g. ``\udcff``.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias
from urllib.parse import quote

from msgspec import ValidationError, convert

from muniment.records.addenda import Patterns, copied_json
from muniment.records.canonical import (
    MAX_DEPTH,
    MAX_SAFE_INTEGER,
    check_canonical,
    encode_canonical,
)
from muniment.records.kinds import Denial
from muniment.records.members import MAX_ID, AddendumDigest, DenialCode, Pointer
from muniment.records.plainvalue import plain_value
from muniment.records.submission import is_traceparent
from muniment.tlog.encoding import FormatError

Commit: TypeAlias = Callable[[str, Any], str]
"""Makes the commitment to a value that is left out, of its path and its wide form."""

MOST_KEPT: Final = 4096
"""Longest canonical JSON, in bytes, of one value that stays."""

MOST_ROOM: Final = 24 * 1024
"""Bytes of canonical JSON that stay in all: with all notes they are less than a record may have."""

MOST_NOTES: Final = 16
"""Members of one object that are noted one by one; of more than these, the object is noted."""

MOST_VALUES: Final = 20_000
"""Values in one that is looked at; of what has more, only the type is noted."""

MOST_TEXT: Final = 256
"""Characters that stay of a string that is cut short."""

_ID: Final = re.compile(rf"[!-~]{{1,{MAX_ID}}}")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_LEVELS: Final = 8  # of arrays and objects that a record has around a value of its own
_OWN: Final = frozenset(
    {
        *("v", "kind", "id", "time", "producer", "execution"),
        *("request", "response", "expected", "denial", "addenda", "kept"),
    }
)


def reduce_decision(
    members: Mapping[str, Any],
    id_: str,
    codes: tuple[DenialCode, ...],
    commit: Commit | None,
    private: Patterns | None = None,
) -> dict[str, Any]:
    """Makes a decision of false of one that cannot be recorded as it is.

    Returns members of a valid record without `v`, `time` and `producer`; `execution` only where it
    can be.

    Args:
        members: The decision's members, whatever they are.
        id_: The id of the record; `record_id` tells it of the members.
        codes: Why it is false.
        commit: Makes the commitments; None for none, where no salt is kept.
        private: What is left out even if it fits.
    """
    reducer = _Reducer(commit)
    if private is not None:
        members = dict(members)
        for name in ("request", "response"):
            members[name] = copied_json(members.get(name))
        for at, value in private.pop(members):
            reducer.note_private(at, value)
    reduced: dict[str, Any] = {
        "kind": "decision",
        "id": id_,
        "request": reducer.request(members.get("request")),
        "response": reducer.response(members.get("response")),
    }
    stated, execution = members.get("id"), members.get("execution")
    if stated not in (None, id_):
        reducer.note("id", stated)
    if record_id(execution) is not None:
        reduced["execution"] = record_id(execution)
    elif execution is not None:
        reducer.note("execution", execution)
    for pointer, digest in _addenda(members).items():
        reducer.note_withheld(pointer, digest)
    for name, value in members.items():
        if name == "traceparent" and is_traceparent(value):
            reduced[name] = value
        elif name not in _OWN and value is not None:
            reducer.note(_step("", name), value)
    denial: dict[str, Any] = {"codes": list(codes)}
    if reducer.notes:
        denial["reduced"] = reducer.notes
    return {**reduced, "denial": denial}


def record_id(value: Any) -> str | None:
    """A value as the id of a record or a run; None if it cannot be one."""
    return str.__str__(value) if isinstance(value, str) and _ID.fullmatch(value) else None


def stated_codes(members: Mapping[str, Any]) -> tuple[DenialCode, ...]:
    """The denial codes that a decision states, as far as they are codes; none if it states none."""
    try:
        return tuple(dict.fromkeys(convert(members.get("denial"), Denial).codes))
    except ValidationError:
        return ()


def _addenda(members: Mapping[str, Any]) -> dict[str, str]:
    """What a decision withholds, as far as it says so as it should."""
    try:
        return convert(members.get("addenda") or {}, dict[Pointer, AddendumDigest])
    except ValidationError:
        return {}


class _Reducer:
    """Keeps what fits of one decision, and notes the rest."""

    def __init__(self, commit: Commit | None) -> None:
        self.notes: dict[str, dict[str, Any]] = {}
        self._commit = commit
        self._room = MOST_ROOM

    def request(self, value: Any) -> dict[str, Any]:
        path = "request"
        found = self._members(path, value)
        return {
            "subject": self._entity(f"{path}.subject", found.pop("subject", None), "type", "id"),
            "action": self._entity(f"{path}.action", found.pop("action", None), "name"),
            "resource": self._entity(f"{path}.resource", found.pop("resource", None), "type", "id"),
            **self._context(f"{path}.context", found.pop("context", None), "context"),
            **self._object(path, found),
        }

    def response(self, value: Any) -> dict[str, Any]:
        path = "response"
        found = {} if value is None else self._members(path, value)  # nobody may have answered
        found.pop("decision", None)
        return {
            "decision": False,
            **self._context(f"{path}.context", found.pop("context", None), "context"),
            **self._object(path, found),
        }

    def note(self, path: str, value: Any) -> None:
        """Notes what is left out."""
        note: dict[str, Any] = {}
        try:
            wide = _wide(value)
            note["size"] = len(encode_canonical(wide))
            if self._commit is not None:
                note["digest"] = self._commit(path, wide)
        except (RecursionError, ValueError):
            kind = type(value).__name__
            note = {"type": kind if _ID.fullmatch(kind) else "object"}
        self.notes[path] = note

    def note_withheld(self, pointer: str, digest: str) -> None:
        """Notes what is withheld already: its addendum is that of the commitment."""
        if len(self.notes) < MOST_NOTES:
            path = ""
            for name in pointer.removeprefix("/").split("/"):
                path = _step(path, name)
            self.notes[path] = {"digest": f"sha256:{digest}"}

    def note_private(self, at: tuple[str, ...], value: Any) -> None:
        """Notes what is left out because not everybody may see it; the first MOST_NOTES of it."""
        if len(self.notes) < MOST_NOTES:
            path = ""
            for name in at:
                path = _step(path, name)
            self.note(path, value)

    def _members(self, path: str, value: Any) -> dict[str, Any]:
        """The members of an object; none, with a note, of something else."""
        if isinstance(value, Mapping):
            return dict(value)
        self._note_absent(path, value)
        return {}

    def _note_absent(self, path: str, value: Any) -> None:
        if value is None:
            self.notes[path] = {"type": "missing"}
        else:
            self.note(path, value)

    def _entity(self, path: str, value: Any, *required: str) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            self._note_absent(path, value)
            return dict.fromkeys(required, "")
        found = dict(value)
        kept = {name: self._text(f"{path}.{name}", found.pop(name, None)) for name in required}
        properties = self._context(f"{path}.properties", found.pop("properties", None))
        return {**kept, **properties, **self._object(path, found)}

    def _text(self, path: str, value: Any) -> str:
        """A string that has to be there, cut short if need be."""
        if isinstance(value, str):
            if self._fits(value):
                return str.__str__(value)
            self.note(path, value)
            return _SURROGATE.sub("\ufffd", value[:MOST_TEXT])
        self._note_absent(path, value)
        return ""

    def _context(self, path: str, value: Any, name: str = "properties") -> dict[str, Any]:
        """An object that may be absent, as the member of this name."""
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self.note(path, value)
            return {}
        return {name: self._object(path, dict(value))}

    def _object(self, path: str, value: dict[Any, Any]) -> dict[str, Any]:
        """The members of an object that fit."""
        kept: dict[str, Any] = {}
        others: dict[Any, Any] = {}
        for name, one in value.items():
            if isinstance(name, str) and self._fits({name: one}):
                kept[str.__str__(name)] = plain_value(one)
            else:
                others[name] = one
        if len(others) > MOST_NOTES or not all(isinstance(name, str) for name in others):
            self.note(path, others)
        else:
            for name, one in others.items():
                self.note(_step(path, name), one)
        return kept

    def _fits(self, value: Any) -> bool:
        """Whether a value is canonical JSON, and short; then it takes its room."""
        if not _is_countable(value):
            return False
        try:
            data = encode_canonical(plain_value(value, depth=_LEVELS))
            if len(data) > min(MOST_KEPT, self._room):
                return False
            check_canonical(data, "value")
        except (FormatError, RecursionError):
            return False
        self._room -= len(data)
        return True


def _step(path: str, name: Any) -> str:
    """The path of a member, in visible ASCII and no longer than a name may be."""
    text = quote(str(name)[:MAX_ID], safe="", errors="replace")
    return f"{path}.{text}"[:MAX_ID].lstrip(".") or "unnamed"


def _is_countable(value: Any) -> bool:
    """Whether a value has few parts; what contains itself has not."""
    waiting, count = [value], 0
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            waiting += one.values()
            count += len(one)
        elif isinstance(one, list | tuple):
            waiting += one
            count += len(one)
        if count > MOST_VALUES:
            return False
    return True


def _wide(value: Any) -> Any:
    """The wide form of a value.

    Raises FormatError if JSON has no form for it, or it has too many parts.
    """
    if not _is_countable(value):
        raise FormatError("too many parts")
    return _widened(plain_value(value), 0)


def _widened(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise FormatError(f"more than {MAX_DEPTH} levels deep")
    if isinstance(value, str):
        return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", value)
    if isinstance(value, float):
        if not math.isfinite(value):
            return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
        if abs(value) > MAX_SAFE_INTEGER and value == int(value):
            return str(int(value))
    elif isinstance(value, int) and not isinstance(value, bool):
        return value if abs(value) <= MAX_SAFE_INTEGER else str(value)
    elif isinstance(value, list):
        return [_widened(one, depth + 1) for one in value]
    elif isinstance(value, dict):
        return {_widened(name, 0): _widened(one, depth + 1) for name, one in value.items()}
    return value
