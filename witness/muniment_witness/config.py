"""The witness's configuration: witness.toml checked, with the keys that it names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from msgspec import Struct

from muniment.http.access import check_token_url, read_token
from muniment.http.urls import split_url
from muniment.map.recompute import about
from muniment.records.touched import MAP_VERSION
from muniment.tlog.checkpoint import Checkpoint
from muniment.tlog.cosignature import (
    MAX_NAME_SIZE,
    MLDSA44Cosigner,
    verifier_for,
)
from muniment.tlog.encoding import check_key_name
from muniment.tlog.loglist import ListedLog
from muniment.tlog.merkle import EMPTY_ROOT
from muniment.tlog.note import (
    COSIGNATURE_ED25519,
    COSIGNATURE_MLDSA44,
    ED25519,
    Signer,
    Verifier,
    VKey,
    parse_vkey,
)
from muniment_service.config import config_error, config_key, load_config
from muniment_service.servicefile import signers_of
from muniment_witness.bastion.table import Bastion, read_bastions
from muniment_witness.judge.decide import KnownLog
from muniment_witness.mirror.table import MirrorConfig, read_mirror
from muniment_witness.store.listed import ListedLogs
from muniment_witness.witnessfile import LogEntry, WitnessFile

LOG_ALGORITHMS: Final = (ED25519, COSIGNATURE_MLDSA44)
"""Signature types with which logs sign checkpoints."""

WITNESS_ALGORITHMS: Final = (COSIGNATURE_ED25519, COSIGNATURE_MLDSA44)
"""Signature types with which witnesses cosign."""


class LogOptions(Struct, frozen=True):
    """How one log is watched.

    The URL has no final slash, and is None when the log is not read; `period` (longest time
    between two looks) and `max_age` (of the newest head, before an alarm) are in seconds; hashes
    of acknowledged evidence are hexadecimal.
    """

    url: str | None = None
    period: float = 30.0
    cosign: bool = False
    max_age: float = 86_400.0
    acknowledged: frozenset[str] = frozenset()
    per_day: int | None = None
    recompute: bool = False


class Peer(Struct, frozen=True):
    """Another witness: at least one key; its monitoring prefix without a final slash."""

    name: str
    verifiers: tuple[Verifier, ...]
    url: str


@dataclass(frozen=True, slots=True)
class WitnessConfig:
    """A configuration that was checked, with the keys read in the file's order.

    Read tokens of logs are by the URLs at which those are read; logs and their options by origin.
    """

    path: Path
    file: WitnessFile
    signers: tuple[Signer, ...]
    logs: Mapping[str, KnownLog]
    options: Mapping[str, LogOptions]
    peers: tuple[Peer, ...]
    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)
    mirror: MirrorConfig | None = None
    bastions: tuple[Bastion, ...] = ()

    @property
    def name(self) -> str:
        """The witness's name; that of the mirror, when it is alone."""
        return self.file.name or ("" if self.mirror is None else self.mirror.table.name)

    @property
    def owner(self) -> list[VKey]:
        """The keys whose database it is: the witness's; those of the mirror, when it is alone."""
        signers = self.signers or (() if self.mirror is None else self.mirror.signers)
        return [signer.vkey for signer in signers]

    @property
    def mirrored(self) -> dict[str, KnownLog]:
        """The logs that are mirrored, by origin."""
        if self.mirror is None:
            return {}
        configured = [_origin(entry) for entry in self.file.log]
        origins = self.mirror.mirrored(configured)
        return {origin: self.logs[origin] for origin in origins if origin in self.logs}

    @property
    def ca(self) -> Path | None:
        """The file with the CAs that are believed; None for the system's."""
        return self.file.outgoing.ca


def load(path: Path) -> WitnessConfig:
    """Reads witness.toml and the key files that it names; a `ConfigError` names file and key."""
    file = load_config(path, WitnessFile)
    signers: tuple[Signer, ...] = ()
    if file.mirror is None or file.name or file.keys:
        with config_key(path, "name"):
            check_key_name(file.name, "key name")
        if not file.keys:
            config_error(path, "keys", "a witness has at least one key")
        signers = signers_of(path, file, file.name, use="witness")
    watching = watched(path, file, signers)
    mirror = None
    if file.mirror is not None:
        mirror = read_mirror(path, file.mirror, signers, watching[0])
    bastions = bastions_of(path, file, watching[0])
    return WitnessConfig(path, file, signers, *watching, mirror=mirror, bastions=bastions)


def bastions_of(path: Path, file: WitnessFile, logs: Mapping[str, KnownLog]) -> tuple[Bastion, ...]:
    """Reads the bastions of a file, which may name these logs; any when lists bring more."""
    return read_bastions(path, file.bastion, None if file.list else frozenset(logs))


def watched(
    path: Path, file: WitnessFile, signers: Sequence[Signer]
) -> tuple[dict[str, KnownLog], dict[str, LogOptions], tuple[Peer, ...], dict[str, str]]:
    """Reads logs and peers of a file: logs, options and read tokens as in `WitnessConfig`."""
    logs = _logs(path, file, signers)
    options = {origin: _options(path, file, number) for number, origin in enumerate(logs)}
    _check_recomputed(path, file, options)
    for number, entry in enumerate(file.list):
        with config_key(path, f"list[{number}].url"):
            split_url(entry.url)
    listed = ListedLogs(file.database)
    with config_key(path, f"the listed logs, {listed.path}"):
        add_listed(logs, options, listed.read(), file.gossip.period_seconds, signers)
    return logs, options, _peers(path, file, signers), _tokens(path, file)


def add_listed(
    logs: dict[str, KnownLog],
    options: dict[str, LogOptions],
    listed: Sequence[ListedLog],
    period: float,
    signers: Sequence[Signer],
) -> None:
    """Adds logs that lists have brought; what the configuration says of a log goes before.

    Those that a signer cannot cosign are left out: the list may be older than its key.
    """
    for log in listed:
        if log.origin not in logs and can_cosign(signers, log.origin):
            logs[log.origin] = KnownLog(log.origin, (verifier_for(log.vkey),))
            options[log.origin] = LogOptions(period=period, per_day=log.per_day)


def can_cosign(signers: Sequence[Signer], origin: str) -> bool:
    """Whether all signers can cosign a log: ML-DSA-44 takes origins of MAX_NAME_SIZE bytes."""
    is_bounded = any(isinstance(signer, MLDSA44Cosigner) for signer in signers)
    return not is_bounded or len(origin.encode()) <= MAX_NAME_SIZE


def _logs(path: Path, file: WitnessFile, signers: Sequence[Signer]) -> dict[str, KnownLog]:
    logs: dict[str, KnownLog] = {}
    for number, entry in enumerate(file.log):
        verifiers = _verifiers(
            path, f"log[{number}]", entry.vkeys, algorithms=LOG_ALGORITHMS, what="log (1 or 6)"
        )
        origin = _origin(entry)
        if entry.origin is not None:
            with config_key(path, f"log[{number}].origin"):
                Checkpoint(origin, 0, EMPTY_ROOT)
        if origin in logs:
            config_error(path, f"log[{number}]", f"{origin} is configured twice")
        if not can_cosign(signers, origin):
            config_error(
                path, f"log[{number}]", f"ML-DSA-44 takes origins of {MAX_NAME_SIZE} bytes at most"
            )
        logs[origin] = KnownLog(origin, verifiers)
    return logs


def _origin(entry: LogEntry) -> str:
    return entry.origin or parse_vkey(entry.vkeys[0]).name


def _verifiers(
    path: Path, table: str, vkeys: Sequence[str], *, algorithms: Sequence[int], what: str
) -> tuple[Verifier, ...]:
    """Makes the verifiers of keys of one name."""
    verifiers: list[Verifier] = []
    for place, text in enumerate(vkeys):
        key = f"{table}.vkeys[{place}]"
        with config_key(path, key):
            vkey = parse_vkey(text)
        if vkey.algorithm not in algorithms:
            config_error(path, key, f"signature type {vkey.algorithm:#04x} is not one of a {what}")
        if verifiers and vkey.name != verifiers[0].vkey.name:
            name = verifiers[0].vkey.name
            kind = what.partition(" ")[0]
            config_error(path, key, f"{vkey.name} is another {kind} than {name}")
        if any(vkey == known.vkey for known in verifiers):
            config_error(path, key, "the same key twice")
        with config_key(path, key):
            verifiers.append(verifier_for(vkey))
    return tuple(verifiers)


def _options(path: Path, file: WitnessFile, number: int) -> LogOptions:
    entry = file.log[number]
    url = None
    if entry.url is not None:
        with config_key(path, f"log[{number}].url"):
            url = check_url(entry.url)
    elif entry.cosign_pulled:
        config_error(path, f"log[{number}].cosign_pulled", "needs a url to pull from")
    return LogOptions(
        url,
        entry.period_seconds or file.gossip.period_seconds,
        entry.cosign_pulled,
        entry.max_age_seconds,
        frozenset(entry.acknowledged),
        entry.per_day,
        entry.recompute,
    )


def _check_recomputed(path: Path, file: WitnessFile, options: Mapping[str, LogOptions]) -> None:
    """Checks that an index that is to be recomputed can be: both logs are read."""
    for number, (origin, each) in enumerate(zip(options, file.log, strict=True)):
        if not each.recompute:
            continue
        key, log = f"log[{number}].recompute", about(origin)
        if log is None:
            config_error(path, key, f"{origin} is no index log of map {MAP_VERSION}")
        if each.url is None:
            config_error(path, key, "needs the url of the index log")
        if each.cosign_pulled:
            config_error(path, key, "an index log asks for its cosignatures: no cosign_pulled")
        if log not in options or options[log].url is None:
            config_error(path, key, f"needs a [[log]] for {log}, with the url of its leaves")


def _tokens(path: Path, file: WitnessFile) -> dict[str, str]:
    tokens: dict[str, str] = {}
    for number, entry in enumerate(file.log):
        if entry.read_token_file is None:
            continue
        with config_key(path, f"log[{number}].read_token_file"):
            if entry.url is None:
                raise ValueError("needs the url that it is for")
            url = check_url(entry.url)
            check_token_url(url)
            tokens[url] = read_token(entry.read_token_file)
    return tokens


def _peers(path: Path, file: WitnessFile, signers: Sequence[Signer]) -> tuple[Peer, ...]:
    peers: dict[str, Peer] = {}
    for number, entry in enumerate(file.peer):
        table = f"peer[{number}]"
        verifiers = _verifiers(
            path, table, entry.vkeys, algorithms=WITNESS_ALGORITHMS, what="witness (4 or 6)"
        )
        name = verifiers[0].vkey.name
        if name in peers:
            config_error(path, table, f"{name} is configured twice")
        if any(verifier.vkey == own.vkey for verifier in verifiers for own in signers):
            config_error(path, table, "a key of this witness itself")
        with config_key(path, f"{table}.url"):
            peers[name] = Peer(name, verifiers, check_url(entry.url))
    return tuple(peers.values())


def check_url(text: str) -> str:
    """Checks a base URL and returns it without trailing slashes.

    Raises ValueError if it is not an absolute http or https URL, or has a query, fragment or user.
    """
    parts = split_url(text)
    if parts.query or parts.fragment:
        raise ValueError("a base URL has no query, fragment or user")
    return text.rstrip("/")
