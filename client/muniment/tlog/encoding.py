"""RFC 4648 section 4 base64, C2SP signed-note text and names, C2SP tlog-tiles bundle framing.

The strict primitives under every parser, and the errors that all of Muniment raises on purpose.
Python's own conversions are lenient (``int`` takes ``+1``, ``1_0``, ``010`` and Arabic digits,
base64 decoders drop stray bytes and padding bits, ``splitlines`` splits on U+2028), so each parser
here accepts exactly one spelling of each value: formatting the result gives back the input.
"""

import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Generator, Iterable, Sequence
from typing import Any, Final, TypeVar

MAX_SIZE: Final = 2**63 - 1
"""Largest tree size or leaf index; what an int64, the type most peers use, can hold."""

MAX_ENTRY: Final = 65_535
"""Largest log entry in bytes; what the uint16 length prefix of a bundle can say."""

_T = TypeVar("_T")
_PREFIX: Final = 2
_HASH_SIZE: Final = 32  # as in `merkle`, which brings hashlib: 4 ms for each command

_CONTROLS: Final = bytes(code for code in range(0x20) if code != 0x0A)
_CONTROL: Final = re.compile(rb"[\x00-\x09\x0b-\x1f]")
_HASH: Final = re.compile(r"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=")
"""The one spelling of 32 bytes: of the last digit, two bits would be padding, which is zero."""
_FORBIDDEN_IN_NAME: Final = re.compile(r"[\x00-\x1f\s+]")


class MunimentError(Exception):
    """Base of every error that Muniment raises on purpose.

    Any of them can be copied, and pickled for another process: it comes back with its message and
    its attributes.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        # Python would call the class with the message, which is not what most of these take.
        return _without_init, (type(self), self.args), self.__dict__


def _without_init(kind: type[MunimentError], args: tuple[Any, ...]) -> MunimentError:
    return kind.__new__(kind, *args)


class FormatError(MunimentError, ValueError):
    """Hostile or malformed input; the message names the member, line (1-based) or limit."""


class VerificationError(MunimentError):
    """Well-formed input, but a signature, proof, root or quorum does not hold."""


def printable(text: str) -> str:
    """A text of a stranger, such that no terminal obeys it."""
    return "".join(char if char.isprintable() else "?" for char in text)


def one_line(text: str) -> str:
    """The same, on one line."""
    return printable(" ".join(text.split()))


def parse_decimal(text: str, what: str, *, most: int = MAX_SIZE) -> int:
    """Parses the one spelling of an integer in [0, most]; else FormatError, with `what` it is."""
    if not (text.isascii() and text.isdecimal()):
        raise FormatError(f"{what}: not a decimal number")
    if text[0] == "0" and len(text) > 1:
        raise FormatError(f"{what}: leading zeros")
    # The length goes first: int() takes quadratic time, and refuses more than 4,300 digits.
    if len(text) > len(str(most)) or (value := int(text)) > most:
        raise FormatError(f"{what}: more than {most}")
    return value


def format_base64(data: bytes) -> str:
    """Encodes bytes in standard padded base64 (RFC 4648 section 4), without line breaks."""
    return b2a_base64(data, newline=False).decode("ascii")


def parse_base64(text: str, what: str, *, size: int | None = None) -> bytes:
    """Decodes canonical base64 (RFC 4648 section 4): padded, zero padding bits, nothing else.

    The length is the caller's to bound, unless the decoded `size` is given. Raises FormatError if
    the text is not canonical base64, or of another decoded length.
    """
    if size is not None and len(text) != (size + 2) // 3 * 4:
        raise FormatError(f"{what}: not the base64 of {size} bytes")
    try:
        data = a2b_base64(text)
    except ValueError:
        raise FormatError(f"{what}: not base64") from None
    if b2a_base64(data, newline=False).decode("ascii") != text:
        raise FormatError(f"{what}: not canonical base64")
    if size is not None and len(data) != size:
        raise FormatError(f"{what}: {len(data)} bytes instead of {size}")
    return data


def parse_hash(text: str, what: str) -> bytes:
    """Decodes the canonical base64 of a SHA-256 hash, 32 bytes; FormatError if it is not that."""
    if _HASH.fullmatch(text):
        return a2b_base64(text)
    return parse_base64(text, what, size=_HASH_SIZE)  # which says what is wrong


def parse_hashes(lines: Sequence[str], what: str) -> tuple[bytes, ...]:
    """Decodes hashes as `parse_hash` does; an error names the line, 1-based, behind `what`."""
    if all(map(_HASH.fullmatch, lines)):
        return tuple(map(a2b_base64, lines))
    return tuple([parse_hash(line, f"{what} {number}") for number, line in enumerate(lines, 1)])


def parse_text(data: bytes, what: str, *, most: int) -> str:
    r"""Decodes line-based text as C2SP signed-note ("Format") defines it, with its final newline.

    Raises FormatError if the data has more than `most` bytes, is not UTF-8, holds a control
    character (below U+0020) but newline, or does not end with a newline.
    """
    if len(data) > most:
        raise FormatError(f"{what}: more than {most} bytes")
    if not data.endswith(b"\n"):
        raise FormatError(f"{what}: does not end with a newline")
    # Ten times as fast as the search, which then only has to say where.
    if len(data.translate(None, _CONTROLS)) < len(data) and (found := _CONTROL.search(data)):
        line = data.count(b"\n", 0, found.start()) + 1
        raise FormatError(f"{what}: control character in line {line}")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FormatError(f"{what}: not UTF-8 in line {line}") from None


def split_lines(text: str) -> list[str]:
    r"""Splits a text that ends with a newline into its lines, without their newlines.

    Only U+000A separates lines. An empty line is an empty string; ``"\n"`` is one empty line.
    Raises FormatError if the text does not end with a newline.
    """
    if not text.endswith("\n"):
        raise FormatError("text does not end with a newline")
    return text[:-1].split("\n")


def check_key_name(name: str, what: str) -> str:
    """Checks a key name as C2SP signed-note ("Format") defines it, and returns it.

    Raises FormatError if the name is empty, holds a Unicode space, a plus or a control character
    (below U+0020), or cannot be encoded in UTF-8 (a lone surrogate).
    """
    if not name:
        raise FormatError(f"{what}: empty key name")
    if _FORBIDDEN_IN_NAME.search(name):
        raise FormatError(f"{what}: space, plus or control character in a key name")
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise FormatError(f"{what}: key name is not Unicode text") from None
    return name


def frame(entries: Iterable[bytes]) -> bytes:
    """Joins entries as a tlog-tiles bundle: uint16 big-endian length, then the bytes.

    Raises ValueError if an entry is longer than MAX_ENTRY bytes.
    """
    entries = list(entries)
    parts = [b""] * (2 * len(entries))
    try:
        parts[::2] = [len(entry).to_bytes(_PREFIX, "big") for entry in entries]
    except OverflowError:
        raise ValueError(f"an entry is longer than {MAX_ENTRY} bytes") from None
    parts[1::2] = entries
    return b"".join(parts)


def unframe(data: bytes, what: str = "bundle", *, most: int = MAX_SIZE) -> list[bytes]:
    """Splits an entry bundle into its entries, at most `most` (the inverse of `frame`).

    The caller bounds the length, and for data of strangers the number of entries too, as empty ones
    take two bytes each. Raises FormatError if the data ends inside an entry or its length prefix,
    or has more entries.
    """
    entries: list[bytes] = []
    append = entries.append
    head, total = _PREFIX, len(data)
    # Reading past the end yields a short slice, never an error: the final position tells.
    for _ in range(most):
        if head > total:
            break
        end = head + (data[head - 2] << 8 | data[head - 1])
        append(data[head:end])
        head = end + _PREFIX
    rest = total - (head - _PREFIX)
    if rest < 0:
        raise FormatError(f"{what}: entry {len(entries) - 1} (0-based) is truncated")
    if rest > 0 and len(entries) == most:
        raise FormatError(f"{what}: more than {most} entries")
    if rest > 0:
        raise FormatError(f"{what}: entry {len(entries)} (0-based) is truncated")
    return entries


def first_entries(data: bytes, count: int) -> bytes:
    """The first `count` entries of a bundle, still framed; FormatError if it has fewer."""
    end = 0
    for _ in range(count):
        end += _PREFIX + int.from_bytes(data[end : end + _PREFIX], "big")
    if end > len(data):
        raise FormatError(f"bundle: fewer than {count} entries")
    return data[:end]


def in_one_go(steps: Generator[None, None, _T]) -> _T:
    """Runs work that is written in steps, for services that do other things between them."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            value: _T = end.value
            return value
