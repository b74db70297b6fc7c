"""What `POST /v1/batches` takes: a batch and, after its manifest, addenda of its records.

Each addendum stands behind its length, a big-endian uint32. Where they begin is found without
reading a record: `manifest.MANIFEST` ends with a newline, which canonical JSON never holds, so its
first occurrence in a body is the manifest's own, and the manifest's frame tells where the batch
ends. A body without addenda is the batch itself, as it always was.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from muniment.records.commitments import MAX_ADDENDUM
from muniment.records.manifest import MANIFEST
from muniment.tlog.encoding import FormatError

MAX_ADDENDA_BYTES: Final = 24 * 1024 * 1024
"""Most bytes of the addenda of one batch, their lengths included: the largest one, and room for
those of the other records."""

MAX_ADDENDA: Final = 50_000
"""Most addenda of one batch: five for each of its records."""

FRAME: Final = 4
"""Bytes of the length before an addendum."""

_FRAME: Final = 2  # bytes of the length before an entry of the batch


class AddendumError(FormatError):
    """One addendum of a body is refused; its number counts from 0."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"addendum {number}: {reason}")
        self.number = number
        self.reason = reason


def cut_addenda(section: bytes, ends: Sequence[int]) -> list[bytes]:
    """The addenda in what stands behind a batch, of which it is known where each ends."""
    begins = (0, *ends)
    return [section[begin + FRAME : end] for begin, end in zip(begins, ends, strict=False)]


def ends_of_addenda(section: bytes) -> list[int]:
    """Where each addendum ends in what stands behind a batch, its length before it.

    Raises:
        FormatError: If the addenda are together longer than MAX_ADDENDA_BYTES, or more than
            MAX_ADDENDA.
        AddendumError: If one is empty, longer than MAX_ADDENDUM bytes, or cut off.
    """
    total = len(section)
    if total > MAX_ADDENDA_BYTES:
        raise FormatError(f"addenda: more than {MAX_ADDENDA_BYTES} bytes")
    ends: list[int] = []
    at = 0
    while at < total:
        if len(ends) == MAX_ADDENDA:
            raise FormatError(f"addenda: more than {MAX_ADDENDA}")
        begin = at + FRAME
        length = int.from_bytes(section[at:begin], "big")
        at = begin + length
        if at > total:
            raise AddendumError(len(ends), "truncated")
        if not 0 < length <= MAX_ADDENDUM:
            _check_length(len(ends), length)
        ends.append(at)
    return ends


def join_body(batch: bytes, addenda: Iterable[bytes]) -> bytes:
    """Puts addenda behind a batch.

    Raises FormatError if the batch does not end with its manifest, or as `ends_of_addenda`.
    """
    sent = addenda if isinstance(addenda, Collection) else [*addenda]
    if not sent:
        return batch
    if MANIFEST not in batch or end_of_batch(batch) != len(batch):
        raise FormatError("batch: does not end with its manifest")
    if len(sent) > MAX_ADDENDA:
        raise FormatError(f"addenda: more than {MAX_ADDENDA}")
    parts = [batch]
    for number, addendum in enumerate(sent):
        _check_length(number, len(addendum))
        parts += (len(addendum).to_bytes(FRAME, "big"), addendum)
    body = b"".join(parts)
    if len(body) - len(batch) > MAX_ADDENDA_BYTES:
        raise FormatError(f"addenda: more than {MAX_ADDENDA_BYTES} bytes")
    return body


def end_of_batch(body: bytes) -> int:
    """Where the batch ends in a body: behind the manifest's frame, or where the body ends."""
    # The first line end is that of the manifest, but where a frame's length has that byte: looking
    # for a byte takes a twentieth of the time.
    at = body.find(b"\n") + 1 - len(MANIFEST)
    if not body.startswith(MANIFEST, max(at, 0)):
        at = body.find(MANIFEST)
    if at < _FRAME:
        return len(body)
    return min(len(body), at + int.from_bytes(body[at - _FRAME : at], "big"))


def _check_length(number: int, length: int) -> None:
    if length == 0:
        raise AddendumError(number, "empty")
    if length > MAX_ADDENDUM:
        raise AddendumError(number, f"{length} bytes; at most {MAX_ADDENDUM}")
