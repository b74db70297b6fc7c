"""log.toml as it stands.

| key | is |
| --- | --- |
| `origin` | the log's identity, first line of its checkpoints and name of its keys |
| `listen` | `host:port`; port 0 lets the system choose |
| `database` | the SQLite file; not with `[cluster]` |
| `keys` | PKCS#8 PEM files, Ed25519 and ML-DSA-44; the log signs with each of them |
| `key_passphrase_file` | optional: file with the passphrase of encrypted keys |
| `policy` | optional: tlog-policy file whose witness lines carry the submission URL |
| `[[witness]] url, per_day` | optional: a witness of the policy that is asked at most so often |
| `[[gateway]] vkey` | the key of a gateway that may submit signed batches |
| `[[token]] producer, sha256` | the hash of a bearer token, and the producer it speaks for |
| `[[token]] expires` | optional: when it ends, a TOML date-time with an offset |
| `[read]` | optional: who may read, see `ReadTable`; without it, everybody |
| `[[gateway]]`, `[[token]]` … `_per_second` | optional: its own budget, see `budgets.Rates` |
| `[limits]` | optional, see `LimitsFile` |
| `[index]` | optional, see `IndexTable` |
| `[complete]` | optional, see `CompleteTable` |
| `[[retention]] label, retain, legal_minimum` | optional: how long addenda are kept |
| `[pruning] older_than` | optional: how old entries are that `prune` may remove |
| `[cluster]` | instead of `database`: PostgreSQL and an object store, see `ClusterTable` |
| `admin` | optional: the Unix socket for administration |
| `[tls]` | optional: serve https, see `TlsTable` |
| `[outgoing]` | optional: how witnesses are connected to, see `OutgoingTable` |
| `log_level`, `log_format` | optional: `debug`, `info`, `warning`, `error`; `text`, `json` |
"""

from __future__ import annotations

import os
from datetime import datetime  # msgspec reads the annotations
from pathlib import Path  # noqa: TC003  # msgspec reads the annotations
from typing import Annotated, Final, Literal

from msgspec import Meta

from muniment.records.members import MAX_ID, MAX_LABEL
from muniment_log.core.budgets import BURST_SECONDS, Rate, Rates
from muniment_log.core.recall import KEPT
from muniment_log.core.sequencer import SequencerLimits
from muniment_log.publish.pace import PublisherLimits
from muniment_service.config import Config
from muniment_service.limits import Count, Limits, Seconds  # msgspec reads them
from muniment_service.servicefile import ServiceFile

Time = Annotated[datetime, Meta(tz=True)]


class WitnessEntry(Config, frozen=True):
    """One `[[witness]]` table: a witness that no head waits for, and that is asked within a rate.

    Attributes:
        url: its submission prefix, as the policy has it.
        per_day: requests that it may be sent in a day.
    """

    url: str
    per_day: Annotated[int, Meta(ge=1, le=1_000_000_000)]


class GatewayEntry(Rates, frozen=True, kw_only=True):
    """One `[[gateway]]` table."""

    vkey: str


class TokenEntry(Rates, frozen=True, kw_only=True):
    """One `[[token]]` table: `sha256` is the token's hash in lower-case hexadecimal."""

    producer: str
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    expires: Time | None = None


class ReaderEntry(Config, frozen=True):
    """One `[[read.token]]` table: a read token's hash, who has it, when it ends, what it is for.

    Attributes:
        name: who has it.
        sha256: the token's hash in lower-case hexadecimal.
        expires: when it ends.
        scopes: what it opens: the reads of the `log`, the `addenda`, or both.
    """

    name: Annotated[str, Meta(min_length=1, max_length=255)]
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    expires: Time | None = None
    scopes: Annotated[tuple[Literal["log", "addenda"], ...], Meta(min_length=1)] = ("log",)


class ReadTable(Config, frozen=True):
    """The `[read]` table.

    Attributes:
        token: the read tokens. With any for the log, everything below `/v1` that is read and the
            metrics need one; health and readiness do not.
        tiles: whether the C2SP reads (checkpoint, tiles, entry bundles) are `open` all the same,
            or need one, too: `token`.
        open_addenda: whether everybody may read what records withhold; otherwise it takes a token
            with the scope `addenda`.
    """

    token: tuple[ReaderEntry, ...] = ()
    tiles: Literal["open", "token"] = "open"
    open_addenda: bool = False

    def entries(self, scope: str) -> list[tuple[str, str, datetime | None]]:
        """Names, hashes and ends of the tokens of a scope."""
        return [(e.name, e.sha256, e.expires) for e in self.token if scope in e.scopes]


class LimitsFile(Limits, frozen=True):
    """The `[limits]` table. Sizes are in bytes, times in seconds; see also `service.limits.Limits`.

    Attributes:
        waiting_bytes: records accepted and not yet durable; more are answered with 503.
        commit_leaves: leaves in one transaction.
        commit_bytes: bytes of records in one transaction.
        parked_batches: batches of one stream that wait for those before them.
        parked_seconds: how long they wait.
        recalled_records: records of one producer with a token, its newest, that are recognised
            when they come again, by their ids or by an Idempotency-Key.
        witness_seconds: how long a witness may take to answer.
        start_seconds: how long the start waits for the witnesses.
        pace_seconds: time between two publication rounds while nobody waits for one.
        round_seconds: how long a publication round waits for its quorum before a newer head gets
            its turn.
        refresh_seconds: how old the cosignatures of an idle log get before it renews them.
        records_per_second, bytes_per_second, burst_seconds: each producer's budget, see
            `budgets.Rates`; any number by default.
        failures_per_second: unauthenticated requests of one client address (a signature or a
            token that is not known); more are answered with 429. Any number by default: behind a
            proxy all clients have one address.
    """

    waiting_bytes: Count = 64 << 20
    commit_leaves: Count = 16_384
    commit_bytes: Count = 16 << 20
    parked_batches: Count = 64
    parked_seconds: Seconds = 5.0
    recalled_records: Count = KEPT
    witness_seconds: Seconds = 5.0
    start_seconds: Seconds = 3.0
    pace_seconds: Seconds = 0.05
    round_seconds: Seconds = 5.0
    refresh_seconds: Seconds = 120.0
    records_per_second: Rate | None = None
    bytes_per_second: Rate | None = None
    burst_seconds: Seconds = BURST_SECONDS
    failures_per_second: Rate | None = None

    @property
    def sequencer(self) -> SequencerLimits:
        """The sequencer's part."""
        return SequencerLimits(
            waiting_bytes=self.waiting_bytes,
            commit_leaves=self.commit_leaves,
            commit_bytes=self.commit_bytes,
            parked_batches=self.parked_batches,
            parked_seconds=self.parked_seconds,
            recalled_records=self.recalled_records,
        )

    @property
    def rates(self) -> Rates:
        """What each producer may log."""
        return Rates(
            records_per_second=self.records_per_second,
            bytes_per_second=self.bytes_per_second,
            burst_seconds=self.burst_seconds,
        )

    @property
    def publisher(self) -> PublisherLimits:
        """The publisher's part."""
        return PublisherLimits(
            pace_seconds=self.pace_seconds,
            round_seconds=self.round_seconds,
            refresh_seconds=self.refresh_seconds,
        )


Duration = Annotated[str, Meta(pattern="^[1-9][0-9]{0,5}[dhs]$")]


class RetentionEntry(Config, frozen=True):
    """One `[[retention]]` table; times count from when the log took an addendum.

    Attributes:
        label: a governance label, `name=text`, or `name` with any text; all records without it.
        retain: after that their addenda are erased: `180d`, `12h` or `90s`.
        legal_minimum: before that nobody erases them.
    """

    label: Annotated[str, Meta(min_length=1, max_length=MAX_ID + 1 + MAX_LABEL)] | None = None
    retain: Duration | None = None
    legal_minimum: Duration | None = None


class PruningTable(Config, frozen=True):
    """The `[pruning]` table: the retention policy without which nothing is pruned.

    Attributes:
        older_than: how old an entry is at least, by its own time, that `muniment-log prune` may
            remove: `3650d`.
    """

    older_than: Duration


class IndexTable(Config, frozen=True):
    """The `[index]` table.

    Attributes:
        enabled: whether to keep an index, for lookups by id, run and lineage.
        database: its SQLite file, which can be deleted and is built again; `index.db` beside the
            log's database if not given.
    """

    enabled: bool = True
    database: Path | None = None


class CompleteTable(Config, frozen=True):
    """The `[complete]` table: an index log, which proves that answers leave nothing out.

    Attributes:
        enabled: whether to keep one.
        database: its SQLite file, which nothing replaces; `indexlog.db` beside the log's database
            if not given.
        map: the SQLite file of the map, which can be deleted and is built again; `map.db` there.
        pace_seconds: time between two of its leaves at least.
    """

    enabled: bool = False
    database: Path | None = None
    map: Path | None = None
    pace_seconds: Annotated[float, Meta(ge=0.05, le=60)] = 0.5


LONGEST_LEASE_SECONDS: Final = 300.0
"""The longest lease that can be asked for."""


class ClusterTable(Config, frozen=True):
    """The `[cluster]` table. Credentials of the object store come from the environment.

    Attributes:
        postgres: URL of the log's own PostgreSQL database; `PGPASSWORD` may hold the password.
        object_store: `s3://bucket` or `s3://bucket/prefix`.
        lease_seconds: how long an integrator that does not answer keeps others from taking over.
        backlog_leaves: leaves ordered and not yet in the tree; more are answered with 503.
        backlog_bytes: their bytes; more are answered with 503.
        connections: connections to PostgreSQL that one process opens at most.
        engine_seconds: how long a start waits for PostgreSQL and the object store to answer.
        lock_days: days for which the bucket has to keep every object, by Object Lock with a default
            retention; without it, the bucket need not.
    """

    postgres: Annotated[str, Meta(pattern="^postgres(ql)?://")]
    object_store: Annotated[str, Meta(pattern="^s3://")]
    lease_seconds: Annotated[float, Meta(ge=1, le=LONGEST_LEASE_SECONDS)] = 6.0
    backlog_leaves: Count = 2_000_000
    backlog_bytes: Count = 2 << 30
    connections: Annotated[int, Meta(ge=2, le=100)] = 6
    engine_seconds: Annotated[float, Meta(ge=0, le=3600)] = 60.0
    lock_days: Annotated[int, Meta(ge=1, le=36_500)] | None = None


MAX_WORKERS: Final = 64
"""Most processes that take requests of one log."""


class LogFile(ServiceFile, frozen=True, kw_only=True):
    """log.toml as it stands.

    Attributes:
        workers: processes that take requests, beside the one that orders and commits; `auto` is one
            for each processor. With one, that process takes them itself.
    """

    origin: str
    database: Path | None = None
    cluster: ClusterTable | None = None
    policy: Path | None = None
    witness: tuple[WitnessEntry, ...] = ()
    gateway: tuple[GatewayEntry, ...] = ()
    token: tuple[TokenEntry, ...] = ()
    read: ReadTable = ReadTable()
    limits: LimitsFile = LimitsFile()
    index: IndexTable = IndexTable()
    complete: CompleteTable = CompleteTable()
    retention: tuple[RetentionEntry, ...] = ()
    pruning: PruningTable | None = None
    workers: Annotated[int, Meta(ge=1, le=MAX_WORKERS)] | Literal["auto"] = 1

    @property
    def worker_count(self) -> int:
        """How many processes take requests; one if it is the only one."""
        if self.workers != "auto":
            return self.workers
        if hasattr(os, "sched_getaffinity"):
            return min(MAX_WORKERS, len(os.sched_getaffinity(0)))
        return min(MAX_WORKERS, os.cpu_count() or 1)

    @property
    def index_database(self) -> Path | None:
        """The index's file; None when none is kept.

        Frontends of a cluster keep one only where they are told to: each needs its own.
        """
        if not self.index.enabled:
            return None
        if self.index.database is None and self.database is not None:
            return self.database.with_name("index.db")
        return self.index.database
