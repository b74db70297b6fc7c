"""What a witness has observed beyond its own cosignatures; SQL as in database.py.

Four tables: `evidence` (proof against a log's key, as files), `suspicion` (signed heads whose
relation to ours is not known yet, kept apart from evidence), `watched` (per origin, the newest
head that was shown to extend what we knew, cosigned by us or not), and `shown` (per peer and
origin, the newest head that the peer has shown to us: who asks later learns what we saw of it).

Everything is held in memory and bounded here, so that neither a log nor a peer can fill the disk.
"""

from collections.abc import Callable, Iterable, Mapping
from sqlite3 import Connection
from typing import Final

from msgspec import Struct

from muniment.local.sqlitefile import Writer
from muniment.tlog.claims import Evidence

MAX_EVIDENCE: Final = 16
"""Evidence of one origin that nobody has acknowledged; more would prove the same."""

MAX_FILES: Final = 64
"""Evidence of one origin in all; beyond it the oldest acknowledged file makes room."""

MAX_SUSPICIONS: Final = 32
"""Unresolved heads of one origin. When it is full the oldest stay: they raise the alarm."""

SCHEMA: Final = """
    CREATE TABLE evidence (
        contradiction BLOB PRIMARY KEY,
        hash BLOB NOT NULL UNIQUE,
        origin TEXT NOT NULL,
        kind TEXT NOT NULL,
        file BLOB NOT NULL,
        source TEXT NOT NULL,
        time INTEGER NOT NULL
    );
    CREATE TABLE suspicion (
        origin TEXT NOT NULL,
        digest BLOB NOT NULL,
        note BLOB NOT NULL,
        request BLOB NOT NULL,
        source TEXT NOT NULL,
        since INTEGER NOT NULL,
        PRIMARY KEY (origin, digest)
    );
    CREATE TABLE watched (
        origin TEXT PRIMARY KEY,
        note BLOB NOT NULL,
        time INTEGER NOT NULL
    );
    CREATE TABLE shown (
        peer TEXT NOT NULL,
        origin TEXT NOT NULL,
        note BLOB NOT NULL,
        time INTEGER NOT NULL,
        PRIMARY KEY (peer, origin)
    );
"""
"""The second migration of database.py. `digest` is the SHA-256 of a note's text; times are Unix
seconds; `request` is the body of the refused add-checkpoint request, empty without one."""


class FiledEvidence(Struct, frozen=True):
    """A file of evidence in the database.

    The hash is the SHA-256 of the file; the contradiction says what it is about, whatever its
    spelling. The source is a peer's name, or how this witness found it; times are Unix seconds.
    """

    origin: str
    kind: str
    hash: bytes
    contradiction: bytes
    file: bytes
    source: str
    time: int


class Suspicion(Struct, frozen=True):
    """A head that the log signed and whose relation to ours is unknown.

    The refused add-checkpoint request that brought it is empty without one; `since` is when it
    was first shown, in Unix seconds.
    """

    note: bytes
    request: bytes
    source: str
    since: int


class DatedNote(Struct, frozen=True):
    """A note and when it was seen, in Unix seconds."""

    note: bytes
    time: int


class Observations:
    """The four tables, in memory and on disk. Read the attributes freely.

    Attributes:
        evidence: For each origin, evidence by file hash.
        suspicions: For each origin, unresolved heads by digest.
        watched: For each origin, the newest head known to extend ours.
        shown: By peer and origin, the newest head that the peer has shown.
        dropped: Suspicions that found no room since the start.
    """

    def __init__(self, writer: Writer) -> None:
        """Takes the writer of an opened store; use `open`."""
        self._writer = writer
        self.evidence: Final[dict[str, dict[bytes, FiledEvidence]]] = {}
        self.suspicions: Final[dict[str, dict[bytes, Suspicion]]] = {}
        self.watched: Final[dict[str, DatedNote]] = {}
        self.shown: Final[dict[tuple[str, str], DatedNote]] = {}
        self.dropped = 0
        self._about: Final[set[bytes]] = set()
        self._changes: Final[dict[object, Callable[[Connection], object]]] = {}

    @classmethod
    async def open(cls, writer: Writer) -> "Observations":
        """Reads all four tables."""
        observations = cls(writer)
        await writer.run(observations._load)
        return observations

    def _load(self, connection: Connection) -> None:
        rows = connection.execute(
            "SELECT origin, kind, hash, contradiction, file, source, time FROM evidence"
            " ORDER BY time"
        )
        for filed in (FiledEvidence(*row) for row in rows):
            self.evidence.setdefault(filed.origin, {})[filed.hash] = filed
            self._about.add(filed.contradiction)
        for origin, digest, *row in connection.execute(
            "SELECT origin, digest, note, request, source, since FROM suspicion ORDER BY since"
        ):
            self.suspicions.setdefault(origin, {})[digest] = Suspicion(*row)
        for origin, *row in connection.execute("SELECT origin, note, time FROM watched"):
            self.watched[origin] = DatedNote(*row)
        for peer, origin, *row in connection.execute("SELECT peer, origin, note, time FROM shown"):
            self.shown[peer, origin] = DatedNote(*row)

    async def file(
        self, evidence: Evidence, source: str, now: int, acknowledged: Iterable[str] = ()
    ) -> FiledEvidence | None:
        """Keeps verified evidence, filed at `now` (Unix seconds); durable when it returns.

        Of this origin the operator acknowledged the files of the hashes (hexadecimal) given. None
        when the same contradiction is known, or there is enough. Raises FatalDatabaseError if it
        could not be made durable; the process must end.
        """
        origin = evidence.origin
        files = self.evidence.setdefault(origin, {})
        old = [filed for filed in files.values() if filed.hash.hex() in set(acknowledged)]
        if evidence.contradiction in self._about or len(files) - len(old) >= MAX_EVIDENCE:
            return None
        out = old[0] if len(files) >= MAX_FILES else None
        data = evidence.encode()
        filed = FiledEvidence(
            origin, evidence.kind, evidence.hash, evidence.contradiction, data, source, now
        )

        def write(connection: Connection) -> None:
            if out is not None:
                connection.execute("DELETE FROM evidence WHERE hash = ?", (out.hash,))
            connection.execute(
                "INSERT INTO evidence (origin, kind, hash, contradiction, file, source, time)"
                " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (origin, filed.kind, filed.hash, filed.contradiction, data, source, now),
            )

        self._about.add(filed.contradiction)  # before the wait: it is filed once
        await self._writer.run(write)
        if out is not None:
            files.pop(out.hash, None)
        files[filed.hash] = filed
        return filed

    def knows(self, evidence: Evidence) -> bool:
        """Whether evidence of the same contradiction is filed."""
        return evidence.contradiction in self._about

    def suspect(self, origin: str, digest: bytes, suspicion: Suspicion) -> bool:
        """Keeps an unresolved head, if it is new and there is room; `save` makes it durable."""
        known = self.suspicions.setdefault(origin, {})
        if digest in known:
            return False
        if len(known) >= MAX_SUSPICIONS:
            self.dropped += 1
            return False
        known[digest] = suspicion
        row = (origin, digest, suspicion.note, suspicion.request, suspicion.source, suspicion.since)
        self._later(
            ("suspicion", origin, digest),
            "INSERT INTO suspicion (origin, digest, note, request, source, since)"
            " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            row,
        )
        return True

    def resolve(self, origin: str, digest: bytes) -> None:
        """Forgets a suspicion: how the head relates to ours is known now."""
        if self.suspicions.get(origin, {}).pop(digest, None) is not None:
            self._later(
                ("suspicion", origin, digest),
                "DELETE FROM suspicion WHERE origin = ? AND digest = ?",
                (origin, digest),
            )

    def watch(self, origin: str, noted: DatedNote) -> None:
        """Notes the newest head of an origin that extends what was known."""
        self.watched[origin] = noted
        self._later(
            ("watched", origin),
            "INSERT INTO watched (origin, note, time) VALUES (?, ?, ?)"
            " ON CONFLICT DO UPDATE SET note = excluded.note, time = excluded.time",
            (origin, noted.note, noted.time),
        )

    def unwatch(self, origin: str) -> None:
        """Forgets the watched head of an origin."""
        if self.watched.pop(origin, None) is not None:
            self._later(("watched", origin), "DELETE FROM watched WHERE origin = ?", (origin,))

    def show(self, peer: str, origin: str, noted: DatedNote) -> None:
        """Notes the newest head that a peer has shown."""
        self.shown[peer, origin] = noted
        self._later(
            ("shown", peer, origin),
            "INSERT INTO shown (peer, origin, note, time) VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET note = excluded.note, time = excluded.time",
            (peer, origin, noted.note, noted.time),
        )

    async def save(self) -> None:
        """Makes all changes durable, in one transaction; nothing happens without changes.

        Raises FatalDatabaseError if that failed; the process must end.
        """
        if self._changes:
            changes = list(self._changes.values())
            self._changes.clear()
            await self._writer.run(lambda connection: [change(connection) for change in changes])

    def _later(self, key: object, sql: str, values: tuple[object, ...]) -> None:
        # By key: the last change of a row is all that matters, and the number of rows is bounded.
        self._changes[key] = lambda connection: connection.execute(sql, values)


def counts(observations: Observations) -> Mapping[str, int]:
    """Counts what is held, by kind, for metrics."""
    return {
        "evidence": sum(map(len, observations.evidence.values())),
        "suspicions": sum(map(len, observations.suspicions.values())),
        "dropped": observations.dropped,
    }
