"""witness.toml as it stands.

| key | is |
| --- | --- |
| `name` | the witness's key name |
| `listen` | `host:port`; port 0 lets the system choose |
| `database` | the SQLite file |
| `keys` | PKCS#8 PEM files, Ed25519 or ML-DSA-44; the witness cosigns with all of them |
| `key_passphrase_file` | optional: file with the passphrase of encrypted keys |
| `[tls]` | optional: serve https, see `TlsTable` |
| `[outgoing]` | optional: how logs and peers are connected to, see `OutgoingTable` |
| `admin` | optional: the Unix socket for administration |
| `log_level`, `log_format` | optional: `debug`, `info`, `warning`, `error`; `text`, `json` |
| `[[log]] vkeys` | the trusted keys of one log, of one name; types 1 and 6 |
| `[[log]] origin` | optional: the log's origin, when it is not the name of its keys |
| `[[log]] url` | optional: where its checkpoint and tiles are read, to check it unasked |
| `[[log]] read_token_file` | optional: file with a read token of the log, for its url |
| `[[log]] period_seconds` | optional: how often; the period of gossip by default |
| `[[log]] cosign_pulled` | optional: also cosign the heads that were read; false by default |
| `[[log]] max_age_seconds` | optional: age of the newest head that raises an alarm; a day |
| `[[log]] recompute` | optional: of an index log, cosign only what was computed |
| `[[log]] per_day` | optional: how often it may ask for cosignatures in a day |
| `[[log]] acknowledged` | optional: hashes of evidence against it, to cosign again in spite of it |
| `[[list]] url` | optional: a list of further logs (C2SP tlog-list), see `ListEntry` |
| `[mirror]` | optional: a mirror; with neither `name` nor `keys`, alone, see `mirror.table` |
| `[about]` | optional: what `witness.v0.json` and the about page say, see `About` |
| `[[bastion]] url`, `key` | optional: a bastion to be reached through, see `BastionEntry` |
| `[[peer]] vkeys`, `url` | another witness: its keys, of one name, and its monitoring prefix |
| `[gossip]` | optional: the limits of `Gossip`, with their units |
| `[limits]` | optional: what its HTTP server takes, see `muniment_service.limits` |
"""

from pathlib import Path  # msgspec reads the annotations
from typing import Annotated, Final

from msgspec import Meta

from muniment.tlog.loglist import MAX_PER_DAY
from muniment.tlog.quorum import CLOCK_SKEW
from muniment_service.config import Config
from muniment_service.limits import SmallBodyLimits
from muniment_service.servicefile import NamedFile
from muniment_witness.bastion.table import BastionEntry
from muniment_witness.mirror.table import MirrorTable
from muniment_witness.store.heads import HISTORY

CACHE_BYTES: Final = 16 << 20
"""Bytes of tiles held by default; the right edges of a thousand logs fit."""

Seconds = Annotated[float, Meta(ge=0.01, le=10_000_000)]


class LogEntry(Config, frozen=True):
    """One `[[log]]` table."""

    vkeys: Annotated[tuple[str, ...], Meta(min_length=1)]
    origin: Annotated[str, Meta(min_length=1)] | None = None
    url: str | None = None
    read_token_file: Path | None = None
    period_seconds: Seconds | None = None
    cosign_pulled: bool = False
    max_age_seconds: Seconds = 86_400.0
    per_day: Annotated[int, Meta(ge=1, le=MAX_PER_DAY)] | None = None
    recompute: bool = False
    acknowledged: tuple[Annotated[str, Meta(pattern="^[0-9a-f]{64}$")], ...] = ()


class ListEntry(Config, frozen=True):
    """One `[[list]]` table: a list that is pulled, and whose logs are witnessed.

    Attributes:
        url: Where it is.
        period_seconds: Longest time between two pulls; jitter shortens it.
        without: Origins that are not taken from it.
    """

    url: str
    period_seconds: Annotated[float, Meta(ge=1, le=604_800)] = 3600.0
    without: tuple[str, ...] = ()


class About(Config, frozen=True):
    """The `[about]` table: what the witness tells of itself.

    Attributes:
        submission_url: The prefix of add-checkpoint, as logs outside reach it.
        monitoring_url: The prefix of the monitoring endpoint; the former if not given.
        operator: Who runs it.
        contact: How the operator is reached.
        text: What else log operators should know.
    """

    submission_url: str | None = None
    monitoring_url: str | None = None
    operator: str = ""
    contact: str = ""
    text: str = ""


class PeerEntry(Config, frozen=True):
    """One `[[peer]]` table."""

    vkeys: Annotated[tuple[str, ...], Meta(min_length=1)]
    url: str


class Gossip(Config, frozen=True):
    """The `[gossip]` table: periods and limits of pulling and gossip.

    Attributes:
        period_seconds: Longest time between two looks at a log or a peer; jitter shortens it.
        request_seconds: Deadline of one request.
        start_seconds: How long the start waits to learn what logs and peers remember of us.
        deadline_seconds: Age of an unresolved head that raises an alarm.
        lag_seconds: How long a peer may be ahead of us, or a log behind what it showed before.
        skew_seconds: How far in the future a cosignature may be.
        tile_cache_bytes: Bytes of tiles held in memory.
        history: Accepted heads of one log that are kept.
    """

    period_seconds: Seconds = 30.0
    request_seconds: Seconds = 10.0
    start_seconds: Seconds = 5.0
    deadline_seconds: Seconds = 900.0
    lag_seconds: Seconds = 600.0
    skew_seconds: Seconds = float(CLOCK_SKEW)
    tile_cache_bytes: Annotated[int, Meta(ge=0)] = CACHE_BYTES
    history: Annotated[int, Meta(ge=16)] = HISTORY


class WitnessFile(NamedFile, frozen=True, kw_only=True):
    """witness.toml as it stands."""

    name: str = ""
    keys: Annotated[tuple[Path, ...], Meta(min_length=1)] = ()
    database: Path
    mirror: MirrorTable | None = None
    log: tuple[LogEntry, ...] = ()
    list: tuple[ListEntry, ...] = ()
    about: About = About()
    bastion: tuple[BastionEntry, ...] = ()
    peer: tuple[PeerEntry, ...] = ()
    gossip: Gossip = Gossip()
    limits: SmallBodyLimits = SmallBodyLimits()
