"""HTTP headers for an endpoint, from a private file: tokens are not given on a command line."""

import re
from pathlib import Path
from typing import Final

from muniment.errors import InputError
from muniment.local.privatefiles import read_private
from muniment.tlog.encoding import MunimentError

MAX_SIZE: Final = 64 << 10
"""Bytes of a file of headers."""

_LINE: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([!-~](?:[ \t!-~]*[!-~])?)[ \t]*")


def read_headers(path: Path | None) -> dict[str, str]:
    """Reads headers (RFC 9110 section 5), one ``Name: value`` a line; none without a file.

    Raises InputError if the file cannot be used, or anybody but its owner has rights on it; tells
    the number of a bad line, and nothing that is in it.
    """
    if path is None:
        return {}
    try:
        data = read_private(path, "file of headers", most=MAX_SIZE)
    except MunimentError as error:
        raise InputError(str(error)) from None
    if len(data) > MAX_SIZE:
        raise InputError(f"{path}: longer than {MAX_SIZE} bytes")
    found: dict[str, str] = {}
    for number, line in enumerate(data.decode("latin-1").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise InputError(f"{path}: line {number}: expected Name: value, in visible ASCII")
        found[match[1]] = match[2]
    return found
