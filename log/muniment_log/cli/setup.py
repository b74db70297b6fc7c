"""Makes the folder of a new log: keys, an empty database, and a commented log.toml."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from muniment.tlog.encoding import MunimentError
from muniment_log.config import check_origin
from muniment_log.storage.sqlite import create_database
from muniment_service.folder import TLS_COMMENTS, make_folder, quoted
from muniment_service.process import run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from muniment.tlog.keys.keyfile import Algorithm
    from muniment.tlog.note import VKey

CONFIG_NAME: Final = "log.toml"

DATABASE_NAME: Final = "log.db"

_ALGORITHMS: Final[tuple[Algorithm, ...]] = ("ed25519", "mldsa44")


def init(
    folder: Path,
    *,
    origin: str,
    listen: str,
    passphrase_file: Path | None,
    passphrase: bytes | None,
) -> tuple[VKey, ...]:
    """Writes keys, database and log.toml into a folder, which is made when absent.

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
    database = folder / DATABASE_NAME
    if database.exists():  # before a key is made in vain
        raise MunimentError(f"{database}: exists already")
    return make_folder(
        folder / CONFIG_NAME,
        lambda files, vkeys: _config(origin, listen, files, vkeys, passphrase_file),
        name=origin,
        use="log",
        algorithms=_ALGORITHMS,
        listen=listen,
        passphrase=passphrase,
        prepare=lambda vkeys: run(create_database(database, origin, list(map(str, vkeys)), "init")),
    )


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
        f"origin = {quoted(origin)}",
        "",
        "# Where to listen; port 0 lets the system choose. Use [tls], or put TLS in front of it.",
        f"listen = {quoted(listen)}",
        "",
        "# The log itself, made by init: without it nothing starts. Back it up online; an old copy",
        "# is refused when a witness knows more.",
        f"database = {quoted(DATABASE_NAME)}",
        "",
        "# Past one machine, a cluster takes its place: one PostgreSQL database and one bucket for",
        "# each log; endpoint and credentials of the bucket come from the environment (AWS_…).",
        "# [cluster]",
        '# postgres = "postgresql://log@db.example/log"',
        '# object_store = "s3://bucket/prefix"',
        "# lease_seconds = 6.0         # how long a dead integrator keeps others from taking over",
        "# backlog_leaves = 2000000    # ordered and not yet in the tree; more get 503",
        "# backlog_bytes = 2147483648",
        "# connections = 6             # to PostgreSQL, of one process",
        "",
        "# Private keys (PKCS#8 PEM, mode 0600): Ed25519, and ML-DSA-44 against quantum computers.",
        f"keys = [{', '.join(quoted(file) for file in files)}]",
    ]
    if passphrase_file is None:
        lines += ['# key_passphrase_file = "passphrase"   # for encrypted keys']
    else:
        lines += [f"key_passphrase_file = {quoted(str(passphrase_file.resolve()))}"]
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
        "# expires = 2027-01-31T00:00:00Z",
        "",
        "# Read tokens. With any, reads below /v1 and the metrics need one.",
        "# [read]",
        '# tiles = "open"         # "token": checkpoint and tiles need one, too',
        "# [[read.token]]",
        '# name = "an auditor"',
        '# sha256 = "..."',
        "",
        "# For the commands that change or ask a running service; only its own user gets in.",
        'admin = "admin.sock"',
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
        "# recalled_records = 1000000",
        "# parked_batches = 64",
        "# parked_seconds = 5.0",
        "# witness_seconds = 5.0",
        "# start_seconds = 3.0",
        "# pace_seconds = 0.05",
        "# round_seconds = 5.0",
        "# refresh_seconds = 120.0",
        "# burst_seconds = 10.0   # what may come at once, where there is a rate:",
        "# # records_per_second = 20000.0    # of each producer; a [[gateway]] or [[token]] may",
        "# # bytes_per_second = 10000000.0   # have its own; not limited by default",
        "# # failures_per_second = 10.0      # of each client address; not limited by default",
        "# connections = 4096",
        "# idle_seconds = 75.0",
        "# body_seconds = 30.0",
        "# send_seconds = 60.0",
        "# grace_seconds = 10.0",
        "",
        *TLS_COMMENTS,
    ]
    return "\n".join(lines)
