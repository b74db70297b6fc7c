"""What is measured beside peers, row by row: Muniment's figures and the peer's."""

import statistics
from enum import Enum
from typing import Any

from benchmark.beside import ratios


class Row(Enum):
    """Every row, in the order of the table: what it is, and its unit.

    More is better of what is a second, less of all else.
    """

    OVER_HTTP = "ingest over HTTP, durable", "/s"
    IN_PROCESS = "the same, the peer called in its own process", "/s"
    SINGLE_RATE = "single records, 64 connections", "/s"
    SINGLE_CPU = "the same, the log's processor time a record", "µs"
    LONE_TIME = "lone decision to a verified proof, 2 of 3 witnesses", "ms"
    AUDIT = "audit of a static export, all records, beside fsck (hashes)", "/s"
    AUDIT_TREE = "audit --tree of it, beside fsck", "/s"
    AUDIT_CPU = "audit of all records, processor time an entry, beside fsck", "µs"
    BUNDLE = "an entry bundle served, processor time", "µs"
    BUNDLE_GZIP = "the same, compressed by Muniment, plain from a file", "µs"
    TILE = "a hash tile served, processor time", "µs"
    INCLUSION = (
        "an inclusion proof served, processor time; a peer's clients build them from tiles",
        "µs",
    )
    WITNESS = "add-checkpoint at a witness, four logs, processor time a request", "µs"
    WITNESS_MANY = "the same, 64 logs at the same time", "µs"
    VERIFY = "verifying a proof: parse, signature, inclusion", "µs"
    READY_MEMORY = "memory of the log: ready", "MB"
    SINGLE_MEMORY = "memory of the log: after single records", "MB"
    INGEST_MEMORY = "memory of the log: after ingest", "MB"
    START = "the log, from start to ready", "ms"
    COMMAND = "a command's own start: muniment --version, fsck -help", "ms"

    def __init__(self, title: str, unit: str) -> None:
        self.title = title
        self.unit = unit


class Table:
    """What the rounds have measured, by row: Muniment's figures and the peer's."""

    def __init__(self) -> None:
        self._found: dict[Row, tuple[list[float], list[float]]] = {row: ([], []) for row in Row}

    def ours(self, row: Row, value: float) -> None:
        self._found[row][0].append(value)

    def theirs(self, row: Row, value: float) -> None:
        self._found[row][1].append(value)

    def figures(self) -> dict[str, Any]:
        """Of each row the medians and their ratio: more than 1 is better for Muniment.

        Its least and most are of single rounds. A row that no peer has is without.
        """
        found: dict[str, Any] = {}
        for row, (ours, theirs) in self._found.items():
            told = {"unit": row.unit, "muniment": _short(statistics.median(ours))}
            found[row.title] = told
            if theirs:
                better = ratios(ours, theirs, more_is_better=row.unit == "/s")
                told |= {
                    "peer": _short(statistics.median(theirs)),
                    "ratio": round(statistics.median(better), 2),
                    "ratio_least": round(min(better), 2),
                    "ratio_most": round(max(better), 2),
                }
        return found


def _short(value: float) -> float:
    """Three digits, or whole."""
    return round(value) if value >= 100 else round(value, 1 if value >= 10 else 2)
