"""The status for whoever asks, without keeping a busy witness from its work.

Anybody may ask, and thousands of logs take a tenth of a second to describe. So that is done in
parts, between which the event loop does other things; once for all who ask meanwhile; and what was
made for many logs is given again for a moment.
"""

import asyncio
from typing import Any, Final

import msgspec

from muniment_witness.gossip.watch import Watch
from muniment_witness.http.status import html_of, status_in_parts

MANY: Final = 256
"""Rows of logs, at the witness and its peers, beyond which an answer is given again; fewer take a
few milliseconds."""

KEPT_SECONDS: Final = 1.0
"""How long such an answer is given again."""


class StatusBoard:
    """The status of one witness, as JSON and as a page."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._making = asyncio.Lock()
        self._kept: dict[str, tuple[float, bytes]] = {}

    async def json(self) -> bytes:
        """The status as JSON."""
        return await self._newest("json")

    async def page(self) -> bytes:
        """The status as an HTML page."""
        return await self._newest("page")

    async def _newest(self, form: str) -> bytes:
        now = asyncio.get_running_loop().time
        async with self._making:
            made, body = self._kept.get(form, (0.0, b""))
            if body and now() - made < KEPT_SECONDS:
                return body
            status = await make_status(self._watch)
            if form == "page":
                body = await asyncio.to_thread(html_of, status)
            else:
                body = msgspec.json.encode(status)
            if len(status["logs"]) * (1 + len(status["peers"])) > MANY:
                self._kept[form] = now(), body
            return body


async def make_status(watch: Watch) -> dict[str, Any]:
    """Makes the status as JSON values, with pauses in which the event loop does other things."""
    parts = status_in_parts(watch)
    while True:
        try:
            next(parts)
        except StopIteration as end:
            status: dict[str, Any] = end.value
            return status
        await asyncio.sleep(0)
