"""The command `muniment-witness`; what it ends with is in exits.py."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from logging import ERROR, getLogger
from pathlib import Path
from typing import Final

import click

from muniment.local import logs as logging
from muniment.local.keyfiles import new_passphrase, write_key_file
from muniment.local.memory import protect_memory
from muniment.local.sqlitefile import DatabaseError, FatalDatabaseError, is_unwritable
from muniment.tlog.encoding import MunimentError
from muniment.tlog.keys.keyfile import Algorithm, KeyFile, generate
from muniment_service import unixsocket
from muniment_service.backup import backup
from muniment_service.config import ConfigError, load_config
from muniment_service.process import first_error, run
from muniment_witness.bastion.table import hash_of
from muniment_witness.cli import admin
from muniment_witness.cli.exits import (
    EXIT_CONFIG,
    EXIT_DAMAGED,
    EXIT_FAILED,
    EXIT_REFUSED,
    EXIT_UNWRITABLE,
    code_of,
    fail,
)
from muniment_witness.cli.mirror import (
    ALGORITHMS,
    add_mirror_command,
    check_copies,
    mirror_of,
    new_mirror_database,
    with_algorithm,
    with_passphrase,
)
from muniment_witness.cli.queries import QUERIES
from muniment_witness.cli.setup import CONFIG_NAME, init
from muniment_witness.config import WitnessFile, load
from muniment_witness.store.check import check
from muniment_witness.store.database import MIGRATIONS, create, mark_copy
from muniment_witness.store.heads import declare_new

_LOGGER: Final = getLogger(__name__)
_PATH: Final = click.Path(path_type=Path)
_CONFIG: Final = click.option(
    "--config", required=True, type=_PATH, help="The configuration file, witness.toml."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="muniment")
def main() -> None:
    """Run a witness: it cosigns the checkpoints of transparency logs that only ever append."""


@main.command("init")
@click.argument("folder", metavar="DIR", type=_PATH)
@click.option("--name", required=True, help="Key name, such as witness.example/w1.")
@click.option("--log", "logs", multiple=True, metavar="VKEY", help="Public key of a log; repeat.")
@click.option("--listen", default="127.0.0.1:8101", show_default=True, help="host:port.")
@with_algorithm
@with_passphrase
@click.option("--mirror", is_flag=True, help="Make a mirror alone, which is no witness.")
def init_command(
    folder: Path,
    name: str,
    logs: tuple[str, ...],
    listen: str,
    algorithm: str,
    key_passphrase_file: Path | None,
    *,
    mirror: bool,
) -> None:
    """Write keys, a database and a commented witness.toml into DIR, and print the vkeys."""
    with _failing_on_config():
        vkeys = init(
            folder,
            name=name,
            listen=listen,
            logs=logs,
            algorithms=ALGORITHMS[algorithm],
            passphrase_file=key_passphrase_file,
            passphrase=new_passphrase(key_passphrase_file),
            mirror=mirror,
        )
    for vkey in vkeys:
        click.echo(str(vkey))
    click.echo(f"wrote {folder / CONFIG_NAME}", err=True)


@main.command()
@_CONFIG
def serve(config: Path) -> None:
    """Serve until SIGTERM; prints one line of JSON when ready. Logs go to stderr."""
    # Imported here, because the server's HTTP stack nearly doubles the start of every command.
    from muniment_witness import app  # noqa: PLC0415

    protect_memory()
    try:
        loaded = load(config)
        logging.configure(loaded.file.log_level, loaded.file.log_format)
        run(app.serve(loaded))
    except (MunimentError, OSError) as error:
        fail(code_of(error), error)
    except ExceptionGroup as group:
        # TaskGroup's wrapping says nothing; what failed is inside.
        cause = first_error(group)
        if isinstance(cause, OSError) or is_unwritable(cause):
            fail(code_of(cause), cause)
        logging.event(_LOGGER, ERROR, "the service failed", exc_info=group)
        fail(EXIT_FAILED, cause)
    except KeyboardInterrupt:
        fail(EXIT_FAILED, "interrupted")


@main.command("new-database")
@_CONFIG
def new_database(config: Path) -> None:
    """Make a new database for keys that may have signed: the old one is lost.

    The witness then signs nothing for a log until it has asked the log, where it has a url, and a
    peer, where it has any, what it has signed; and, with neither, until `declare-new`.
    """
    with _failing_on_config(), _failing_on_database():
        loaded = load(config)
        path = loaded.file.database
        asyncio.run(create(path, loaded.owner, "new-database"))
    click.echo(f"made {path}; it signs nothing for a log before the log and peers were asked")


@main.command("declare-new")
@_CONFIG
@click.argument("origin")
def declare_new_command(config: Path, origin: str) -> None:
    """Declare that this witness has never signed for ORIGIN; recorded in its database.

    For a witness whose database was begun anew, or restored, when nobody can be asked. If the word
    is wrong, the witness may sign a second history. The witness must be stopped.
    """
    with _failing_on_config(), _failing_on_database():
        loaded = load(config)
        if origin not in loaded.logs:
            raise ConfigError(f"{config}: no log {origin} is configured")
        path, cosigns = loaded.file.database, bool(loaded.signers)
        asyncio.run(declare_new(path, loaded.owner, origin, cosigns=cosigns))
    click.echo(f"declared that nothing was signed for {origin}")


@main.command("vkeys")
@_CONFIG
@click.option("--mirror", is_flag=True, help="Those of its mirror.")
def vkeys_command(config: Path, *, mirror: bool) -> None:
    """Print the public keys of the witness, one vkey a line."""
    with _failing_on_config():
        loaded = load(config)
        signers = mirror_of(loaded).signers if mirror else loaded.signers
    for signer in signers:
        click.echo(str(signer.vkey))


@main.command("add-log")
@_CONFIG
@click.argument("vkeys", metavar="VKEY…", nargs=-1, required=True)
@click.option("--origin", help="Its origin, when that is not the name of its keys.")
@click.option("--url", help="Where its checkpoint and tiles are read.")
@click.option("--cosign-pulled", is_flag=True, help="Also cosign the heads that are read.")
def add_log(
    config: Path,
    vkeys: tuple[str, ...],
    origin: str | None,
    url: str | None,
    *,
    cosign_pulled: bool,
) -> None:
    """Add a log, with all VKEYs that it signs with, to the configuration."""
    with _failing_on_config():
        added = admin.add_log(config, vkeys, url, cosign=cosign_pulled, origin=origin)
        click.echo(f"added {added}; {_reload_running(config)}")


@main.command("remove-log")
@_CONFIG
@click.argument("origin")
def remove_log(config: Path, origin: str) -> None:
    """Remove a log from the configuration; what was cosigned of it stays readable."""
    with _failing_on_config():
        admin.remove_log(config, origin)
        click.echo(f"removed {origin}; {_reload_running(config)}")


@main.command("rotate-key")
@_CONFIG
@click.argument("origin", required=False)
@click.option("--add", multiple=True, metavar="VKEY", help="New key of the log; repeat.")
@click.option("--remove", multiple=True, metavar="VKEY", help="Key that the log gave up; repeat.")
@click.option("--own", type=click.Choice(["ed25519", "mldsa44"]), help="Make another own key.")
@click.option("--key", "key_path", type=_PATH, help="Take up the key of this file as an own one.")
@click.option("--retire", metavar="KEYID", help="Sign no more with this own key.")
def rotate_key(
    config: Path,
    origin: str | None,
    add: tuple[str, ...],
    remove: tuple[str, ...],
    own: Algorithm | None,
    key_path: Path | None,
    retire: str | None,
) -> None:
    """Add and remove keys of the log ORIGIN, or own keys of the witness.

    While an old and a new key are both listed, either counts: add the new one, wait until nobody
    needs the old one, remove it. Own keys change while the witness is stopped; --own and --key
    print the vkey of the new one.
    """
    of_log = origin is not None and (add or remove)
    chosen = [bool(of_log), own is not None, key_path is not None, retire is not None]
    if chosen.count(True) != 1 or ((origin is not None or add or remove) and not of_log):
        raise click.UsageError(
            "either ORIGIN with --add or --remove, or --own, or --key, or --retire"
        )
    with _failing_on_config():
        if own is not None:
            click.echo(str(admin.own_keys(config).add(own)))
        elif key_path is not None:
            click.echo(str(admin.own_keys(config).take_up(key_path)))
        elif retire is not None:
            admin.own_keys(config).retire(retire)
        elif origin is not None:
            admin.rotate_log_key(config, origin, add, remove)
        result = "start the witness" if origin is None else _reload_running(config)
        click.echo(f"changed; {result}", err=True)


@main.command("bastion-key")
@click.argument("file", type=_PATH)
def bastion_key(file: Path) -> None:
    """Print the hash by which bastions know the Ed25519 key of FILE, which is made if absent.

    A bastion's operator allows it; it is also the first part of the path at which logs reach a
    witness through the bastion.
    """
    with _failing_on_config():
        if not file.exists():
            write_key_file(file, KeyFile(generate("ed25519"), None))
            click.echo(f"wrote {file}", err=True)
        click.echo(hash_of(file))


@main.command()
@_CONFIG
@click.argument("origin")
@click.option("--evidence", required=True, metavar="HASH", help="Hash of the evidence, in hex.")
def acknowledge(config: Path, origin: str, evidence: str) -> None:
    """Cosign ORIGIN again in spite of evidence; all open evidence must be acknowledged."""
    with _failing_on_config():
        admin.acknowledge(config, origin, evidence.lower())
        click.echo(f"acknowledged; {_reload_running(config)}")


@main.command("check")
@_CONFIG
@click.option("--quick", is_flag=True, help="Only what a start reads, not the whole history.")
def check_command(config: Path, *, quick: bool) -> None:
    """Check the database, also while the witness runs, and that of its mirror.

    Prints each damage on a line of its own: the table, and what is wrong there. A mirror's copies
    are hashed anew, entry by entry, unless --quick.
    """
    with _failing_on_config():
        loaded = load(config)
    if loaded.mirror is not None and not quick:
        check_copies(loaded.mirror)
    path = loaded.file.database
    cosigns = bool(loaded.signers)
    with _failing_on_database():
        report = check(path, MIGRATIONS, loaded.owner, loaded.logs, full=not quick, cosigns=cosigns)
    for table, what in report.damage:
        click.echo(f"damaged {table}: {what}")
    if report.damage:
        fail(EXIT_DAMAGED, f"{path}: damaged")
    steps = "" if quick else f", {report.steps} steps that led there"
    click.echo(f"{path}: sound, heads of {report.heads} logs{steps}", err=True)


@main.command("backup")
@_CONFIG
@click.argument("target", metavar="FILE", type=_PATH)
def backup_command(config: Path, target: Path) -> None:
    """Copy the database into the new FILE, also while the witness runs.

    A witness that is started on the copy signs nothing until it has heard what it signed since.
    """
    with _failing_on_config():
        loaded = load(config)
    with _failing_on_database():
        backup(loaded.file.database, target, mark=mark_copy)
    click.echo(f"wrote {target}", err=True)


@main.command("reload")
@_CONFIG
def reload_command(config: Path) -> None:
    """Have the running witness take up its configuration, and the files that this names.

    Logs, peers, read tokens, [outgoing] with its CAs and certificate. Own keys and [tls] are read
    again, too. When anything cannot be used, or has changed that takes a restart, it is refused as
    a whole, and what was in force stays.
    """
    with _failing_on_config():
        click.echo(_reload_running(config))


def _reload_running(config: Path) -> str:
    """Has the running witness reload its configuration; says what came of it."""
    socket = load_config(config, WitnessFile).admin
    if socket is None:
        return "restart the witness"
    try:
        unixsocket.ask(socket, "POST", "/reload")
    except unixsocket.NotRunningError:
        return "the witness does not run"
    except unixsocket.NotDoneError as error:
        fail(EXIT_REFUSED, f"in the file, but not taken up: {error}")
    return "taken up"


@contextmanager
def _failing_on_database() -> Iterator[None]:
    try:
        yield
    except (DatabaseError, FatalDatabaseError) as error:
        fail(code_of(error), error)


@contextmanager
def _failing_on_config() -> Iterator[None]:
    try:
        yield
    except MunimentError as error:
        fail(EXIT_UNWRITABLE if is_unwritable(error) else EXIT_CONFIG, error)


for _command in (add_mirror_command, new_mirror_database, *QUERIES):
    main.add_command(_command)
