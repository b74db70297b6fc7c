"""``muniment-log init``: keys, an empty database, a commented log.toml; and ``new-database``."""

from __future__ import annotations

import asyncio
from importlib.resources import files
from typing import TYPE_CHECKING, Final

import click

from muniment.local.keyfiles import new_passphrase
from muniment.tlog.encoding import MunimentError
from muniment_log.cli.exits import failing
from muniment_log.cli.options import CONFIG, PATH
from muniment_log.config import check_origin, load
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


@click.command("init")
@click.argument("folder", metavar="DIR", type=PATH)
@click.option("--origin", required=True, help="The log's identity, such as log.example/decisions.")
@click.option("--listen", default="127.0.0.1:8100", show_default=True, help="host:port.")
@click.option("--key-passphrase-file", type=PATH, help="Encrypt the keys with its content.")
def init_command(folder: Path, origin: str, listen: str, key_passphrase_file: Path | None) -> None:
    """Write keys, an empty database and a commented log.toml into DIR, and print the vkeys."""
    with failing():
        passphrase = new_passphrase(key_passphrase_file)
        vkeys = init(
            folder,
            origin=origin,
            listen=listen,
            passphrase_file=key_passphrase_file,
            passphrase=passphrase,
        )
    for vkey in vkeys:
        click.echo(str(vkey))
    click.echo(f"wrote {folder / CONFIG_NAME}", err=True)


@click.command("new-database")
@CONFIG
def new_database(config: Path) -> None:
    """Make an empty database for keys that exist: only for a log that has never run.

    The database that `init` made is what a log is: without it, the same indices would be given out
    again, and two histories signed. This never replaces a database. The new one records when it was
    made, by which command; `status` shows it. It takes nothing until the witnesses of its policy
    have said that they know no head of this log.
    """
    with failing():
        loaded = load(config)
        origin = loaded.file.origin
        asyncio.run(create_database(loaded.database, origin, loaded.vkeys, "new-database"))
    click.echo(f"made {loaded.database}, of no leaves", err=True)
