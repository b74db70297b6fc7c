"""Pulls lists of logs (C2SP tlog-list), and has the witness know the logs that they bring.

A list can only add. It neither removes nor changes a log that is known, so whoever keeps it cannot
disturb what is witnessed; where it says something else than the witness knows, that is an alarm.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from msgspec import Struct, field

from muniment.local.logs import event
from muniment.local.outside import Contained
from muniment.tlog.cosignature import MAX_NAME_SIZE, verifier_for
from muniment.tlog.encoding import FormatError
from muniment.tlog.loglist import MAX_LIST_SIZE, ListedLog, parse_log_list
from muniment.tlog.note import Signer
from muniment_witness.config import LOG_ALGORITHMS, WitnessConfig, can_cosign
from muniment_witness.gossip.jitter import jittered
from muniment_witness.gossip.net import Transport, UnreachableError
from muniment_witness.store.listed import MAX_LISTED
from muniment_witness.witnessfile import ListEntry

_LOGGER: Final = logging.getLogger(__name__)


class ListState(Struct):
    """What came of pulling a list. Times are Unix seconds, 0 for never.

    Attributes:
        reached: When it was last read.
        error: Why it could not be read after that; empty when it could.
        logs: How many logs it has.
        differs: By origin, what it says that this witness knows otherwise.
    """

    reached: int = 0
    error: str = ""
    logs: int = 0
    differs: dict[str, str] = field(default_factory=dict[str, str])


class LogListPuller:
    """Pulls all lists of a configuration, each on its jittered period."""

    def __init__(
        self,
        transport: Transport,
        config: Callable[[], WitnessConfig],
        add: Callable[[Sequence[ListedLog]], Awaitable[None]],
        clock: Callable[[], int],
    ) -> None:
        """`config` is that in force; `add` has the witness know further logs, for ever."""
        self.state: dict[str, ListState] = {}
        self._transport = transport
        self._config = config
        self._add = add
        self._clock = clock
        self._adding = asyncio.Lock()

    async def run(self) -> None:
        """Pulls until cancelled; lists that a reload brings, too."""
        due: dict[str, float] = {}
        loop = asyncio.get_running_loop()
        while True:
            entries = {entry.url: entry for entry in self._config().file.list}
            self.state = {url: self.state.get(url, ListState()) for url in entries}
            for url, entry in entries.items():
                if due.get(url, 0.0) <= loop.time():
                    await self.pull(entry)
                    due[url] = loop.time() + jittered(entry.period_seconds)
            await asyncio.sleep(1.0)

    async def pull(self, entry: ListEntry) -> None:
        """Reads one list, and adds what is new in it."""
        state = self.state.setdefault(entry.url, ListState())
        with Contained(entry.url) as outcome:
            answer = await self._transport.get(entry.url, most=MAX_LIST_SIZE)
            if answer.status != 200:
                raise UnreachableError(f"status {answer.status}")
            await self._take(entry, state, parse_log_list(answer.body))
        if outcome.error and outcome.error != state.error:
            event(_LOGGER, logging.WARNING, "list not read", url=entry.url, error=outcome.error)
        state.error = outcome.error

    async def _take(self, entry: ListEntry, state: ListState, logs: Sequence[ListedLog]) -> None:
        async with self._adding:
            config = self._config()
            differs: dict[str, str] = {}
            new: list[ListedLog] = []
            for log in logs:
                if log.origin in entry.without:
                    continue
                known = config.logs.get(log.origin)
                if known is None:
                    if why := _unusable(log, config.signers):
                        differs[log.origin] = why
                    else:
                        new.append(log)
                elif all(each.vkey != log.vkey for each in known.verifiers):
                    differs[log.origin] = f"the list has the key {log.vkey}, this witness has not"
            room = max(0, MAX_LISTED - len(config.logs))
            for log in new[room:]:
                differs[log.origin] = f"not taken: {MAX_LISTED} logs are known already"
            if new[:room]:
                await self._add(new[:room])
                event(_LOGGER, logging.INFO, "took logs of a list", url=entry.url, logs=len(new))
            state.reached, state.logs, state.differs = self._clock(), len(logs), differs


def _unusable(log: ListedLog, signers: Sequence[Signer]) -> str:
    if log.vkey.algorithm not in LOG_ALGORITHMS:
        return f"a key of signature type {log.vkey.algorithm:#04x}, which is not verified here"
    try:
        verifier_for(log.vkey)
    except FormatError as error:
        return f"a key that cannot be used: {error}"
    if not can_cosign(signers, log.origin):
        return f"an origin of more than {MAX_NAME_SIZE} bytes, which ML-DSA-44 does not take"
    return ""
