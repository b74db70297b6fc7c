"""The monitor's shell: asks the log and the witnesses, fetches tiles, and does it again.

Everything has a deadline, nothing is followed to another address, and one party that is slow or
lies delays the others by no more than that deadline.
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final, Self

from muniment.errors import MunimentError, Refused, Unreachable, VerificationError
from muniment.http.access import Access
from muniment.http.logclient import CATCH_UP_PAUSES, LogClient
from muniment.http.logtiles import log_tiles
from muniment.local.atomicfile import write_atomic
from muniment.local.logs import event
from muniment.monitor.core import Core, Missing, Tiles
from muniment.monitor.heads import LOG, Pair, ShownHead, compare
from muniment.monitor.lastround import write_round
from muniment.monitor.report import Alarm, AlarmWeight, MonitorRound
from muniment.monitor.webhook import Webhook
from muniment.tlog.encoding import printable
from muniment.tlog.evidence import EXTENSION
from muniment.tlog.treereader import read_prefix
from muniment.tlog.witnesswire import origin_hash

READ_SECONDS: Final = 20.0
"""Longest wait for a checkpoint, retries included."""

PROOF_SECONDS: Final = 30.0
"""Longest wait for the tiles of one comparison from one source, retries included."""

REQUEST_SECONDS: Final = 10.0
"""Longest wait for one answer."""

JITTER: Final = 0.2
"""The part of the interval by which a pause is longer or shorter: monitors must not march."""

_UNSAVED: Final = "state-not-kept"
_log: Final = logging.getLogger(__name__)


class Watcher:
    """Runs rounds against real parties; use it as an async context manager.

    The core's witnesses' URLs are the monitoring prefixes that are asked. Evidence goes to
    `evidence_dir` and the log's largest checkpoint to `state`, or nowhere when these are None; what
    a round came to stands beside the state, see `lastround`.
    `unsaved` is why the state could not be kept in the last round; None when it was.
    """

    def __init__(
        self,
        log_url: str,
        core: Core,
        *,
        evidence_dir: Path | None = None,
        state: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._core = core
        self._evidence_dir = evidence_dir
        self._state = state
        self._saved = core.earlier
        self.unsaved: MunimentError | None = None
        self._clock = clock
        prefix = origin_hash(core.reader.origin)
        # A witness serves a log's checkpoint, and some its tiles, as a log does: below its prefix.
        access = Access.from_environment()
        without = access.without_token()
        # It asks again by itself, together with the checkpoint.
        self._clients = {
            party: LogClient(url, timeout=REQUEST_SECONDS, access=known, pauses=())
            for party, url, known in [
                (LOG, log_url, access),
                *[(url, f"{url}/{prefix}", without) for url in core.witnesses],
            ]
        }
        self._stack = AsyncExitStack()
        self._files: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        for client in self._clients.values():
            await self._stack.enter_async_context(client)
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._stack.aclose()

    async def round(self) -> MonitorRound:
        """Asks everybody once and says what came of it.

        The log is asked last, and again after a moment when no tiles can be had of the newest
        tree: an honest log collects cosignatures before it publishes, and one copy of it may be
        behind another.
        """
        witnesses = self._core.witnesses
        held = await asyncio.gather(*[self._read(party) for party in witnesses])
        answers = dict(zip(witnesses, held, strict=True))
        heads, alarms, pairs, tiles = await self._with_log(answers)
        for pause in CATCH_UP_PAUSES:
            if not _may_catch_up(heads, tiles):
                break
            await asyncio.sleep(pause)
            heads, alarms, pairs, tiles = await self._with_log(answers)
        result = self._core.conclude(heads, alarms, pairs, tiles, int(self._clock()))
        result = self._keep(self._save(result))
        self._show(result)
        return result

    async def _with_log(
        self, held: Mapping[str, bytes | Missing]
    ) -> tuple[dict[str, ShownHead], list[Alarm], list[Pair], dict[Pair, Tiles]]:
        """Asks the log, and for the tiles that the comparisons with it need."""
        heads, alarms, pairs = self._core.heads({**held, LOG: await self._read(LOG)})
        wanted = [pair for pair in pairs if pair.needs_proof]
        made = await asyncio.gather(*[self._prove(pair) for pair in wanted])
        return heads, alarms, pairs, dict(zip(wanted, made, strict=True))

    async def rounds(self, interval: float) -> AsyncGenerator[MonitorRound, None]:
        """Rounds without an end, with jittered pauses of about `interval` seconds between them."""
        while True:
            yield await self.round()
            await asyncio.sleep(interval * random.uniform(1 - JITTER, 1 + JITTER))  # noqa: S311 - jitter, not a secret

    async def _read(self, party: str) -> bytes | Missing:
        try:
            async with asyncio.timeout(READ_SECONDS):
                return await self._clients[party].checkpoint()
        except TimeoutError:
            return Missing("unreachable", f"no answer in {READ_SECONDS:g} s")
        except Unreachable as error:
            return Missing("unreachable", str(error))
        except Refused as refusal:
            if party != LOG and refusal.problem.status == 404:
                return Missing("nothing-yet", "has never cosigned a checkpoint of the log")
            kind = "unreachable" if refusal.is_retriable else "bad-answer"
            return Missing(kind, str(refusal))
        except Exception as error:  # noqa: BLE001 - whatever an answer comes to is that party's
            return Missing("bad-answer", str(error) or type(error).__name__)

    async def _prove(self, pair: Pair) -> Tiles:
        """Compares a pair by tiles of the newer tree: the log's, then those of who showed it."""
        reasons: list[str] = []
        for party in dict.fromkeys((LOG, pair.newer.party)):
            client = self._clients.get(party)
            if client is None:
                continue
            try:
                async with asyncio.timeout(PROOF_SECONDS):
                    tiles = log_tiles(client, pair.newer.signed.checkpoint.head)
                    prefix = await read_prefix(tiles, pair.older.size, pair.newer.size)
                evidence = compare(pair, prefix, self._core.reader.log_verifiers)
            except TimeoutError:
                reasons.append(f"{party}: no tiles in {PROOF_SECONDS:g} s")
            except VerificationError:
                reasons.append(f"{party}: the tiles are not those of the larger tree")
            except Exception as error:  # noqa: BLE001 - as in _read
                reasons.append(f"{party}: {str(error) or type(error).__name__}")
            else:
                return Tiles(is_compared=True, evidence=evidence)
        return Tiles(is_compared=False, reason="; ".join(reasons))

    def _save(self, result: MonitorRound) -> MonitorRound:
        """Keeps the log's head for the next run; that it cannot is an alarm like any other."""
        earlier, before = self._core.earlier, self.unsaved
        if self._state is None or earlier is None or earlier == self._saved:
            return result
        try:
            write_atomic(self._state, earlier, "monitor state")
        except MunimentError as error:
            self.unsaved = error
            alarm = Alarm(_UNSAVED, LOG, printable(str(error)), AlarmWeight.UNVERIFIED)
            alarms = sorted((*result.alarms, alarm), key=lambda each: -each.weight)
            raised = result.raised if before else (*result.raised, alarm)
            return replace(result, alarms=tuple(alarms), raised=raised)
        self.unsaved, self._saved = None, earlier
        if before is None:
            return result
        return replace(result, cleared=(*result.cleared, (_UNSAVED, LOG)))

    def _show(self, result: MonitorRound) -> None:
        """Leaves the round beside the state, for the explorer; nothing rests on it."""
        if self._state is None:
            return
        try:
            write_round(self._state, result)
        except MunimentError as error:
            event(_log, logging.ERROR, "the round was not written", reason=str(error))

    def _keep(self, result: MonitorRound) -> MonitorRound:
        """Writes evidence that was not written yet."""
        if self._evidence_dir is None:
            return result
        for alarm in result.alarms:
            if alarm.evidence is None:
                continue
            evidence = alarm.evidence.evidence
            name = evidence.hash.hex()
            if name not in self._files:
                path = self._evidence_dir / f"{name}{EXTENSION}"
                try:
                    write_atomic(path, evidence.encode(), "evidence")
                except MunimentError as error:
                    # The alarm must go out all the same; the next round tries again.
                    event(_log, logging.ERROR, "evidence not written", reason=str(error))
                    continue
                self._files[name] = str(path)
        return replace(result, evidence_files=dict(self._files))


def _may_catch_up(heads: Mapping[str, ShownHead], tiles: Mapping[Pair, Tiles]) -> bool:
    """Whether a comparison failed that the log makes possible when it publishes what it has.

    Or when the copy of it that serves tiles has caught up with the one that showed the head.
    """
    shown = heads[LOG].size if LOG in heads else -1
    return any(
        not made.is_compared and pair.newer.size >= shown >= 0 for pair, made in tiles.items()
    )


def tell(result: MonitorRound, webhooks: Sequence[Webhook]) -> None:
    """Logs what is new and what is over, and hands it to the webhooks; does not wait for them."""
    for alarm in result.raised:
        value = result.alarm_json(alarm)
        value.pop("explanation", None)
        level = logging.CRITICAL if alarm.weight is AlarmWeight.PROVEN else logging.WARNING
        # The time of the log line is its own; that of the round is near enough.
        value.pop("time")
        event(_log, level, "alarm", **value)
        for webhook in webhooks:
            webhook.put({"event": "alarm", **result.alarm_json(alarm)})
    for kind, party in result.cleared:
        event(_log, logging.INFO, "alarm is over", origin=result.origin, kind=kind, party=party)
        for webhook in webhooks:
            webhook.put(
                {
                    "event": "over",
                    "origin": result.origin,
                    "time": result.time,
                    "kind": kind,
                    "party": party,
                }
            )
