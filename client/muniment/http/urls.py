"""URLs that a person configures (RFC 3986): what is accepted, any HTTP client reads in one way."""

import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

# Readers drop, encode or refuse other characters, each in its way.
_VISIBLE: Final = re.compile(r"[!-~]+")
_HOST: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._~-]+)(?::[0-9]+)?")


def split_url(url: str) -> SplitResult:
    """Splits an absolute http or https URL that names a host, and no user.

    Raises ValueError if it is not that. The message does not repeat it: URLs can hold secrets.
    """
    if not _VISIBLE.fullmatch(url):
        raise ValueError("expected visible ASCII characters only")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"}:
        raise ValueError("must begin with http:// or https://")
    if parts.username is not None:
        raise ValueError("a URL with a user")
    if not _HOST.fullmatch(parts.netloc) or parts.port == 0:
        raise ValueError("names no host")
    return parts


def check_url(url: str) -> str:
    """Checks a log's base URL and returns it without trailing slashes.

    Raises ValueError if it is not an absolute http or https URL, or carries a query, a fragment or
    a password.
    """
    try:
        parts = split_url(url)
    except ValueError as error:
        raise ValueError(f"log URL {url!r}: {error}") from None
    if parts.query or parts.fragment:
        raise ValueError(f"log URL {url!r}: a base URL has no query, fragment or user")
    return url.rstrip("/")
