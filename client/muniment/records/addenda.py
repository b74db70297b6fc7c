"""Members that a decision withholds: it holds a digest of each, and who is shown one can check it.

A log never forgets, so what may have to be forgotten stays out of the leaf. `take_out` takes such
members out of a decision and puts into its member `addenda`, for the JSON pointer (RFC 6901) of
each, the SHA-256 of its *addendum*: ``{"nonce": …, "value": …}``, see `commitments`. Whoever is
given addenda puts them back with `disclose`. As in the C2SP draft tlog-addenda, content is named
by its digest and blinded, and is erased by no longer giving it out; the draft's binary suffix of a
leaf is not used, since our leaves are canonical JSON.

What relates records to each other stays: who asks, for which action on what, the answer, the codes,
the run, the artifact. Without these no lineage could be traced, and no permit verified.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final, NamedTuple

from msgspec import UNSET, Struct
from msgspec.structs import replace

from muniment.records.commitments import addendum, opaque_addendum, read_addendum
from muniment.records.kinds import Decision, Outcome, Record
from muniment.tlog.encoding import FormatError, VerificationError

ARGUMENTS: Final = "/request/context/arguments"
"""Where a decision on a call has the call's arguments."""

SIGNED: Final = "signatures: made over what would be withheld; withhold first, then sign"
"""Why a signed decision cannot withhold more."""

_ABSENT: Final = object()
_BYTES: Final = (bytes, bytearray, memoryview)
_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_SHA256: Final = "sha256:"
_POINTER: Final = re.compile(r"(?:/(?:[^~/]|~[01])*)+")

_KEPT: Final = frozenset(
    {
        ("request",),
        ("request", "subject"),
        ("request", "subject", "type"),
        ("request", "subject", "id"),
        ("request", "action"),
        ("request", "action", "name"),
        ("request", "resource"),
        ("request", "resource", "type"),
        ("request", "resource", "id"),
        ("response",),
        ("response", "decision"),
    }
)

_Tokens = tuple[str, ...]


class Withheld(NamedTuple):
    """A decision without the members that were taken out of it, and these."""

    decision: Decision
    """What is logged."""
    addenda: dict[str, bytes]
    """By SHA-256, in hexadecimal digits: what only those get who may see it."""


class Disclosure(NamedTuple):
    """What addenda tell of a decision."""

    decision: Decision
    """The decision with the disclosed members in their places; not the bytes that are logged."""
    disclosed: dict[str, Any]
    """The value for each pointer of which there was an addendum; bytes of an opaque one."""
    withheld: tuple[str, ...]
    """The other pointers."""


def take_out(decision: Decision, patterns: Iterable[str], nonce: Callable[[str], str]) -> Withheld:
    """Takes members out of a decision, and all bytes, which JSON cannot hold (opaque addenda).

    Raises FormatError if a pattern is no pointer, names what may not be withheld or an element of a
    list; if the decision is signed, or a value has no canonical JSON or is longer than MAX_ADDENDUM
    bytes. Names the pattern or pointer.

    Args:
        decision: The decision; it may withhold members already.
        patterns: JSON pointers into the record, in which a token ``*`` is any member (or element)
            that may be withheld. Of two matches, one inside the other, the outer one is taken. A
            pattern without a match takes nothing.
        nonce: Makes the nonce for a pointer, 32 lower-case hexadecimal digits, never twice the
            same.
    """
    contents = NonJsonContents()
    members: dict[str, Any] = {
        "request": contents.copied(decision.request, "request"),
        "response": contents.copied(decision.response, "response"),
        "addenda": decision.addenda,
    }
    addenda = Patterns(patterns).take_out(members, nonce, contents)
    if addenda and decision.signatures is not None:
        raise FormatError(SIGNED)
    logged = replace(decision, **members)
    check_addenda(logged)
    return Withheld(logged, addenda)


class Patterns:
    """Patterns of what to withhold, see `take_out`; FormatError if one is not valid."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._wanted = sorted(((tokens_of(pattern), pattern) for pattern in patterns), key=_depth)
        for tokens, pattern in self._wanted:
            if "*" not in tokens:
                _check_may_withhold(tokens, pattern)

    def cover(self, pointer: str) -> bool:
        """Whether a member, and with it all that is in it, is withheld wherever it is there."""
        tokens = tokens_of(pointer)
        return any(
            len(pattern) <= len(tokens)
            and tokens[: len(pattern)] not in _KEPT
            and all(one in ("*", name) for one, name in zip(pattern, tokens, strict=False))
            for pattern, _ in self._wanted
        )

    def pop(self, members: Any, withheld: Iterable[str] = ()) -> Iterator[tuple[_Tokens, Any]]:
        """Takes what is to be withheld out of the JSON of a decision, in place.

        ``members`` has a `request` and a `response`: dictionaries and lists of the caller's own. Of
        a member with ``withheld`` pointers in it the others are taken one by one. Gives the names
        on the way to each member, and the value; of an element of a list null is left.
        """
        withheld = list(withheld)
        for tokens, _ in self._wanted:
            for found in [*_matches(members, tokens, ())]:
                for at in _without_withheld(members, found, withheld):
                    parent, value = _member(members, at[:-1]), _member(members, at)
                    if isinstance(parent, dict):
                        del parent[at[-1]]
                    else:
                        parent[int(at[-1])] = None
                    yield at, value

    def take_out(
        self,
        members: dict[str, Any],
        nonce: Callable[[str], str],
        contents: "NonJsonContents | None" = None,
    ) -> dict[str, bytes]:
        """As `pop`, for a decision: puts the digests into its `addenda`, and returns the addenda.

        ``contents`` are withheld, whatever the patterns say. Raises FormatError as the function
        `take_out`.
        """
        digests, addenda = dict(members.get("addenda") or {}), dict[str, bytes]()
        for tokens, content in contents.found if contents is not None else ():
            pointer = pointer_of(tokens)
            _check_may_withhold(tokens, pointer)
            data = opaque_addendum(nonce(pointer), content)
            read_addendum(data, pointer)
            digest = sha256(data).hexdigest()
            digests[pointer], addenda[digest] = digest, data
        for at, value in self.pop(members, digests):
            pointer = pointer_of(at)
            if not isinstance(_member(members, at[:-1]), dict):
                raise FormatError(f"{pointer}: an element of a list; withhold the whole list")
            try:
                data = addendum(nonce(pointer), value)
            except FormatError as error:
                raise FormatError(f"{pointer}: {error}") from None
            read_addendum(data, pointer)  # whoever is given it has to be able to
            digest = sha256(data).hexdigest()
            digests[pointer], addenda[digest] = digest, data
        members["addenda"] = digests or None
        return addenda


class NonJsonContents:
    """Content that is no JSON, taken out of a decision as it is copied."""

    def __init__(self) -> None:
        self.found: list[tuple[_Tokens, bytes]] = []
        """Where each was, by the names on the way to it."""

    def copied(self, value: Any, *at: str) -> Any:
        """As `copied_json`, without members that are bytes.

        Raises FormatError about bytes that are an element of a list.
        """
        if isinstance(value, Mapping):
            members: dict[str, Any] = {}
            for name, item in value.items():
                if type(item) in _PLAIN:
                    members[name] = item
                elif isinstance(item, _BYTES):
                    self.found.append(((*at, name), bytes(item)))
                else:
                    members[name] = self.copied(item, *at, name)
            return members
        if isinstance(value, list | tuple):
            if any(isinstance(item, _BYTES) for item in value):
                raise FormatError(
                    f"{pointer_of(at)}: bytes in a list; make them members of objects"
                )
            return [self.copied(item, *at, str(number)) for number, item in enumerate(value)]
        return value


def _without_withheld(members: Any, found: _Tokens, withheld: Sequence[str]) -> list[_Tokens]:
    """A member that is to be withheld; its members, if something in it is withheld already."""
    inside = f"{pointer_of(found)}/"
    if not any(pointer.startswith(inside) for pointer in withheld):
        return [found]
    value = _member(members, found)
    names: Iterable[str] = value if isinstance(value, dict) else map(str, range(_length(value)))
    parts: list[_Tokens] = []
    for name in names:
        parts += _without_withheld(members, (*found, name), withheld)
    return parts


def disclose(decision: Decision, addenda: Iterable[bytes]) -> Disclosure:
    """Puts members back into a decision that was verified, and says which are still withheld.

    Args:
        decision: The decision as it is logged.
        addenda: Some of its addenda, in any order.

    Raises:
        VerificationError: If the decision names none with an addendum's digest; tells its number,
            from 0.
        FormatError: If one is longer than MAX_ADDENDUM bytes or no addendum, or the decision's own
            pointers are not valid.
    """
    check_addenda(decision)
    pointers = {digest: pointer for pointer, digest in (decision.addenda or {}).items()}
    members = {"request": copied_json(decision.request), "response": copied_json(decision.response)}
    disclosed: dict[str, Any] = {}
    for number, data in enumerate(addenda):
        digest = sha256(data).hexdigest()
        if (pointer := pointers.get(digest)) is None:
            raise VerificationError(f"addendum {number}: the decision names none with {digest}")
        value = disclosed[pointer] = read_addendum(data, f"addendum {number}")
        if isinstance(value, bytes):
            continue  # its place is in no JSON: the decision goes on naming it
        tokens = tokens_of(pointer)
        _member(members, tokens[:-1])[tokens[-1]] = value
    named = (decision.addenda or {}).items()
    rest = {at: one for at, one in named if isinstance(disclosed.get(at, b""), bytes)}
    kept = decision.kept if rest else None
    whole = replace(decision, **members, addenda=rest or None, kept=kept)
    return Disclosure(whole, disclosed, tuple([at for at, _ in named if at not in disclosed]))


def named_digests(record: Record) -> dict[str, str]:
    """The digests, in hexadecimal digits, of the addenda that a record names, by JSON pointer.

    Those are a decision's `addenda`, and all salted commitments: of an outcome's `inputs` and
    `outputs`, and of what a reduced denial leaves out. A bare digest of an outcome is among them;
    no addendum has it.
    """
    found: dict[str, str] = {}
    commitments: dict[str, str | None] = {}
    if isinstance(record, Decision):
        found.update(record.addenda or {})
        reduced = (record.denial.reduced if record.denial is not None else None) or {}
        commitments |= {
            f"/denial/reduced/{escape_token(path)}/digest": one.digest
            for path, one in reduced.items()
        }
    elif isinstance(record, Outcome):
        for member, digests in (("inputs", record.inputs), ("outputs", record.outputs)):
            commitments |= {
                f"/{member}/{escape_token(name)}": one for name, one in (digests or {}).items()
            }
    for pointer, digest in commitments.items():
        if digest is not None and digest.startswith(_SHA256):
            found[pointer] = digest.removeprefix(_SHA256)
    return found


def addendum_path(digest: str) -> str:
    """Where a log serves the addendum of a digest, without a slash before it (C2SP tlog-addenda).

    Raises FormatError if the digest is not 64 lower-case hexadecimal digits.
    """
    if _DIGEST.fullmatch(digest) is None:
        raise FormatError(f"{digest!a}: expected the SHA-256 of an addendum, 64 hexadecimal digits")
    return f"addenda/{digest[:2]}/{digest[2:4]}/{digest}"


def check_addenda(decision: Decision) -> None:
    """Checks what a decision says that it withholds.

    Raises FormatError if a pointer is no JSON pointer, leads to what may not be withheld, to a
    member that is present, or into something that is no object; or if a digest comes twice.
    """
    if decision.addenda is None:
        return
    for pointer in decision.addenda:
        tokens = tokens_of(pointer, "addenda: ")
        _check_may_withhold(tokens, pointer, "addenda: ")
        parent = _member(decision, tokens[:-1])
        if not isinstance(parent, dict | Struct):
            raise FormatError(f"addenda: {pointer}: the record has no object to put this into")
        if _child(parent, tokens[-1]) is not _ABSENT:
            raise FormatError(f"addenda: {pointer}: withheld, and yet in the record")
    if len({*decision.addenda.values()}) != len(decision.addenda):
        raise FormatError("addenda: a digest comes twice")


@lru_cache(maxsize=256)
def tokens_of(pointer: str, where: str = "") -> _Tokens:
    """The names on the way that a JSON pointer tells; FormatError, after `where`, if it is none."""
    if _POINTER.fullmatch(pointer) is None:
        raise FormatError(f"{where}{pointer!a}: expected a JSON pointer, as /request/context")
    return tuple(
        token.replace("~1", "/").replace("~0", "~")
        for token in pointer.removeprefix("/").split("/")
    )


def pointer_of(tokens: Iterable[str]) -> str:
    """The JSON pointer to a member of a member of …, by their names."""
    return "".join(f"/{escape_token(token)}" for token in tokens)


def escape_token(token: str) -> str:
    """A member's name as a token of a JSON pointer."""
    return token.replace("~", "~0").replace("/", "~1")


def _depth(wanted: tuple[_Tokens, str]) -> int:
    return len(wanted[0])


def _check_may_withhold(tokens: _Tokens, pointer: str, where: str = "") -> None:
    if tokens[0] not in ("request", "response") or tokens in _KEPT:
        raise FormatError(f"{where}{pointer}: may not be withheld; other records rest on it")


def _matches(value: Any, pattern: _Tokens, above: _Tokens) -> Iterator[_Tokens]:
    """The members of a value that a pattern leads to and that may be withheld."""
    if not pattern:
        if above[0] in ("request", "response") and above not in _KEPT:
            yield above
        return
    names: Iterable[str] = (pattern[0],)
    if pattern[0] == "*":
        names = value if isinstance(value, dict) else map(str, range(_length(value)))
    for name in names:
        inner = _child(value, name)
        if inner is not _ABSENT:
            yield from _matches(inner, pattern[1:], (*above, name))


def _length(value: Any) -> int:
    return len(value) if isinstance(value, list) else 0


def _member(value: Any, tokens: _Tokens) -> Any:
    for token in tokens:
        value = _child(value, token)
    return value


def _child(value: Any, token: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(token, _ABSENT)
    if isinstance(value, Struct):  # the check of whole batches reads AuthZEN's members into fields
        found = getattr(value, token, _ABSENT) if token in value.__struct_fields__ else _ABSENT
        return _ABSENT if found is UNSET else found
    if isinstance(value, list) and re.fullmatch(r"0|[1-9][0-9]{0,6}", token):
        return value[int(token)] if int(token) < len(value) else _ABSENT
    return _ABSENT


def copied_json(value: Any) -> Any:
    """A copy of JSON in which members may be taken out and put back; tuples become lists."""
    if isinstance(value, Mapping):
        return {name: copied_json(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [copied_json(item) for item in value]
    return value
