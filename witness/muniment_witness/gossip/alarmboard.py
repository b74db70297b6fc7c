"""The alarms that are raised now: in the service's log, in the metrics, and for who asks."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from muniment.local.logs import event
from muniment_service.metrics import Metrics
from muniment_witness.gossip.alarms import KINDS, WitnessAlarm

_LOGGER: Final = logging.getLogger(__name__)


class AlarmBoard:
    """The alarms as of the last look.

    Attributes:
        raised: The alarms, the gravest kinds first.
    """

    def __init__(self, metrics: Metrics) -> None:
        self.raised: list[WitnessAlarm] = []
        self._gauge = metrics.gauge("alarms", "Alarms that are raised.", ("kind",))
        self._due = asyncio.Event()

    def show(self, alarms: Sequence[WitnessAlarm]) -> None:
        """Replaces the alarms; logs those that are new and those that ended."""
        before = {(alarm.kind, alarm.subject) for alarm in self.raised}
        now = {(alarm.kind, alarm.subject) for alarm in alarms}
        for alarm in alarms:
            if (alarm.kind, alarm.subject) not in before:
                event(
                    _LOGGER,
                    logging.ERROR,
                    "alarm",
                    kind=alarm.kind,
                    subject=alarm.subject,
                    detail=alarm.detail,
                )
        for kind, subject in sorted(before - now):
            event(_LOGGER, logging.WARNING, "alarm ended", kind=kind, subject=subject)
        self.raised = list(alarms)
        for kind in KINDS:
            self._gauge.labels(kind).set(sum(alarm.kind == kind for alarm in alarms))

    def ask_for_look(self) -> None:
        """Ends the wait for the next look: something grave has changed."""
        self._due.set()

    async def wait(self, seconds: float) -> None:
        """Waits until the next look is due, or was asked for."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._due.wait()
        self._due.clear()
