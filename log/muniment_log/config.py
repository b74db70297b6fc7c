"""The log's configuration, log.toml, and the keys and the policy that it names.

| key | is |
| --- | --- |
| `origin` | the log's identity, first line of its checkpoints and name of its keys |
| `listen` | `host:port`; port 0 lets the system choose |
| `database` | the SQLite file; not with `[cluster]` |
| `keys` | PKCS#8 PEM files, Ed25519 and ML-DSA-44; the log signs with each of them |
| `key_passphrase_file` | optional: file with the passphrase of encrypted keys |
| `policy` | optional: tlog-policy file whose witness lines carry the submission URL |
| `[[gateway]] vkey` | the key of a gateway that may submit signed batches |
| `[[token]] producer, sha256` | the hash of a bearer token, and the producer it speaks for |
| `[[token]] expires` | optional: when it ends, a TOML date-time with an offset |
| `[read]` | optional: who may read, see `ReadTable`; without it, everybody |
| `[[gateway]]`, `[[token]]` … `_per_second` | optional: its own budget, see `budgets.Rates` |
| `[limits]` | optional, see `LimitsFile` |
| `[index]` | optional, see `IndexTable` |
| `[[retention]] label, retain, legal_minimum` | optional: how long addenda are kept |
| `[cluster]` | instead of `database`: PostgreSQL and an object store, see `ClusterTable` |
| `admin` | optional: the Unix socket for administration |
| `[tls]` | optional: serve https, see `TlsTable` |
| `[outgoing]` | optional: how witnesses are connected to, see `OutgoingTable` |
| `log_level`, `log_format` | optional: `debug`, `info`, `warning`, `error`; `text`, `json` |
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime  # msgspec reads the annotations
from hashlib import sha256
from pathlib import Path  # noqa: TC003  # msgspec reads the annotations
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

from muniment.records.manifest import HEADER
from muniment.records.members import MAX_ID, MAX_LABEL
from muniment.tlog.cosignature import MAX_NAME_SIZE, verifier_for
from muniment.tlog.encoding import FormatError, check_key_name
from muniment.tlog.note import (
    COSIGNATURE_MLDSA44,
    ED25519,
    MAX_SIGNATURES,
    Signer,
    parse_vkey,
)
from muniment.tlog.policy import MAX_POLICY_SIZE, parse_policy
from muniment_log.core.bearer import Token, Tokens
from muniment_log.core.budgets import BURST_SECONDS, Rate, Rates
from muniment_log.core.ingest import Admission
from muniment_log.core.recall import KEPT
from muniment_log.core.retention import Retention, Rule, parse_duration
from muniment_log.core.sequencer import SequencerLimits
from muniment_log.publish.pace import PublisherLimits
from muniment_service.config import (
    Config,
    ConfigError,
    config_error,
    config_key,
    load_config,
    read_file,
)
from muniment_service.limits import Count, Limits, Seconds  # msgspec reads them
from muniment_service.servicefile import ServiceFile
from muniment_service.signers import read_signers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from muniment.tlog.note import Verifier
    from muniment.tlog.policy import Policy

Time = Annotated[datetime, Meta(tz=True)]


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


class IndexTable(Config, frozen=True):
    """The `[index]` table.

    Attributes:
        enabled: whether to keep an index, for lookups by id, run and lineage.
        database: its SQLite file, which can be deleted and is built again; `index.db` beside the
            log's database if not given.
    """

    enabled: bool = True
    database: Path | None = None


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
    """

    postgres: Annotated[str, Meta(pattern="^postgres(ql)?://")]
    object_store: Annotated[str, Meta(pattern="^s3://")]
    lease_seconds: Annotated[float, Meta(ge=1, le=300)] = 6.0
    backlog_leaves: Count = 2_000_000
    backlog_bytes: Count = 2 << 30
    connections: Annotated[int, Meta(ge=2, le=100)] = 6
    engine_seconds: Annotated[float, Meta(ge=0, le=3600)] = 60.0


class LogFile(ServiceFile, frozen=True, kw_only=True):
    """log.toml as it stands."""

    origin: str
    database: Path | None = None
    cluster: ClusterTable | None = None
    policy: Path | None = None
    gateway: tuple[GatewayEntry, ...] = ()
    token: tuple[TokenEntry, ...] = ()
    read: ReadTable = ReadTable()
    limits: LimitsFile = LimitsFile()
    index: IndexTable = IndexTable()
    retention: tuple[RetentionEntry, ...] = ()

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


@dataclass(frozen=True, slots=True)
class LogConfig:
    """A configuration that was checked, with the keys and the policy read.

    Attributes:
        path: the file.
        file: the file's other values.
        signers: the log's keys, the Ed25519 one first.
        policy: the witness policy; None publishes uncosigned.
        admission: who may submit.
        rates: what they may submit, by producer, where it is not what `[limits]` says.
        retention: how long addenda are kept.
        policy_sha256: SHA-256 of the policy's file, hexadecimal; empty without a policy.
    """

    path: Path
    file: LogFile
    signers: tuple[Signer, ...]
    policy: Policy | None
    admission: Admission
    rates: Mapping[str, Rates]
    retention: Retention
    policy_sha256: str = ""

    @property
    def vkeys(self) -> list[str]:
        """The log's public keys, as verifiers write them down."""
        return [str(signer.vkey) for signer in self.signers]

    @property
    def verifiers(self) -> list[Verifier]:
        """What verifies the log's own signatures."""
        return [verifier_for(signer.vkey) for signer in self.signers]

    @property
    def database(self) -> Path:
        """The SQLite file; ConfigError if the log is a cluster."""
        if self.file.database is None:
            raise ConfigError("this is for a log in one file, and the configuration has [cluster]")
        return self.file.database

    @property
    def addenda(self) -> Path:
        """The SQLite file of the addenda, beside the log's: `addenda.db` where that is `log.db`.

        Raises:
            ConfigError: The log is a cluster.
        """
        return addenda_beside(self.database)

    @property
    def cluster(self) -> ClusterTable:
        """The cluster; ConfigError if the log is in one file."""
        if self.file.cluster is None:
            raise ConfigError("this is for a cluster, and the configuration has no [cluster]")
        return self.file.cluster


def addenda_beside(database: Path) -> Path:
    """The file of the addenda of the log in a database; another one for each in a folder."""
    name = "addenda.db" if database.name == "log.db" else f"{database.stem}.addenda.db"
    return database.with_name(name)


def load(path: Path, *, signers: tuple[Signer, ...] | None = None) -> LogConfig:
    """Reads log.toml, the key files and the policy that it names.

    Raises ConfigError if anything in it cannot be used; names file and key.
    """
    file = load_config(path, LogFile)
    with config_key(path, "origin"):
        check_origin(file.origin)
    if (file.database is None) == (file.cluster is None):
        config_error(path, "database", "give either a database or a [cluster] table")
    if signers is None:
        signers = _signers(path, file)
    policy, digest = None, ""
    if file.policy is not None:
        with config_key(path, "policy"):
            data = read_file(file.policy, most=MAX_POLICY_SIZE)
            policy, digest = parse_policy(data), sha256(data).hexdigest()
        asked = [witness for witness in policy.witnesses if witness.url is not None]
        for witness in asked:
            if not str(witness.url).startswith(("http://", "https://")):
                config_error(path, "policy", f"witness {witness.name}: the URL is not http(s)")
        if not policy.is_met([witness.name for witness in asked]):
            config_error(path, "policy", "no quorum: too few of its witness lines carry a URL")
        if len(signers) + len(asked) > MAX_SIGNATURES:
            config_error(
                path,
                "policy",
                f"{len(asked)} witness keys with a URL, and the log has {len(signers)} of its own: "
                f"a checkpoint has at most {MAX_SIGNATURES} signature lines",
            )
    admission, rates = admission_of(path, file), rates_of(path, file)
    retention = retention_of(path, file)
    return LogConfig(path, file, signers, policy, admission, rates, retention, digest)


def check_origin(origin: str) -> str:
    """Checks that a log may have this origin, and returns it.

    Raises FormatError if it is no key name, or would make a checkpoint look like a manifest.
    """
    check_key_name(origin, "origin")
    if origin == HEADER:
        raise FormatError("origin: this one is the first line of manifests")
    return origin


def _signers(path: Path, file: LogFile) -> tuple[Signer, ...]:
    found = read_signers(
        path,
        name=file.origin,
        keys=file.keys,
        passphrase_file=file.key_passphrase_file,
        use="log",
    )
    algorithms = {signer.vkey.algorithm for signer in found}
    if ED25519 not in algorithms:
        config_error(path, "keys", "an Ed25519 key is needed (C2SP tlog-tiles, Checkpoints)")
    if COSIGNATURE_MLDSA44 in algorithms and len(file.origin.encode()) > MAX_NAME_SIZE:
        config_error(path, "origin", f"ML-DSA-44 takes {MAX_NAME_SIZE} bytes at most")
    # Within an algorithm the order is the file's: the first Ed25519 key signs manifests.
    return tuple(sorted(found, key=lambda signer: signer.vkey.algorithm))


def _gateways(path: Path, file: LogFile) -> dict[str, tuple[Verifier, ...]]:
    gateways: dict[str, tuple[Verifier, ...]] = {}
    for number, entry in enumerate(file.gateway):
        key = f"gateway[{number}].vkey"
        with config_key(path, key):
            vkey = parse_vkey(entry.vkey)
            verifier = verifier_for(vkey)
        if vkey.algorithm != ED25519:
            config_error(path, key, f"signature type {vkey.algorithm:#04x} is not a gateway's (1)")
        if vkey.name == file.origin:
            # Manifests under the origin's name are the log's own, for records without signature.
            config_error(path, key, "a gateway may not have the log's own name")
        known = gateways.get(vkey.name, ())
        if any(vkey == other.vkey for other in known):
            config_error(path, key, "the same key twice")
        gateways[vkey.name] = (*known, verifier)
    return gateways


def admission_of(path: Path, file: LogFile) -> Admission:
    """Who may submit and read, by a file.

    Raises ConfigError if what it says cannot be used; names file and key.
    """
    for number, entry in enumerate(file.token):
        with config_key(path, f"token[{number}].producer"):
            check_key_name(entry.producer, "producer")
    readers = file.read.entries("log")
    if file.read.tiles == "token" and not readers:
        config_error(path, "read.tiles", "there is no [[read.token]] for the log")
    _tokens(path, "read.token", [(e.name, e.sha256, e.expires) for e in file.read.token])
    return Admission(
        file.origin,
        _gateways(path, file),
        _tokens(path, "token", [(e.producer, e.sha256, e.expires) for e in file.token]),
        _tokens(path, "read.token", readers),
        protects_tiles=file.read.tiles == "token",
        addenda_readers=_tokens(path, "read.token", file.read.entries("addenda")),
        opens_addenda=file.read.open_addenda,
    )


def _tokens(path: Path, key: str, entries: list[tuple[str, str, datetime | None]]) -> Tokens:
    tokens: dict[str, Token] = {}
    for number, (holder, digest, expires) in enumerate(entries):
        if digest in tokens:
            config_error(path, f"{key}[{number}].sha256", "the same token twice")
        end = None if expires is None else expires.timestamp()
        tokens[digest] = Token(bytes.fromhex(digest), holder, end)
    return Tokens(tuple(tokens.values()))


def retention_of(path: Path, file: LogFile) -> Retention:
    """How long addenda are kept, by a file.

    Raises:
        ConfigError: If what it says contradicts itself; names file and key.
    """
    rules: list[Rule] = []
    if file.retention and file.cluster is not None:
        config_error(path, "retention", "a cluster keeps no addenda")
    for number, entry in enumerate(file.retention):
        retain, minimum = [
            None if text is None else parse_duration(text)
            for text in (entry.retain, entry.legal_minimum)
        ]
        if retain is None and minimum is None:
            config_error(path, f"retention[{number}]", "give retain, legal_minimum, or both")
        if retain is not None and minimum is not None and retain < minimum:
            config_error(
                path,
                f"retention[{number}].retain",
                f"{entry.retain} is shorter than the legal minimum of {entry.legal_minimum}",
            )
        rules.append(Rule(entry.label, retain, minimum or 0))
    return Retention(rules)


def rates_of(path: Path, file: LogFile) -> dict[str, Rates]:
    """What producers may submit, by a file.

    Raises ConfigError if what it says contradicts itself; names file and key.
    """
    rates: dict[str, Rates] = {}
    entries: list[tuple[str, str, Rates]] = [
        (f"gateway[{number}]", parse_vkey(entry.vkey).name, entry)
        for number, entry in enumerate(file.gateway)
    ]
    entries += [
        (f"token[{number}]", entry.producer, entry) for number, entry in enumerate(file.token)
    ]
    for key, name, entry in entries:
        # A budget is a name's, however many keys and tokens it has.
        if any(entry.budget) and rates.setdefault(name, entry).budget != entry.budget:
            config_error(path, key, f"another budget for {name} than before")
    return rates
