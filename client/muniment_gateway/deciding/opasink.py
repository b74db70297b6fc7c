"""Takes what an OPA uploads of its decisions: on disk first, then acknowledged, then logged.

An OPA sends what is not acknowledged again and again, and nothing that comes after it. So whatever
its content, an upload is taken; only a disk that cannot is a reason not to.
"""

import asyncio
import logging
from collections.abc import Mapping

from muniment.local.logs import event as log_event
from muniment_gateway.core.opaupload import OpaUploadReader
from muniment_gateway.deciding.loglink import LogLink
from muniment_gateway.store.originals import Originals
from muniment_service.metrics import Metrics

_LOGGER = logging.getLogger(__name__)


class OpaSink:
    """The sink of one configuration."""

    def __init__(
        self, rules: Mapping[str, str], link: LogLink, originals: Originals, metrics: Metrics
    ) -> None:
        """Takes the pointers of the rules, by their paths, and counts in `metrics`."""
        self._reader = OpaUploadReader(link.producer, rules, link.prepare)
        self._link = link
        self._originals = originals
        self._events = metrics.counter("opa_events", "Events that OPAs have uploaded.", ("result",))

    async def take(self, body: bytes, coding: str, client: str) -> None:
        """Takes an upload; returns when all of it is on disk.

        Raises MunimentError if it cannot be written now.
        """
        found = await asyncio.to_thread(self._reader.read, body, coding, client)
        originals = [one.original for one in found if one.original is not None]
        if originals:
            lost = await self._originals.keep(originals)
            if lost:
                log_event(_LOGGER, logging.ERROR, "no room for originals", lost=lost)
        entries: dict[bytes, bytes] = {}
        for one in found:
            entries.setdefault(one.name, one.record)  # the first, as of several uploads
        new = await self._link.take(entries)
        self._events.labels("new").inc(new)
        self._events.labels("known").inc(len(found) - new)
        self._events.labels("original_kept").inc(len(originals))
