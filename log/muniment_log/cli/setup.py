"""Makes the folder of a new log: keys, an empty database, and a commented log.toml."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Final

from muniment.tlog.encoding import MunimentError
from muniment_log.config import check_origin
from muniment_log.storage.schema import create_database
from muniment_service.folder import make_folder
from muniment_service.process import run

if TYPE_CHECKING:
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
    """Writes keys, database and log.toml into a folder, made when absent; returns the vkeys.

    `passphrase` encrypts the keys; the configuration names `passphrase_file`, which holds it.
    Raises MunimentError if a file exists already or cannot be written, or `origin` or `listen` is
    malformed.
    """
    check_origin(origin)
    database = folder / DATABASE_NAME
    if database.exists():  # before a key is made in vain
        raise MunimentError(f"{database}: exists already")
    return make_folder(
        folder / CONFIG_NAME,
        files("muniment_log.cli") / CONFIG_NAME,
        name=origin,
        use="log",
        algorithms=_ALGORITHMS,
        listen=listen,
        database=DATABASE_NAME,
        passphrase_file=passphrase_file,
        passphrase=passphrase,
        prepare=lambda vkeys: run(create_database(database, origin, list(map(str, vkeys)), "init")),
    )
