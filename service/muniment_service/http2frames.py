"""Frames of an HTTP/2 connection as they come (RFC 9113 section 4), cut apart and counted.

This stands before h2's state machine for two reasons. h2 takes a GOAWAY for the end, and sends
nothing more; but the requests that are under way have a right to their answers (section 6.8). And
frames that ask for work and carry none are to be few (section 10.5).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from muniment.tlog.encoding import MunimentError
from muniment_service.budget import Bucket

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client sends first (section 3.4)."""

MAX_FRAME: Final = 16_384
"""Most bytes of a frame's payload; section 4.2 does not let a server take less."""

LAST_STREAM: Final = 2**31 - 1
"""In a GOAWAY: nothing is refused yet."""

NO_ERROR: Final = 0x0
PROTOCOL_ERROR: Final = 0x1
FRAME_SIZE_ERROR: Final = 0x6
ENHANCE_YOUR_CALM: Final = 0xB

IDLE_PER_SECOND: Final = 1000.0
IDLE_BURST: Final = 4000.0
"""Frames without a request or a byte of one that are taken in the long run, and at once."""

_HEADER: Final = 9
_DATA, _HEADERS, _GOAWAY = 0x0, 0x1, 0x7


class Http2Error(MunimentError):
    """The other side broke the protocol or its bounds, or is gone; says which.

    `code` is what a GOAWAY has to say of it.
    """

    def __init__(self, message: str, code: int = PROTOCOL_ERROR) -> None:
        super().__init__(message)
        self.code: Final = code


class FrameReader:
    """Cuts what comes into frames; nothing is kept but the beginning of one.

    Attributes:
        is_begun: Whether the preface has come.
        is_leaving: Whether a GOAWAY has.
    """

    def __init__(self, timer: Callable[[], float]) -> None:
        """`timer` is a monotonic clock, in seconds."""
        self.is_begun = False
        self.is_leaving = False
        self._idle = Bucket(IDLE_PER_SECOND, IDLE_BURST, timer)
        self._held = b""

    def cut(self, data: bytes) -> Iterator[bytes]:
        """Gives the frames that `data` completes, the preface first, without any GOAWAY.

        Raises Http2Error if what comes is no HTTP/2, a frame
        is too large, or too many are empty of work.
        """
        data = self._held + data
        at = 0
        if not self.is_begun:
            if not PREFACE.startswith(data[: len(PREFACE)]):
                raise Http2Error("the other side does not speak HTTP/2")
            if len(data) >= len(PREFACE):
                at, self.is_begun = len(PREFACE), True
                yield PREFACE
        while self.is_begun and len(data) - at >= _HEADER:
            length = int.from_bytes(data[at : at + 3])
            if length > MAX_FRAME:
                raise Http2Error(f"a frame of more than {MAX_FRAME} bytes", FRAME_SIZE_ERROR)
            end = at + _HEADER + length
            if len(data) < end:
                break
            kind = data[at + 3]
            if not (kind == _HEADERS or (kind == _DATA and length)) and not self._idle.take():
                raise Http2Error("too many frames without a request", ENHANCE_YOUR_CALM)
            if kind == _GOAWAY:
                self.is_leaving = True
            else:
                yield data[at:end]
            at = end
        self._held = data[at:]


def goaway(last: int, error: int) -> bytes:
    """A GOAWAY (section 6.8): no stream beyond `last` was or will be begun."""
    return b"\x00\x00\x08\x07\x00\x00\x00\x00\x00" + last.to_bytes(4) + error.to_bytes(4)


_PSEUDO: Final = frozenset({":method", ":scheme", ":authority", ":path"})
_OF_CONNECTIONS: Final = frozenset(
    {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}
)


def is_malformed(fields: Sequence[tuple[str, str]]) -> bool:
    """Whether a request's header fields break RFC 9113 (sections 8.2 and 8.3.1).

    It is an error of that request alone (section 8.1.1): one client of a bastion writes them, and
    the connection is everybody's.
    """
    pseudo = [name for name, _ in fields if name.startswith(":")]
    if [name for name, _ in fields[: len(pseudo)]] != pseudo:
        return True
    if len({*pseudo}) != len(pseudo) or not _PSEUDO.issuperset(pseudo):
        return True
    return any(
        not name
        or name != name.lower()
        or ":" in name[1:]
        or name in _OF_CONNECTIONS
        or (name == "te" and value != "trailers")
        or value != value.strip(" \t")
        or not {"\0", "\r", "\n"}.isdisjoint(name + value)
        for name, value in fields
    )
