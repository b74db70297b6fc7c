"""What a record says, apart from when: how copies of one record are told from other content.

A log, or a gateway, fills in the `time` of a record that has none. So a record that is sent again
without a time comes back with another one, and still says the same.
"""

import re
from typing import Final

import msgspec

from muniment.records.guards import ENCODER

# How most records end. These are members of the record itself and not of one in it: the last brace
# is the record's, a name before it is quoted by two marks of which none is escaped, as what stands
# before each is a comma or a letter, and between the two members is nothing that opens or closes.
_ENDING: Final = re.compile(rb'"time":[0-9]+,("v":1\})').fullmatch
_LENGTH: Final = len(b'"time":1700000000000,"v":1}')

_decode: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def content_of(entry: bytes, *others: str) -> bytes:
    """The canonical bytes of a valid record without its `time`, and without the other members."""
    if not others:  # as of most records
        at = len(entry) - _LENGTH
        if at > 0 and entry[at - 1] == 0x2C and (ending := _ENDING(entry, at)):  # a comma
            return entry[:at] + ending[1]
    members = _decode(entry)
    for name in ("time", *others):
        members.pop(name, None)
    return ENCODER.encode(members)
