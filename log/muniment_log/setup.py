"""Makes the folder of a new log: keys and a commented log.toml."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, Literal

from muniment.formats.cosignature import signer_for
from muniment.formats.encoding import MunimentError
from muniment.formats.keys import KeyFile, generate
from muniment.keyfiles import write_key_file
from muniment.service.config import Address
from muniment_log.config import check_origin

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from muniment.formats.note import VKey

CONFIG_NAME: Final = "log.toml"

_ALGORITHMS: Final[tuple[Literal["ed25519", "mldsa44"], ...]] = ("ed25519", "mldsa44")


def init(
    folder: Path,
    *,
    origin: str,
    listen: str,
    passphrase_file: Path | None,
    passphrase: bytes | None,
) -> tuple[VKey, ...]:
    """Writes keys and log.toml into a folder, which is made when absent.

    Args:
        folder: where to write.
        origin: the log's origin.
        listen: `host:port`.
        passphrase_file: file that holds `passphrase`, to be named in the configuration.
        passphrase: encrypts the keys.

    Returns:
        The vkeys of the log.

    Raises:
        MunimentError: A file exists already or cannot be written, or `origin` or `listen` is
            malformed.
    """
    check_origin(origin)
    try:
        Address(listen)
    except ValueError as error:
        raise MunimentError(f"listen: {error}") from error
    config = folder / CONFIG_NAME
    if config.exists():
        raise MunimentError(f"{config}: exists already")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MunimentError(f"{folder}: {error.strerror}") from error
    vkeys: list[VKey] = []
    files: list[str] = []
    for algorithm in _ALGORITHMS:
        private = generate(algorithm)
        vkey = signer_for(origin, private, use="log").vkey
        file = f"log-{algorithm}.pem"
        write_key_file(folder / file, KeyFile(private, vkey), passphrase)
        vkeys.append(vkey)
        files.append(file)
    text = _config(origin, listen, files, vkeys, passphrase_file)
    try:
        # Last and exclusively: a folder with a configuration is a complete one.
        with config.open("x", encoding="utf-8") as out:
            out.write(text)
    except OSError as error:
        raise MunimentError(f"{config}: {error.strerror}") from error
    return tuple(vkeys)


def _config(
    origin: str,
    listen: str,
    files: Sequence[str],
    vkeys: Sequence[VKey],
    passphrase_file: Path | None,
) -> str:
    lines = [
        "# A Muniment log. Relative paths are relative to this file.",
        "",
        "# The log's identity, for ever: first line of its checkpoints, name of its keys:",
        # A post-quantum vkey is 1,800 characters: name and key ID say which it is.
        *(f"#   {vkey.name}+{vkey.key_id:08x}+…" for vkey in vkeys),
        f"origin = {_quoted(origin)}",
        "",
        "# Where to listen; port 0 lets the system choose. Put TLS in front of it.",
        f"listen = {_quoted(listen)}",
        "",
        "# The log itself. Back it up online; an old copy is refused when a witness knows more.",
        'database = "log.db"',
        "",
        "# Private keys (PKCS#8 PEM, mode 0600): Ed25519, and ML-DSA-44 against quantum computers.",
        f"keys = [{', '.join(_quoted(file) for file in files)}]",
    ]
    if passphrase_file is None:
        lines += ['# key_passphrase_file = "passphrase"   # for encrypted keys']
    else:
        lines += [f"key_passphrase_file = {_quoted(str(passphrase_file.resolve()))}"]
    lines += [
        "",
        "# Who must cosign a checkpoint before it is published: a C2SP tlog-policy file whose",
        "# witness lines carry the submission URL. Without it the log publishes uncosigned.",
        '# policy = "witnesses.policy"',
        "",
        "# Gateways that may submit signed batches, one table for each key",
        "# (muniment keygen --use gateway).",
        "# [[gateway]]",
        '# vkey = "gw.example/edge+..."',
        "",
        "# Bearer tokens of clients that cannot sign, as hashes (muniment-log token makes them).",
        "# [[token]]",
        '# producer = "curl.example/dev"',
        '# sha256 = "..."',
        "",
        '# log_level = "info"     # debug, info, warning, error',
        '# log_format = "text"    # text, json',
        "",
        "# [index]                # lookups by id, run and lineage; deleted, it is built again",
        "# enabled = true",
        '# database = "index.db"  # beside the log, unless told otherwise',
        "",
        "# [limits]               # bytes and seconds; these are the defaults",
        "# waiting_bytes = 67108864",
        "# inflight_bytes = 268435456",
        "# commit_leaves = 16384",
        "# commit_bytes = 16777216",
        "# parked_batches = 64",
        "# parked_seconds = 5.0",
        "# witness_seconds = 5.0",
        "# start_seconds = 3.0",
        "# pace_seconds = 0.05",
        "# round_seconds = 5.0",
        "# refresh_seconds = 600.0",
        "# connections = 4096",
        "# grace_seconds = 10.0",
        "",
    ]
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """A TOML basic string; JSON's escapes are a subset of TOML's, DEL apart."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
