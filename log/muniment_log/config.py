"""The log's configuration: log.toml (`logfile`), and the keys and the policy that it names."""

from __future__ import annotations

import time
from hashlib import sha256
from pathlib import Path  # noqa: TC003  # msgspec reads the annotations
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from muniment.records.manifest import HEADER
from muniment.records.touched import MAP_VERSION
from muniment.tlog.cosignature import MAX_NAME_SIZE, MLDSA44Cosigner, verifier_for
from muniment.tlog.encoding import FormatError, VerificationError, check_key_name
from muniment.tlog.indexleaf import index_origin
from muniment.tlog.mirrors import mirrors_of, needs_mirrors
from muniment.tlog.note import (
    COSIGNATURE_MLDSA44,
    ED25519,
    MAX_SIGNATURES,
    Ed25519Signer,
    Signer,
    parse_vkey,
)
from muniment.tlog.policy import MAX_POLICY_SIZE, parse_policy
from muniment_log.core.bearer import Token, Tokens
from muniment_log.core.ingest import Admission
from muniment_log.core.retention import Retention, Rule, parse_duration
from muniment_log.logfile import LogFile
from muniment_service.config import (
    ConfigError,
    config_error,
    config_key,
    load_config,
    read_file,
)
from muniment_service.servicefile import signers_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from muniment.tlog.note import Verifier
    from muniment.tlog.policy import Policy
    from muniment_log.core.budgets import Rates
    from muniment_log.logfile import ClusterTable


class LogConfig(Struct, frozen=True):
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
        out_of_force: why no version of a policy over time is in force; empty when one is.
    """

    path: Path
    file: LogFile
    signers: tuple[Signer, ...]
    policy: Policy | None
    admission: Admission
    rates: Mapping[str, Rates]
    retention: Retention
    policy_sha256: str = ""
    out_of_force: str = ""

    def check_in_force(self) -> None:
        """Checks that a log may go by this policy now; ConfigError if it has expired."""
        if self.out_of_force:
            config_error(self.path, "policy", self.out_of_force)

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

        Raises ConfigError if the log is a cluster.
        """
        return addenda_beside(self.database)

    @property
    def index_log(self) -> LogConfig:
        """The same as the configuration of this log's index log: another origin and database.

        It is signed with the same keys, under that origin as their name: their key IDs are others,
        and the first line of what they sign says which of the two logs it is about.

        Raises ConfigError if none is kept.
        """
        file = self.file
        if not file.complete.enabled:
            raise ConfigError(f"{self.path}: no index log is kept: [complete] enabled is not true")
        origin = index_origin(file.origin, MAP_VERSION)
        database = file.complete.database or self.database.with_name("indexlog.db")
        return replace(
            self,
            file=msgspec.structs.replace(file, origin=origin, database=database),
            signers=tuple(_under(origin, signer) for signer in self.signers),
        )

    @property
    def map(self) -> Path:
        """The file of the map that an index log publishes."""
        return self.file.complete.map or self.database.with_name("map.db")

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


def load(
    path: Path, *, signers: tuple[Signer, ...] | None = None, now: int | None = None
) -> LogConfig:
    """Reads log.toml, the key files and the policy that it names.

    Of a policy over time, the log's is what is in force at `now`, Unix seconds, by default those of
    this machine; when nothing is, what its newest version says, and `check_in_force` fails. Raises
    ConfigError if anything in it cannot be used; names file and key.
    """
    file = load_config(path, LogFile)
    with config_key(path, "origin"):
        check_origin(file.origin)
    if (file.database is None) == (file.cluster is None):
        config_error(path, "database", "give either a database or a [cluster] table")
    if file.cluster is not None and file.workers != 1:
        config_error(
            path,
            "workers",
            "is for a log in one file; a cluster has frontends, of which any number may run",
        )
    if signers is None:
        signers = _signers(path, file)
    if file.complete.enabled:
        _check_complete(path, file, signers)
    policy, digest, out_of_force = None, "", ""
    if file.witness and file.policy is None:
        config_error(path, "witness", "needs a policy, which has the witness's keys")
    if file.policy is not None:
        with config_key(path, "policy"):
            data = read_file(file.policy, most=MAX_POLICY_SIZE)
            at = int(time.time()) if now is None else now
            policy, digest = parse_policy(data, now=at), sha256(data).hexdigest()
            try:
                policy = policy.at(at)
            except VerificationError as error:
                out_of_force = str(error)
        mirrors = mirrors_of(policy)
        reached = [witness for witness in policy.witnesses if witness.url is not None]
        asked = [witness for witness in reached if witness not in mirrors]
        for witness in reached:
            if not str(witness.url).startswith(("http://", "https://")):
                config_error(path, "policy", f"witness {witness.name}: the URL is not http(s)")
        if needs_mirrors(policy):
            config_error(
                path,
                "policy",
                "the quorum takes mirrors, so every decision would wait for them: leave them out "
                "of the log's own quorum; whoever wants decisions that mirrors hold asks for that, "
                "or has a policy whose quorum takes them",
            )
        if not policy.is_met([witness.name for witness in asked]):
            config_error(path, "policy", "no quorum: too few of its witness lines carry a URL")
        _check_rated(path, file, policy)
        if len(signers) + len(reached) > MAX_SIGNATURES:
            config_error(
                path,
                "policy",
                f"{len(reached)} witness keys with a URL, and the log has {len(signers)} of its "
                f"own: a checkpoint has at most {MAX_SIGNATURES} signature lines",
            )
    admission, rates = admission_of(path, file), rates_of(path, file)
    retention = retention_of(path, file)
    return LogConfig(path, file, signers, policy, admission, rates, retention, digest, out_of_force)


def _check_rated(path: Path, file: LogFile, policy: Policy) -> None:
    """Checks that the witnesses with a rate are the policy's, and that no quorum takes them."""
    names = {}
    mirrors = mirrors_of(policy)
    for witness in policy.witnesses:
        if witness.url is not None and witness not in mirrors:
            names[witness.name] = witness.url.rstrip("/")
    rated: set[str] = set()
    for number, entry in enumerate(file.witness):
        url = entry.url.rstrip("/")
        if url not in names.values():
            config_error(path, f"witness[{number}].url", "no witness line of the policy has it")
        if url in rated:
            config_error(path, f"witness[{number}].url", "the same witness twice")
        rated.add(url)
    if not policy.is_met([name for name, url in names.items() if url not in rated]):
        config_error(
            path,
            "witness",
            "the quorum takes witnesses that are asked within a rate, so every decision would wait "
            "for their turn: give the policy a quorum of others",
        )


def _check_complete(path: Path, file: LogFile, signers: tuple[Signer, ...]) -> None:
    """Checks that this log can have an index log."""
    if file.cluster is not None:
        config_error(
            path, "complete.enabled", "a cluster keeps no index log yet: only a log in one file"
        )
    if file.pruning is not None:
        config_error(
            path,
            "pruning",
            "a log with an index log keeps all entries: its map, and that of every witness, is "
            "made of all of them",
        )
    with config_key(path, "origin"):
        for signer in signers:
            _under(check_origin(index_origin(file.origin, MAP_VERSION)), signer)


def _under(name: str, signer: Signer) -> Signer:
    if not isinstance(signer, Ed25519Signer | MLDSA44Cosigner):
        raise TypeError(f"{signer.vkey.name}: not a key that logs sign with")
    return signer.under(name)


def check_origin(origin: str) -> str:
    """Checks that a log may have this origin, and returns it.

    Raises FormatError if it is no key name, or would make a checkpoint look like a manifest.
    """
    check_key_name(origin, "origin")
    if origin == HEADER:
        raise FormatError("origin: this one is the first line of manifests")
    return origin


def _signers(path: Path, file: LogFile) -> tuple[Signer, ...]:
    found = signers_of(path, file, file.origin, use="log")
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

    Raises ConfigError if what it says contradicts itself; names file and key.
    """
    rules: list[Rule] = []
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
