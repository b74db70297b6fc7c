"""The `[mirror]` table of witness.toml: a mirror beside the witness, or alone.

| key | is |
| --- | --- |
| `name` | the mirror's key name, another than the witness's |
| `keys` | PKCS#8 PEM files, Ed25519 or ML-DSA-44; the mirror cosigns with all of them |
| `key_passphrase_file` | optional: file with the passphrase of encrypted keys |
| `database` | the SQLite file with the copies of logs |
| `path` | optional: below it are the copies, `/mirror`; with it a URL is the monitoring prefix |
| `logs` | optional: origins of the logs that are mirrored; each `[[log]]` of the file by default |
| `inflight_bytes` | optional: bytes of uploads held at one time; 256 MiB |
| `upload_seconds` | optional: how long one upload is read; 300 |
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from muniment.tlog.encoding import check_key_name
from muniment.tlog.note import Signer
from muniment_service.config import Config, config_error, config_key
from muniment_service.limits import Count, Seconds
from muniment_service.signers import read_signers


class MirrorTable(Config, frozen=True):
    """The table as it stands."""

    name: str
    keys: Annotated[tuple[Path, ...], Meta(min_length=1)]
    database: Path
    key_passphrase_file: Path | None = None
    path: Annotated[str, Meta(pattern="^(/[A-Za-z0-9._~-]+)+$")] = "/mirror"
    logs: tuple[str, ...] = ()
    inflight_bytes: Count = 256 << 20
    upload_seconds: Seconds = 300.0


class MirrorConfig(Struct, frozen=True):
    """A table that was checked, with the keys read in its order."""

    table: MirrorTable
    signers: tuple[Signer, ...]

    def mirrored(self, configured: Collection[str]) -> tuple[str, ...]:
        """The origins that are mirrored, given those of the file's `[[log]]` tables."""
        return self.table.logs or tuple(configured)


def read_mirror(
    path: Path, table: MirrorTable, witness: Sequence[Signer], known: Mapping[str, object]
) -> MirrorConfig:
    """Reads the keys of a mirror, and checks that it is another cosigner than the witness.

    `known` are the logs of the file, by origin. Raises ConfigError; names file and key.
    """
    with config_key(path, "mirror.name"):
        check_key_name(table.name, "key name")
    if any(signer.vkey.name == table.name for signer in witness):
        config_error(path, "mirror.name", "the witness's; a mirror is a cosigner of its own")
    signers = read_signers(
        path,
        name=table.name,
        keys=table.keys,
        passphrase_file=table.key_passphrase_file,
        use="witness",
        table="mirror.",
    )
    if {one.vkey.public for one in signers} & {one.vkey.public for one in witness}:
        config_error(path, "mirror.keys", "a key of the witness; a mirror has keys of its own")
    for number, origin in enumerate(table.logs):
        if origin not in known:
            config_error(path, f"mirror.logs[{number}]", f"no log {origin} is configured")
    return MirrorConfig(table, signers)
