"""Base URLs of logs."""

from urllib.parse import urlsplit


def check_url(url: str) -> str:
    """Checks a log's base URL and returns it without trailing slashes.

    Raises:
        ValueError: If it is not an absolute http or https URL, or carries a query, a fragment or
            a password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"log URL {url!r}: {error}") from None
    if parts.scheme not in {"http", "https"}:
        raise ValueError(f"log URL {url!r}: must begin with http:// or https://")
    if not parts.hostname or port == 0:
        raise ValueError(f"log URL {url!r}: names no host")
    if parts.query or parts.fragment or parts.username is not None:
        raise ValueError(f"log URL {url!r}: a base URL has no query, fragment or user")
    return url.rstrip("/")
