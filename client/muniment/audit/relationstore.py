"""The events of an audit on temporary disk, by partition; bounded memory while a log is read."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, Final, Self

from muniment.audit.addenda import Addenda
from muniment.audit.events import PARTITIONS
from muniment.audit.relations import MAX_EDGES, Judged, Reuse, Warned, cycles, odd, stranger
from muniment.audit.report import MAX_FINDINGS, Report

BUFFER: Final = 256 * 1024
"""Bytes of one partition kept in memory before they go to disk: 16 MiB for all."""


class RelationStore:
    """Collects the events of bundles, then judges them; a context manager."""

    def __init__(self) -> None:
        self._buffers = [bytearray() for _ in range(PARTITIONS)]
        self._files: list[IO[bytes] | None] = [None] * PARTITIONS

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            if file is not None:
                file.close()

    def add(self, parts: Sequence[bytes]) -> None:
        """Takes a bundle's events, see ``events.extract``."""
        for number, part in enumerate(parts):
            if not part:
                continue
            buffer = self._buffers[number]
            buffer += part
            if len(buffer) >= BUFFER:
                file = self._files[number]
                if file is None:
                    file = self._files[number] = tempfile.TemporaryFile(  # noqa: SIM115 - closed with the store
                        prefix="muniment-"
                    )
                file.write(buffer)
                buffer.clear()

    def partitions(self) -> Iterator[bytes]:
        """The events of each partition, in the order of the log."""
        for buffer, file in zip(self._buffers, self._files, strict=True):
            if file is None:
                yield bytes(buffer)
                continue
            file.seek(0)
            data: Any = file.read()
            yield data + buffer


class Judgement:
    """What all partitions come to, put together.

    Of `reuses`, ids that came again, whoever can read the leaves takes out those whose records
    differ in nothing but their time, see ``reuse``.
    """

    def __init__(self) -> None:
        self.reuses: list[Reuse] = []
        self.addenda = Addenda()
        self._warnings: list[Warned] = []
        self._turns: list[tuple[int, int]] = []
        self._unresolved = 0
        self._runs = 0
        self._edges = 0
        self._promised = 0
        self._unended: list[int] = []
        self._approved = 0

    def warn(self, warning: Warned) -> None:
        """Takes a warning about several partitions."""
        self._warnings.append(warning)

    def add(self, judged: Judged) -> None:
        """Takes what one partition comes to."""
        self._warnings += judged.warnings
        self._turns += judged.turns
        self.reuses += judged.reuses
        self._unresolved += judged.unresolved
        self._runs += judged.runs
        self._edges += judged.edges
        self._promised += judged.promised
        self._unended += judged.unended
        self._approved += judged.approved
        self.addenda.add(judged.addenda)

    def conclude(
        self, report: Report, partitions: Callable[[], Iterator[bytes]], *, is_whole: bool
    ) -> None:
        """Looks for cycles; adds counts and warnings to the report, in the order of the log.

        `is_whole` tells whether the audit has read the log from its first leaf on.
        """
        found, turns = self._warnings, self._turns
        found += [one.warning for one in self.reuses]
        found += [stranger(one) for one in self.addenda.strangers]
        found += [odd(entry) for entry in self.addenda.odd]
        report.unresolved, report.runs, report.edges = self._unresolved, self._runs, self._edges
        report.promised, report.approved = self._promised, self._approved
        report.unended = len(self._unended)
        report.unended_entries = sorted(self._unended)[:MAX_FINDINGS]
        report.are_relations_whole = is_whole
        report.are_cycles_checked = not turns or report.edges <= MAX_EDGES
        if turns and report.are_cycles_checked:
            found += cycles(partitions(), [key for _, key in sorted(turns)])
        found.sort(key=lambda one: (one.index, one.kind, one.sentence))
        report.warn(found)
