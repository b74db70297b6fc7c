"""The content coding of answers: gzip, for those who take it."""

import asyncio
import gzip
from typing import Final

COMPRESS_FROM: Final = 1024
"""Bytes of an answer; below, the headers of compression outweigh it."""

_COMPRESSION: Final = 1  # JSON shrinks to a tenth at the fastest level already


async def gzipped(data: bytes) -> bytes:
    """Compresses on another thread: zlib releases the interpreter lock."""
    return await asyncio.to_thread(gzip.compress, data, compresslevel=_COMPRESSION, mtime=0)


def accepts_gzip(header: str) -> bool:
    """Whether an Accept-Encoding header allows gzip (RFC 9110 section 12.5.3)."""
    weights: dict[str, bool] = {}
    for item in header.lower().split(","):
        coding, _, parameter = item.partition(";")
        name, _, value = parameter.partition("=")
        refused = name.strip() == "q" and not value.strip().strip("0.")
        weights[coding.strip()] = not refused
    return weights.get("gzip", weights.get("*", False))
