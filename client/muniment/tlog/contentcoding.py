"""Undoes the content coding of what HTTP brings, up to a bound: gzip, or none."""

import zlib
from collections.abc import Iterator
from typing import Final

from muniment.tlog.encoding import FormatError

_GZIP: Final = 16 + zlib.MAX_WBITS


class ContentTooLong(FormatError):  # noqa: N818 - says what happened
    """What was coded is longer than the bound."""


def decode_content(body: bytes, coding: str, most: int) -> bytes:
    """A body without its content coding, as the header names that; at most ``most`` bytes of gzip.

    Raises:
        ContentTooLong: If it is longer.
        FormatError: If the coding is another than gzip, or the data are damaged.
    """
    match coding.lower():
        case "" | "identity":
            return body
        case "gzip" | "x-gzip":
            return gunzip(body, most)
        case _:
            raise FormatError("a content coding other than gzip")


def gunzip(body: bytes, most: int) -> bytes:
    """What is in a gzip; raises as ``decode_content``."""
    decoder = zlib.decompressobj(_GZIP)
    try:
        data = decoder.decompress(body, most + 1)
    except zlib.error as error:
        raise FormatError(f"no gzip: {error}") from None
    if len(data) > most:
        raise ContentTooLong(f"more than {most} bytes")
    if not decoder.eof:
        raise FormatError("the gzip ends early")
    return data


class Gunzip:
    """Undoes a gzip that comes bit by bit, in pieces that are bounded whatever was compressed."""

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(_GZIP)

    def pieces(self, data: bytes, most: int) -> Iterator[bytes]:
        """What more of the gzip decodes to, at most `most` bytes at a time; FormatError if damaged.

        Several gzips behind each other are one (RFC 1952 section 2.2).
        """
        while data:
            if self._decoder.eof:
                self._decoder = zlib.decompressobj(_GZIP)
            try:
                piece = self._decoder.decompress(data, most)
            except zlib.error as error:
                raise FormatError(f"no gzip: {error}") from None
            data = self._decoder.unused_data if self._decoder.eof else self._decoder.unconsumed_tail
            if piece:
                yield piece
