"""The metadata of the PDP behind the gateway, read from time to time."""

import asyncio
import time
from typing import Any, Final
from urllib.parse import urlsplit

from muniment.http.client import HttpSession
from muniment.local.outside import Contained
from muniment_gateway.authorities import Authority
from muniment_gateway.core.authzen import METADATA_PATH
from muniment_gateway.deciding.searches import pdp_of
from muniment_gateway.engines.http import ask_json, bearer

KEPT_SECONDS: Final = 60.0
"""How long metadata, or their absence, are believed."""

READ_TIMEOUT: Final = 2.0
"""Deadline of a reading."""


class EngineMetadata:
    """The metadata of the first authority that is a PDP; empty when it has none."""

    def __init__(self, authorities: tuple[Authority, ...], http: HttpSession) -> None:
        """Reads nothing yet."""
        self._pdp = pdp_of(authorities)
        self._http = http
        self._known: dict[str, Any] = {}
        self._read_at: float | None = None

    async def __call__(self) -> dict[str, Any]:
        """The metadata as the PDP tells them."""
        now = time.monotonic()
        if self._pdp is None or (self._read_at is not None and now - self._read_at < KEPT_SECONDS):
            return self._known
        self._read_at = now
        pdp = self._pdp
        with Contained(pdp.entry.name):
            value = await self._bounded(metadata_url(pdp.url), bearer(pdp.token))
            self._known = value if isinstance(value, dict) else {}
        return self._known

    async def _bounded(self, url: str, headers: dict[str, str]) -> Any:
        async with asyncio.timeout(READ_TIMEOUT):
            return await ask_json(self._http, "GET", url, None, headers)


def metadata_url(url: str) -> str:
    """Where the metadata of a PDP at a URL are: the path of a tenant comes behind (RFC 8615)."""
    parts = urlsplit(url)
    return parts._replace(path=METADATA_PATH + parts.path).geturl()
