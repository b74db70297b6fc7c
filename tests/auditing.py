"""Audits of simulated logs in this process."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from logsim import GATEWAY_SIGNER, NOW, POLICY, LogSim, decision
from muniment.audit.auditor import AuditOptions, AuditOutcome, audit_log
from muniment.audit.statefile import AuditState
from muniment.http.logclient import LogClient
from muniment.tlog.tiles import ENTRIES, Tile, tile_at

OPTIONS = AuditOptions(POLICY, gateways=(GATEWAY_SIGNER.vkey,))
PLAIN = AuditOptions(POLICY)
"""What an audit asks that knows no gateway."""


def grown(batches: int, records: int = 40, start: int = 0, sim: LogSim | None = None) -> LogSim:
    """A log of batches on three streams."""
    sim = sim or LogSim()
    for number in range(batches):
        base = start + number * records
        sim.append([decision(base + k) for k in range(records)], stream=f"s{number % 3}")
    return sim


def two_faced(sim: LogSim, other: LogSim, *, reading: int) -> Callable[[Tile], bytes]:
    """The tiles of a log that shows another one's leaves at each first or second `reading`."""
    honest = sim.tile
    times = Counter[Tile]()

    def tile(wanted: Tile) -> bytes:
        times[wanted] += 1
        is_other = wanted.level == ENTRIES and times[wanted] % 2 == reading % 2
        return other.tile(wanted) if is_other else honest(wanted)

    return tile


async def audit(
    sim: LogSim,
    state: AuditState | None = None,
    options: AuditOptions = OPTIONS,
    *,
    now: int = NOW,
    **how: Any,
) -> AuditOutcome:
    async with sim.serve() as url, LogClient(url) as client:
        return await audit_log(client, options, state, now=now, **how)


def kinds(outcome: AuditOutcome) -> set[str]:
    return {finding.kind for finding in outcome.report.findings}


Spoil = Callable[[LogSim], None]


def tile_changed(level: int, index: int, change: Callable[[bytes], bytes]) -> Spoil:
    """Serves a tile as something else: a partial one where the tree has no full one."""

    def spoil(sim: LogSim) -> None:
        tile = tile_at(level, index, sim.size)
        sim.overrides[tile.path] = change(sim.tile(tile))

    return spoil


wrong_level_0 = tile_changed(0, 0, lambda data: b"x" * 32 + data[32:])
wrong_level_1 = tile_changed(1, 0, lambda data: data[:-32] + b"x" * 32)
