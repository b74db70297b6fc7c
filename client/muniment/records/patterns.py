"""The regular expressions of usual decisions, see `forms`: plain ones, and those that withhold.

Groups must not be possessive: early 3.11 gets these wrong. A `%b` stands for an open object: of
`OPEN` in this order.

They are written for Python's engine, which takes two fifths less for the same language so: a set
says what it holds, as one that says what it lacks is looked at in two steps for each character; and
what may be absent is a choice between it and nothing, as a group with a question mark is a loop.
"""

import re
from functools import lru_cache
from typing import Final, NamedTuple, get_args

from muniment.records.members import MAX_ID, MAX_KEY_NAME, DenialCode

OPEN: Final = (
    "/request/action/properties",
    "/request/context",
    "/request/resource/properties",
    "/request/subject/properties",
    "/response/context",
)
"""Where the objects are that AuthZEN leaves open."""

TEXT: Final = rb'"[ !#-\[\]-\xff]*+"'
TEXTS: Final = rb"\[(?:%b(?:,%b)*|)\]" % (TEXT, TEXT)
NUMBER: Final = rb"(?:-(?!0[,\]}])|)(?:0|[1-9][0-9]{0,14}+)(?:\.(?<![0-9]{10}\.)[0-9]{1,6}+(?<!0)|)"
NONE: Final = b"(?!)"
"""Matches nothing."""

# From February 2000 to December 2099: a usual decision states no time that would be refused.
_TIME: Final = rb"(?:9[5-9][0-9]{10}|[1-3][0-9]{12}|40[0-9]{11})"
_ID: Final = rb"[!#-\[\]-~]{1,%d}+" % MAX_ID
_KEY_NAME: Final = rb"[!#-*,-\[\]-~]{1,%d}+" % MAX_KEY_NAME
_CODES: Final = "|".join(get_args(DenialCode)).encode()
_MAY_WITHHOLD: Final = re.compile(rb"/request(?:/context)?/[^~/]{1,64}")
SIZE: Final = 32
"""Bytes of a digest."""

HEX: Final = 2 * SIZE

# What stands in the pairs is looked at afterwards: that takes less time.
_PAIR: Final = rb'"(/[!#-\[\]-}]{1,96})":"(.{64})"'
_WRITTEN: Final = b'"%b":"%b"'
BETWEEN: Final = b'","'
"""Stands between two pairs."""


def _decision(*, withholding: bool) -> bytes:
    """The decision as `shape.PlainDecision` has it, without artifact, signatures and traceparent.

    One that withholds members tells more by its groups: whether it has each of the open objects.
    """

    def tell(name: bytes, pattern: bytes) -> bytes:
        return b"(?P<%b>%b)" % (name, pattern) if withholding else pattern

    def open_object(name: bytes, pattern: bytes) -> bytes:
        return b"(?:%b|)" % tell(name, pattern)

    begin, kept = b"", b""
    if withholding:
        pair = _PAIR.replace(b"(", b"(?:")
        begin = rb'"addenda":\{(?P<addenda>%b(?:,%b){0,15})\},' % (pair, pair)
        kept = b'(?:,"kept":(?P<kept>"log")|)'
    inner = TEXT[1:-1]
    return b"".join(
        (
            rb"\{",
            begin,
            rb'(?:(?P<denial>"denial":\{"codes":\["(?:' + _CODES + rb')"\]\},)|)',
            rb'(?:"execution":"(?P<run>' + _ID + rb')",|)"id":"(?P<id>' + _ID + rb')"',
            kept,
            rb',"kind":"decision","producer":"(?P<producer>' + _KEY_NAME + rb')"',
            rb',"request":\{"action":\{"name":' + TEXT,
            open_object(b"p0", b',"properties":%b'),
            rb"\},",
            open_object(b"p1", b'"context":%b,'),
            rb'"resource":\{"id":' + TEXT + b",",
            open_object(b"p2", b'"properties":%b,'),
            rb'"type":' + TEXT + rb'\},"subject":\{"id":',
            b'"' + tell(b"subject", inner) + b'"',
            b",",
            open_object(b"p3", b'"properties":%b,'),
            b'"type":',
            b'"' + tell(b"type", inner) + b'"',
            rb'\}\},"response":\{',
            open_object(b"p4", b'"context":%b,'),
            rb'"decision":(?(denial)false|(?:(?P<allows>true)|false))\},"time":',
            _TIME,
            rb',"v":1\}',
        )
    )


DECISION: Final = _decision(withholding=False)
WITHHOLDING: Final = _decision(withholding=True)

BEGIN: Final = b'{"addenda":{'
"""What a decision begins with that withholds something."""

_numbers: Final = re.compile(WITHHOLDING % ((NONE,) * 5)).groupindex
_PLACES: Final = {pointer: _numbers[f"p{at}"] for at, pointer in enumerate(OPEN)}
TOLD: Final = tuple(
    _numbers[name]
    for name in ("addenda", "run", "id", "producer", "allows", "type", "subject", "kept")
)
"""The groups that tell of a decision that withholds something, in this order: the text of its
`addenda`, its run, its id, its producer, b"true" if it allows, its subject's type and id, and
b'"log"' if it says that the log keeps the addenda."""

_CONTEXT: Final = _PLACES["/request/context"]
_pairs: Final = re.compile(_PAIR).findall


class Absent(NamedTuple):
    """What must not be in a decision that withholds some members.

    Attributes:
        groups: of the pattern.
        names: of members of the request's context, as they are written; none if there need not
            be a context.
    """

    groups: tuple[int, ...]
    names: tuple[bytes, ...]


NOTHING: Final = Absent((), ())
"""What a request that the pattern matches has not anyway."""


def is_without(found: re.Match[bytes], absent: Absent) -> bool:
    """Whether a decision has none of what must not be in it."""
    for group in absent.groups:
        if found.start(group) >= 0:
            return False
    if absent.names:
        begin, end = found.span(_CONTEXT)
        if begin < 0:
            return False
        for name in absent.names:
            if found.string.find(name, begin, end) >= 0:
                return False
    return True


def absent_of_all(text: bytes) -> tuple[Absent | None, list[bytes]]:
    """As `absent_of`, for the text of several pairs of pointers and digests; and these digests."""
    pairs = _pairs(text)
    digests = [digest for _, digest in pairs]
    # What stands where a digest does may still be anything, so that something may be passed over.
    if len({*digests}) != len(digests) or b",".join([_WRITTEN % pair for pair in pairs]) != text:
        return None, digests
    return _absent(tuple([pointer for pointer, _ in pairs])), digests


@lru_cache(maxsize=256)
def absent_of(pointer: bytes) -> Absent | None:
    """What must be absent where this is withheld; None when it is not certain that it may be."""
    return _absent((pointer,))


@lru_cache(maxsize=256)
def _absent(pointers: tuple[bytes, ...]) -> Absent | None:
    if list(pointers) != sorted({*pointers}):
        return None
    groups: list[int] = []
    names: list[bytes] = []
    for pointer in pointers:
        if (group := _PLACES.get(pointer.decode())) is not None:
            groups.append(group)
        elif _MAY_WITHHOLD.fullmatch(pointer) is None:
            return None
        elif pointer.startswith(b"/request/context/"):
            names.append(b'"%b":' % pointer.rpartition(b"/")[2])
        elif pointer in (b"/request/action", b"/request/resource", b"/request/subject"):
            return None
        # Else nothing: a request that the pattern matches has no other members.
    return Absent(tuple(groups), tuple(names)) if groups or names else NOTHING
