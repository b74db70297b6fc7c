"""JSON of other parties as typed values: whatever comes, a value of the type or one error.

A msgspec decoder tells of malformed bytes by three errors: its own, the one of UTF-8, and the one
of a stack that is full. A reader that forgets one of the last two can be ended by whoever it reads.
"""

from typing import Final, TypeVar

import msgspec

from muniment.tlog.encoding import FormatError

_T = TypeVar("_T")

_MALFORMED: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def decode_json(data: bytes, kind: type[_T], what: str) -> _T:
    """Decodes JSON as a value of a type, for msgspec; the caller bounds its length.

    Raises FormatError if ``what`` is not JSON, nested too deeply to read, or not of the type.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except _MALFORMED as error:
        raise FormatError(f"{what}: {error}") from None
