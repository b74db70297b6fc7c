"""The hash tiles above the leaves: those that an audit has recomputed beside those of the log."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from muniment.audit.report import MAX_FINDINGS, MISMATCH, Finding, Report, Weight
from muniment.http.logclient import LogClient
from muniment.tlog.merkle import HASH_SIZE
from muniment.tlog.tiles import Tile

TILE_WINDOW: Final = 32
"""Upper-level tiles fetched at the same time; there is one for 65,536 leaves."""


class TileComparison:
    """Compares recomputed hash tiles of level 1 and above with those that the log serves."""

    def __init__(self, client: LogClient, report: Report) -> None:
        self.findings: list[Finding] = []
        self._client = client
        self._report = report
        self._waiting: list[tuple[Tile, bytes]] = []

    async def compare(self, tiles: Iterable[tuple[Tile, bytes]]) -> None:
        """Takes tiles; they are fetched some at a time."""
        self._waiting += tiles
        if len(self._waiting) >= TILE_WINDOW:
            await self.finish()

    async def finish(self) -> None:
        """Fetches and compares what waits."""
        waiting, self._waiting = self._waiting, []
        served: Sequence[bytes] = await asyncio.gather(
            *[self._client.tile(tile) for tile, _ in waiting]
        )
        for (tile, expected), data in zip(waiting, served, strict=True):
            self._report.tiles += 1
            if data == expected:
                continue
            at = next(
                at
                for at in range(tile.width)
                if data[at * HASH_SIZE : (at + 1) * HASH_SIZE]
                != expected[at * HASH_SIZE : (at + 1) * HASH_SIZE]
            )
            sentence = f"{tile.path}: hash {at} is not that of the leaves below it"
            if len(self.findings) < MAX_FINDINGS:
                self.findings.append(Finding(MISMATCH, sentence, Weight.UNVERIFIED))
