"""What a record says, apart from when: how copies of one record are told from other content.

A log, or a gateway, fills in the `time` of a record that has none. So a record that is sent again
without a time comes back with another one, and still says the same.
"""

from typing import Final

import msgspec

from muniment.records.guards import ENCODER

_decode: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def content_of(entry: bytes, *others: str) -> bytes:
    """The canonical bytes of a valid record without its `time`, and without the other members."""
    members = _decode(entry)
    for name in ("time", *others):
        members.pop(name, None)
    return ENCODER.encode(members)
