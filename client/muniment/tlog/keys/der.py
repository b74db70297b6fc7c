"""Reading DER (ITU-T X.690), as far as the containers of private keys need it.

Only one spelling of each length is taken, and nothing may follow a value that is read to its end.
No error message holds a byte of what was read.
"""

from typing import Final

from muniment.tlog.encoding import FormatError

INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
OBJECT: Final = 0x06
SEQUENCE: Final = 0x30


class DerReader:
    """Reads the values that lie one after the other in some bytes."""

    def __init__(self, data: bytes) -> None:
        """Takes the bytes, whose length is the caller's to bound."""
        self._data = data
        self._at = 0

    def peek(self) -> int | None:
        """The tag of the next value; None at the end."""
        return self._data[self._at] if self._at < len(self._data) else None

    def read(self, tag: int) -> bytes:
        """The content of the next value; FormatError if it has another tag or is not DER."""
        if self.peek() != tag:
            raise FormatError(f"DER: no value of tag {tag:#04x} where one belongs")
        begin, size = self._length(self._at + 1)
        end = begin + size
        if end > len(self._data):
            raise FormatError("DER: a value is cut off")
        self._at = end
        return self._data[begin:end]

    def inside(self, tag: int) -> "DerReader":
        """A reader of the next value's content; see `read`."""
        return DerReader(self.read(tag))

    def number(self) -> int:
        """The next value, an INTEGER that is not negative; see `read`."""
        content = self.read(INTEGER)
        if not content or content[0] & 0x80 or (len(content) > 1 and content[:2] < b"\0\x80"):
            raise FormatError("DER: not a small number's one spelling")
        return int.from_bytes(content, "big")

    def end(self) -> None:
        """Checks that nothing is left; FormatError if something is."""
        if self.peek() is not None:
            raise FormatError("DER: bytes after the end")

    def _length(self, at: int) -> tuple[int, int]:
        """Where a value's content begins, and its length."""
        first = self._data[at] if at < len(self._data) else 0xFF
        if first < 0x80:
            return at + 1, first
        octets = self._data[at + 1 : at + 1 + (first & 0x7F)]
        size = int.from_bytes(octets, "big")
        shortest = len(octets) == first & 0x7F and octets[:1] > b"\0" and size >= 0x80
        if not shortest or len(octets) > 4:
            raise FormatError("DER: a length is not in its one spelling")
        return at + 1 + len(octets), size
