"""Takes what an OPA uploads of its decisions: on disk first, then acknowledged, then logged.

An OPA sends what is not acknowledged again and again, and nothing that comes after it. So whatever
its content, an upload is taken; only a disk that cannot is a reason not to.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from muniment.local.logs import event as log_event
from muniment.records.api import RecordError
from muniment.tlog.contentcoding import decode_content
from muniment.tlog.encoding import FormatError
from muniment_gateway.core.opaevents import (
    MAX_INFLATED,
    Event,
    read_event,
    split_events,
    unreadable_event,
    unreadable_upload,
)
from muniment_gateway.deciding.loglink import LogLink
from muniment_gateway.store.originals import Originals
from muniment_service.metrics import Metrics

_LOGGER = logging.getLogger(__name__)

Prepare = Callable[[Mapping[str, Any]], bytes]


class OpaSink:
    """The sink of one configuration."""

    def __init__(
        self, rules: Mapping[str, str], link: LogLink, originals: Originals, metrics: Metrics
    ) -> None:
        """Takes the pointers of the rules, by their paths, and counts in `metrics`."""
        self._rules = rules
        self._link = link
        self._originals = originals
        self._events = metrics.counter("opa_events", "Events that OPAs have uploaded.", ("result",))

    async def take(self, body: bytes, coding: str, client: str) -> None:
        """Takes an upload; returns when all of it is on disk.

        Raises MunimentError if it cannot be written now.
        """
        found = await asyncio.to_thread(self._read, body, coding, client)
        originals = [event.original for event, _ in found if event.original is not None]
        if originals:
            lost = await self._originals.keep(originals)
            if lost:
                log_event(_LOGGER, logging.ERROR, "no room for originals", lost=lost)
        entries = {event.name: entry for event, entry in found}
        new = await self._link.take(entries)
        self._events.labels("new").inc(new)
        self._events.labels("known").inc(len(found) - new)
        self._events.labels("original_kept").inc(len(originals))

    def _read(self, body: bytes, coding: str, client: str) -> list[tuple[Event, bytes]]:
        try:
            texts = split_events(decode_content(body, coding, MAX_INFLATED))
        except FormatError as error:
            event = unreadable_upload(body, client, str(error))
            return [(event, self._link.prepare(event.members))]
        events = [read_event(text, client, self._rules) for text in texts]
        while True:
            try:
                entries = self._link.prepare_all([event.members for event in events])
                return list(zip(events, entries, strict=True))
            except RecordError as error:
                at = error.entry
                events[at] = unreadable_event(texts[at], client, str(error))
