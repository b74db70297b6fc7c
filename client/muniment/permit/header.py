"""Permits within HTTP: the header in which a proxy hands one on to its upstream.

The value is ``<run>.<permit>``: the run that it authorises, as base64url of its text, and the
permit file, compressed as zlib does (RFC 1950), as base64url; both without padding.
"""

import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from typing import Final

from muniment.permit.permitfile import Permit, parse_permit
from muniment.records.members import MAX_ID
from muniment.tlog.encoding import FormatError

PERMIT_HEADER: Final = "Muniment-Permit"
"""The header with the permit."""

EVALUATION_HEADER: Final = "Muniment-Evaluation"
"""The header with the id of the decision's record."""

MAX_HEADER: Final = 64 << 10
"""Longest value that is read, in characters; servers take far shorter lines, as a rule."""

MAX_INFLATED: Final = 1 << 20
"""Largest permit in a header, in bytes."""


def format_header(execution: str, permit: str) -> str:
    """The header's value, for a run and the text of its permit."""
    return f"{_encoded(execution.encode())}.{_encoded(zlib.compress(permit.encode(), 9))}"


def parse_header(value: str) -> tuple[Permit, str]:
    """Reads a header's value: the permit, unverified, and the run that it authorises.

    Raises FormatError if it is no such value, or one beyond the bounds.
    """
    if len(value) > MAX_HEADER:
        raise FormatError(f"{PERMIT_HEADER}: longer than {MAX_HEADER} characters")
    run, point, packed = value.partition(".")
    if not point:
        raise FormatError(f"{PERMIT_HEADER}: expected <run>.<permit>")
    try:
        execution = _decoded(run).decode("ascii")
        inflater = zlib.decompressobj()
        text = inflater.decompress(_decoded(packed), MAX_INFLATED)
    except (Error, UnicodeDecodeError, zlib.error):
        raise FormatError(f"{PERMIT_HEADER}: no base64url of a run and a permit") from None
    if not inflater.eof or inflater.unused_data:
        raise FormatError(f"{PERMIT_HEADER}: not one permit of at most {MAX_INFLATED} bytes")
    if not 0 < len(execution) <= MAX_ID:
        raise FormatError(f"{PERMIT_HEADER}: a run of 1 to {MAX_ID} characters")
    return parse_permit(text), execution


def _encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _decoded(text: str) -> bytes:
    if not text.isascii() or "=" in text:
        raise Error
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
