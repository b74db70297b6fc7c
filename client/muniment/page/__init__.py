"""The page verify.html, which verifies in a browser what the commands verify, offline.

It is built by scripts/page from source/, see docs/page.md.
"""

from hashlib import sha256
from pathlib import Path
from typing import Final

PATH: Final = Path(__file__).parent / "verify.html"
"""The file: one, with all that it needs."""


def read_page() -> bytes:
    """The bytes of the page."""
    return PATH.read_bytes()


def page_digest() -> str:
    """The SHA-256 of the page in hexadecimal digits."""
    return sha256(read_page()).hexdigest()


def content_security_policy() -> str:
    """The policy that the page states itself, as the value of a header.

    It allows the page's own script and style, by their hashes, and no request at all.
    """
    _, _, rest = read_page().decode().partition('http-equiv="Content-Security-Policy" content="')
    stated, _, _ = rest.partition('"')
    return f"{stated}; frame-ancestors 'none'"
