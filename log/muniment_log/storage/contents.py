"""What a log's file holds besides leaves: for copying it to a cluster.

Streams, receipts and refused manifests are read a chunk at a time on a query-only connection, while
the file is locked and nothing writes to it.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, Final

from muniment.local.sqlitefile import open_reader
from muniment_log.core.ordering import Accepted
from muniment_log.core.ports import StreamKey, StreamState
from muniment_log.core.recall import pack_runs
from muniment_log.errors import StorageError
from muniment_log.storage.recalled import recalls_of
from muniment_log.storage.reporting import reported

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHUNK: Final = 5000
"""Rows given out together."""

_PACKS: Final = 64  # rows of which each has many


class Contents:
    """The rows of one file; each call reads them anew."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def streams(self) -> Iterator[list[tuple[StreamKey, StreamState]]]:
        """Where each stream continues, in chunks; StorageError if the file cannot be read."""
        for rows in self._chunks("SELECT gateway, label, next, manifest FROM stream ORDER BY id"):
            yield [(StreamKey(*row[:2]), StreamState(*row[2:])) for row in rows]

    def batches(self) -> Iterator[list[Accepted]]:
        """The signed batches, in chunks; see `streams`."""
        for rows in self._chunks(
            "SELECT gateway, label, first, count, digest, idx"
            " FROM batch JOIN stream ON stream.id = batch.stream ORDER BY batch.stream, first"
        ):
            yield [Accepted(StreamKey(*row[:2]), *row[2:]) for row in rows]

    def refused(self) -> Iterator[list[tuple[StreamKey, int, bytes]]]:
        """Manifests that contradict accepted ones, in chunks; see `streams`."""
        for rows in self._chunks("SELECT gateway, label, first, note FROM refused"):
            yield [(StreamKey(*row[:2]), *row[2:]) for row in rows]

    def recalls(self) -> Iterator[list[tuple[bytes, bytes, bytes, int, int, bytes]]]:
        """What recognises the records of producers that cannot sign, as stored; see `streams`."""
        for rows in self._chunks("SELECT stream, name, content, time, place, runs FROM recall"):
            yield [(row[0], *row[1:]) for row in rows]
        for rows in self._chunks("SELECT stream, place, names, data FROM recalled", _PACKS):
            with reported(str(self._path)):
                found = [(*row[:2], recalls_of(*row[2:])) for row in rows]
            yield [
                (stream, one.name, one.content, one.time, place, pack_runs(one.runs))
                for stream, place, recalls in found
                for one in recalls
            ]

    def _chunks(self, sql: str, size: int = CHUNK) -> Iterator[list[tuple[Any, ...]]]:
        with reading(self._path) as db:
            cursor = db.execute(sql)
            while rows := cursor.fetchmany(size):
                yield rows


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A query-only connection to a file; StorageError if that cannot be read meanwhile."""
    try:
        with closing(open_reader(path)) as db:
            yield db
    except sqlite3.Error as error:
        raise StorageError(f"{path}: {error}") from error
