"""How a program imports what it is made of: without what that costs besides, at each start."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from muniment.local.collecting import not_collecting


@contextmanager
def importing() -> Iterator[None]:
    """Within it modules are imported; nothing else happens in the process meanwhile.

    No garbage is looked for. And no CAs are read: aiohttp makes two TLS contexts of
    all the system's as it is imported, 40 ms and 2 MB in every process that asks nobody by TLS.
    `muniment.http.client` makes one when it is needed, and no such program uses aiohttp's, which
    trust nobody in its process.
    """
    ssl.SSLContext.set_default_verify_paths = _read_none  # type: ignore[method-assign, assignment]
    try:
        with not_collecting():
            yield
    finally:
        del ssl.SSLContext.set_default_verify_paths  # the inherited one is seen again


def _read_none(_: ssl.SSLContext) -> None:
    pass
