"""A web server that knows nothing but files, for exports; one that sends everybody elsewhere."""

import contextlib
import functools
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
        del format, args


class _Elsewhere(_Quiet):
    def __init__(self, *args: Any, target: str, **options: Any) -> None:
        self._target = target
        super().__init__(*args, **options)

    def do_GET(self) -> None:
        self.send_response(302)
        self.send_header("Location", self._target)
        self.end_headers()


@contextlib.contextmanager
def _serving(handler: Callable[..., http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def static(folder: Path) -> Iterator[str]:
    """Serves a folder on loopback; its URL."""
    with _serving(functools.partial(_Quiet, directory=str(folder))) as url:
        yield url


@contextlib.contextmanager
def redirecting(target: str) -> Iterator[str]:
    """Redirects every request to another URL; its own."""
    with _serving(functools.partial(_Elsewhere, target=target)) as url:
        yield url
