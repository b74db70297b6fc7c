"""Makes the folder of a new witness: keys, the database, and a commented witness.toml."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from muniment.tlog.encoding import MunimentError
from muniment.tlog.keys.keyfile import Algorithm
from muniment.tlog.note import VKey, parse_vkey
from muniment_service.folder import TLS_COMMENTS, make_folder, quoted
from muniment_witness.store.database import create

CONFIG_NAME: Final = "witness.toml"
DATABASE_NAME: Final = "witness.db"


def init(
    folder: Path,
    *,
    name: str,
    listen: str,
    logs: Sequence[str],
    algorithms: Sequence[Algorithm],
    passphrase_file: Path | None,
    passphrase: bytes | None,
) -> tuple[VKey, ...]:
    """Writes keys, their database and witness.toml into a folder, which is made when absent.

    Args:
        folder: Where to write.
        name: The witness's key name.
        listen: `host:port`.
        logs: vkeys of the logs to know; those of one name become one log.
        algorithms: Which keys to make.
        passphrase_file: File that holds `passphrase`, to be named in the configuration.
        passphrase: Encrypts the keys.

    Returns:
        The vkeys of the witness.

    Raises:
        MunimentError: If a file exists already or cannot be written, or a vkey or
            `listen` is malformed.
    """
    entries: dict[str, list[str]] = {}
    for number, text in enumerate(logs):
        entries.setdefault(parse_vkey(text, f"log {number + 1}").name, []).append(text)
    database = folder / DATABASE_NAME
    if database.exists():
        raise MunimentError(f"{database}: exists already")
    return make_folder(
        folder / CONFIG_NAME,
        lambda files, vkeys: _config(name, listen, files, vkeys, entries, passphrase_file),
        name=name,
        use="witness",
        algorithms=algorithms,
        listen=listen,
        passphrase=passphrase,
        prepare=lambda vkeys: asyncio.run(create(database, vkeys, "init")),
    )


def _config(
    name: str,
    listen: str,
    files: Sequence[str],
    vkeys: Sequence[VKey],
    logs: dict[str, list[str]],
    passphrase_file: Path | None,
) -> str:
    lines = [
        "# A Muniment witness. Relative paths are relative to this file.",
        "",
        "# The witness's name, part of every cosignature. Its public keys:",
        # A post-quantum vkey is 1,800 characters: name and key ID say which it is.
        *(f"#   {vkey.name}+{vkey.key_id:08x}+…" for vkey in vkeys),
        f"name = {quoted(name)}",
        "",
        "# Where to listen; port 0 lets the system choose. Use [tls], or put TLS in front of it.",
        f"listen = {quoted(listen)}",
        "",
        "# What was cosigned; made with the keys, which must never be used without it: the witness",
        "# could sign a second history. A restored copy signs nothing until it has caught up with",
        "# what logs and peers show of its own cosignatures.",
        f'database = "{DATABASE_NAME}"',
        "",
        "# Private keys (PKCS#8 PEM, mode 0600); the witness cosigns with each of them.",
        f"keys = [{', '.join(quoted(file) for file in files)}]",
    ]
    if passphrase_file is None:
        lines += ['# key_passphrase_file = "passphrase"   # for encrypted keys']
    else:
        lines += [f"key_passphrase_file = {quoted(str(passphrase_file.resolve()))}"]
    lines += [
        "",
        "# For the commands that change or ask a running service; only its own user gets in.",
        'admin = "admin.sock"',
        "",
        '# log_level = "info"     # debug, info, warning, error',
        '# log_format = "text"    # text, json',
        "",
        "# The logs to witness: one [[log]] for each, with all vkeys that it signs with.",
    ]
    for keys in logs.values():
        lines += ["[[log]]", "vkeys = [", *(f"    {quoted(key)}," for key in keys), "]", ""]
    lines += [
        "# More of a [[log]]: read it unasked, and perhaps cosign what was read.",
        '# url = "https://log.example/"',
        "# cosign_pulled = false",
        "",
        "# Other witnesses, to compare heads with; any C2SP witness can be one.",
        "# [[peer]]",
        '# vkeys = ["witness.example/w2+..."]',
        '# url = "https://w2.example/"',
        "",
        "# [gossip]",
        "# period_seconds = 30       # between two looks at a log or peer",
        "# deadline_seconds = 900    # until an unresolved head raises an alarm",
        "",
        "# [limits]               # bytes and seconds; these are the defaults",
        "# inflight_bytes = 67108864",
        "# connections = 4096",
        "# idle_seconds = 75.0",
        "# body_seconds = 30.0",
        "# send_seconds = 60.0",
        "# grace_seconds = 10.0",
        "",
        *TLS_COMMENTS,
    ]
    if not logs:
        lines += ["# [[log]]", '# vkeys = ["log.example/decisions+..."]', ""]
    return "\n".join(lines)
