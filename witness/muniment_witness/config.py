"""The witness's configuration, witness.toml, and the keys that it names.

| key | is |
| --- | --- |
| `name` | the witness's key name |
| `listen` | `host:port`; port 0 lets the system choose |
| `database` | the SQLite file |
| `keys` | PKCS#8 PEM files, Ed25519 or ML-DSA-44; the witness cosigns with all of them |
| `key_passphrase_file` | optional: file with the passphrase of encrypted keys |
| `log_level`, `log_format` | optional: `debug`, `info`, `warning`, `error`; `text`, `json` |
| `[[log]] vkeys` | the trusted keys of one log, of one name: its origin; types 1 and 6 |
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from msgspec import Meta

from muniment.formats.cosignature import (
    MAX_NAME_SIZE,
    MLDSA44Cosigner,
    signer_for,
    verifier_for,
)
from muniment.formats.encoding import check_key_name
from muniment.formats.note import COSIGNATURE_MLDSA44, ED25519, Signer, Verifier, parse_vkey
from muniment.keyfiles import read_key_file
from muniment.service.config import (
    Address,
    Config,
    config_error,
    config_key,
    load_config,
    read_passphrase,
)
from muniment.service.logging import LogFormat, LogLevel
from muniment_witness.decide import Log

LOG_ALGORITHMS: Final = (ED25519, COSIGNATURE_MLDSA44)
"""Signature types with which logs sign checkpoints."""


class LogEntry(Config, frozen=True):
    """One `[[log]]` table."""

    vkeys: Annotated[tuple[str, ...], Meta(min_length=1)]


class WitnessFile(Config, frozen=True):
    """witness.toml as it stands."""

    name: str
    listen: Address
    database: Path
    keys: Annotated[tuple[Path, ...], Meta(min_length=1)]
    key_passphrase_file: Path | None = None
    log_level: LogLevel = "info"
    log_format: LogFormat = "text"
    log: tuple[LogEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class WitnessConfig:
    """A configuration that was checked, with the keys read.

    Attributes:
        file: The file's other values.
        signers: The witness's keys in the file's order.
        logs: The known logs by origin.
    """

    file: WitnessFile
    signers: tuple[Signer, ...]
    logs: Mapping[str, Log]


def load(path: Path) -> WitnessConfig:
    """Reads witness.toml and the key files that it names.

    Raises:
        ConfigError: If anything in it cannot be used; names file and key.
    """
    file = load_config(path, WitnessFile)
    with config_key(path, "name"):
        check_key_name(file.name, "key name")
    signers = _signers(path, file)
    return WitnessConfig(file, signers, _logs(path, file, signers))


def _signers(path: Path, file: WitnessFile) -> tuple[Signer, ...]:
    passphrase = None
    if file.key_passphrase_file is not None:
        with config_key(path, "key_passphrase_file"):
            passphrase = read_passphrase(file.key_passphrase_file)
    signers: list[Signer] = []
    for number, key_path in enumerate(file.keys):
        key = f"keys[{number}]"
        with config_key(path, key):
            key_file = read_key_file(key_path, passphrase)
            signer = signer_for(file.name, key_file.private, use="witness")
        if key_file.vkey is not None and key_file.vkey != signer.vkey:
            config_error(
                path, key, f"{key_path}: the key of {key_file.vkey.name}, not of {file.name}"
            )
        if any(signer.vkey == known.vkey for known in signers):
            config_error(path, key, f"{key_path}: the same key twice")
        signers.append(signer)
    return tuple(signers)


def _logs(path: Path, file: WitnessFile, signers: Sequence[Signer]) -> dict[str, Log]:
    bounded = any(isinstance(signer, MLDSA44Cosigner) for signer in signers)
    logs: dict[str, Log] = {}
    for number, entry in enumerate(file.log):
        verifiers: list[Verifier] = []
        origin = ""
        for place, text in enumerate(entry.vkeys):
            key = f"log[{number}].vkeys[{place}]"
            with config_key(path, key):
                vkey = parse_vkey(text)
            if vkey.algorithm not in LOG_ALGORITHMS:
                config_error(
                    path, key, f"signature type {vkey.algorithm:#04x} is not one of a log (1 or 6)"
                )
            if origin and vkey.name != origin:
                config_error(path, key, f"{vkey.name} is another log than {origin}")
            origin = vkey.name
            if any(vkey == known.vkey for known in verifiers):
                config_error(path, key, "the same key twice")
            with config_key(path, key):
                verifiers.append(verifier_for(vkey))
        if origin in logs:
            config_error(path, f"log[{number}]", f"{origin} is configured twice")
        if bounded and len(origin.encode()) > MAX_NAME_SIZE:
            config_error(
                path, f"log[{number}]", f"ML-DSA-44 takes origins of {MAX_NAME_SIZE} bytes at most"
            )
        logs[origin] = Log(origin, tuple(verifiers))
    return logs
