"""The command `muniment-log`; its exit codes are in `exits`."""

import asyncio
import json
import secrets
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Final

import click

from muniment.local.keyfiles import new_passphrase
from muniment.local.sqlitefile import DatabaseError
from muniment.tlog.encoding import MunimentError, check_key_name
from muniment.tlog.keys.keyfile import Algorithm
from muniment_log.cli.addenda import new_addenda
from muniment_log.cli.checkcluster import check_cluster_command
from muniment_log.cli.cluster import frontend, import_cluster_module, integrator, migrate
from muniment_log.cli.copy import copy
from muniment_log.cli.erase import erase
from muniment_log.cli.exits import (
    EXIT_CONFIG,
    EXIT_DAMAGED,
    EXIT_FAILED,
    EXIT_UNREACHABLE,
    code_of,
    end_with,
    fail,
    run_service,
    say_damage,
)
from muniment_log.cli.export import export
from muniment_log.cli.indexlog import check_index_log, new_index_log, restore_index_log
from muniment_log.cli.listentry import list_entry
from muniment_log.cli.progress import PROGRESS, Progress
from muniment_log.cli.prune import prune_command, unprune_command
from muniment_log.cli.restore import restore
from muniment_log.cli.rotate import own_keys
from muniment_log.cli.setup import CONFIG_NAME, init
from muniment_log.config import LogConfig, load
from muniment_log.errors import StorageError
from muniment_log.http.adminsockets import ask_all
from muniment_log.logfile import LogFile
from muniment_log.storage.addendacheck import check_addenda
from muniment_log.storage.check import check
from muniment_log.storage.repair import repair
from muniment_log.storage.schema import create_database, mark_copy
from muniment_service import unixsocket
from muniment_service.backup import Mark, backup
from muniment_service.config import ConfigError, load_config
from muniment_service.folder import quoted

_TOKEN_BYTES: Final = 32

_PATH: Final = click.Path(path_type=Path)
_CONFIG: Final = click.option(
    "--config", required=True, type=_PATH, help="The configuration file, log.toml."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="muniment")
def main() -> None:
    """Run a transparency log of authorization decisions."""


@main.command("init")
@click.argument("folder", metavar="DIR", type=_PATH)
@click.option("--origin", required=True, help="The log's identity, such as log.example/decisions.")
@click.option("--listen", default="127.0.0.1:8100", show_default=True, help="host:port.")
@click.option("--key-passphrase-file", type=_PATH, help="Encrypt the keys with its content.")
def init_command(folder: Path, origin: str, listen: str, key_passphrase_file: Path | None) -> None:
    """Write keys, an empty database and a commented log.toml into DIR, and print the vkeys."""
    try:
        passphrase = new_passphrase(key_passphrase_file)
        vkeys = init(
            folder,
            origin=origin,
            listen=listen,
            passphrase_file=key_passphrase_file,
            passphrase=passphrase,
        )
    except MunimentError as error:
        fail(code_of(error), error)
    for vkey in vkeys:
        click.echo(str(vkey))
    click.echo(f"wrote {folder / CONFIG_NAME}", err=True)


@main.command("new-database")
@_CONFIG
def new_database(config: Path) -> None:
    """Make an empty database for keys that exist: only for a log that has never run.

    The database that `init` made is what a log is: without it, the same indices would be given out
    again, and two histories signed. This never replaces a database. The new one records when it was
    made, by which command; `status` shows it. It takes nothing until the witnesses of its policy
    have said that they know no head of this log.
    """
    try:
        loaded = load(config)
        origin = loaded.file.origin
        asyncio.run(create_database(loaded.database, origin, loaded.vkeys, "new-database"))
    except MunimentError as error:
        fail(code_of(error), error)
    click.echo(f"made {loaded.database}, of no leaves", err=True)


@main.command()
@_CONFIG
def serve(config: Path) -> None:
    """Serve until SIGTERM; prints one line of JSON when ready. Logs go to stderr.

    With a [cluster] table this is a frontend and an integrator in one process.
    """

    async def start(loaded: LogConfig) -> None:
        if loaded.file.cluster is not None:
            await import_cluster_module("app.cluster").serve(
                loaded, is_frontend=True, is_integrator=True
            )
            return
        # Half a second: it brings the HTTP library, which the other commands do without.
        from muniment_log.app import embedded  # noqa: PLC0415

        await embedded.serve(loaded)

    run_service(config, start)


main.add_command(frontend)
main.add_command(integrator)
main.add_command(migrate)
main.add_command(export)
main.add_command(copy)
main.add_command(restore)
main.add_command(erase)
main.add_command(list_entry)
main.add_command(new_addenda)
main.add_command(new_index_log)
main.add_command(restore_index_log)
main.add_command(prune_command)
main.add_command(unprune_command)


@main.command("vkeys")
@_CONFIG
@click.option("--index", is_flag=True, help="Those of its index log: the same keys, renamed.")
def vkeys_command(config: Path, *, index: bool) -> None:
    """Print the public keys of the log, one vkey a line."""
    try:
        loaded = load(config)
        if index:
            loaded = loaded.index_log
    except MunimentError as error:
        fail(EXIT_CONFIG, error)
    for vkey in loaded.vkeys:
        click.echo(vkey)


@main.command("reload")
@_CONFIG
def reload_command(config: Path) -> None:
    """Have the running log take up its configuration, and the files that this names.

    Gateways, tokens, read tokens, the policy, [outgoing] with its CAs and certificate. All of it is
    read again, own keys and [tls] too; when anything cannot be used, or has changed that takes a
    restart, it is refused as a whole, and what was in force stays. Prints what is in force then.
    Needs `admin` in the configuration. Of a cluster, all processes of this configuration on this
    machine do it.
    """
    _administer(config, "POST", "/reload")


@main.command("status")
@_CONFIG
def status_command(config: Path) -> None:
    """Print the state of the running log as JSON. Needs `admin` in the configuration.

    Of a cluster, that of each process of this configuration on this machine.
    """
    _administer(config, "GET", "/status")


def _administer(config: Path, method: str, target: str) -> None:
    try:
        file = load_config(config, LogFile)
        if file.admin is None:
            raise ConfigError(f"{config}: admin: there is no socket to ask at")
        refusals: dict[str, str] = {}
        if file.cluster is None:
            answer = unixsocket.ask(file.admin, method, target)
        else:
            answer, refusals = ask_all(file.admin, method, target)
    except unixsocket.NotRunningError as error:
        fail(EXIT_UNREACHABLE, error)
    except unixsocket.NotDoneError as error:
        fail(EXIT_FAILED, error)
    except MunimentError as error:
        fail(EXIT_CONFIG, error)
    click.echo(json.dumps(answer, indent=2))
    if refusals:
        fail(EXIT_FAILED, "; ".join(f"{name}: {why}" for name, why in refusals.items()))


@main.command("rotate-key")
@_CONFIG
@click.option("--add", type=click.Choice(["ed25519", "mldsa44"]), help="Make another key.")
@click.option("--key", "key_path", type=_PATH, help="Take up the key of this file as another one.")
@click.option("--retire", metavar="KEYID", help="Sign no more with this key.")
def rotate_key(
    config: Path, add: Algorithm | None, key_path: Path | None, retire: str | None
) -> None:
    """Add a key or retire one, while the log is stopped; prints the vkey of a new one.

    The log signs with all of its keys. Add the new one, start the log, have all verifiers take its
    vkey up, and then retire the old one. Its file stays. A cluster need not stop: see docs/keys.md.
    """
    if [add, key_path, retire].count(None) != 2:
        raise click.UsageError("either --add, --key or --retire")
    try:
        own = own_keys(config)
        if add is not None:
            click.echo(str(own.add(add)))
        elif key_path is not None:
            click.echo(str(own.take_up(key_path)))
        elif retire is not None:
            own.retire(retire)
    except (MunimentError, OSError) as error:
        fail(code_of(error), error)
    click.echo("changed; start the log, or all processes of the cluster again", err=True)


@main.command()
@click.option("--producer", help="For submitting: the key name that the token's records get.")
@click.option("--reader", metavar="NAME", help="For reading: who has the token.")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(["log", "addenda"]),
    multiple=True,
    help="For reading: what it opens, `log` if not given; again for both.",
)
@click.option("--expires", metavar="TIME", help="When it ends: 2027-01-31T00:00:00Z.")
@click.option("--days", type=click.IntRange(1, 36_500), help="When it ends, from now.")
def token(
    producer: str | None,
    reader: str | None,
    scopes: tuple[str, ...],
    expires: str | None,
    days: int | None,
) -> None:
    """Make a bearer token: print it, and on stderr the table for log.toml.

    The log only ever stores the hash; the token itself is shown once.
    """
    if (producer is None) == (reader is None):
        raise click.UsageError("either --producer or --reader")
    if reader is not None and not reader.strip():
        raise click.UsageError("--reader: empty: say who has the token")
    if scopes and reader is None:
        raise click.UsageError("--scope is for a --reader")
    if expires is not None and days is not None:
        raise click.UsageError("--expires and --days are two ways to say one thing")
    try:
        lines = ["[[read.token]]", f"name = {quoted(reader or '')}"]
        if producer is not None:
            check_key_name(producer, "producer")
            lines = ["[[token]]", f"producer = {quoted(producer)}"]
        end = _end(expires, days)
    except MunimentError as error:
        fail(EXIT_CONFIG, error)
    fresh = secrets.token_urlsafe(_TOKEN_BYTES)
    lines.append(f'sha256 = "{sha256(fresh.encode()).hexdigest()}"')
    if scopes:
        lines.append(f"scopes = [{', '.join(map(quoted, dict.fromkeys(scopes)))}]")
    if end is not None:
        lines.append(f"expires = {end:%Y-%m-%dT%H:%M:%SZ}")
    click.echo("\n".join(lines), err=True)
    click.echo(fresh)


def _end(expires: str | None, days: int | None) -> datetime | None:
    now = datetime.now(UTC)
    if days is not None:
        return now + timedelta(days)
    if expires is None:
        return None
    try:
        end = datetime.fromisoformat(expires)
    except ValueError as error:
        raise MunimentError(f"--expires: {error}") from error
    if end.tzinfo is None:
        raise MunimentError("--expires: without an offset; write 2027-01-31T00:00:00Z")
    if end <= now:
        raise MunimentError("--expires: this time is past")
    return end.astimezone(UTC)


@main.command("check")
@_CONFIG
@click.option("--quick", is_flag=True, help="Only what a start reads, not every leaf.")
@PROGRESS
def check_command(config: Path, *, quick: bool, progress: bool | None) -> None:
    """Check the database against its own leaves, also while the log runs, and the addenda.

    And that of the index log, if there is one. Of a cluster, the published tree and the addenda.
    Prints each damage on a line of its own: the
    table, and what is wrong there.
    """
    try:
        loaded = load(config)
    except MunimentError as error:
        fail(EXIT_CONFIG, error)
    if loaded.file.cluster is not None:
        check_cluster_command(loaded, quick=quick)
        return
    try:
        database = loaded.database
        origin = loaded.file.origin
        report = check(
            database, origin, loaded.verifiers, full=not quick, progress=Progress(progress)
        )
        addenda = check_addenda(loaded.addenda, origin, database, full=not quick)
        index_log = check_index_log(loaded, full=not quick)
    except ConfigError as error:
        fail(EXIT_CONFIG, error)
    except DatabaseError as error:
        fail(code_of(error), error)
    say_damage("damaged", [*report.damage, *addenda.damage, *index_log])
    if report.damage:
        fail(EXIT_DAMAGED, f"{database}: damaged")
    if addenda.damage:
        fail(EXIT_DAMAGED, f"{loaded.addenda}: damaged")
    if index_log:
        fail(EXIT_DAMAGED, f"{loaded.index_log.database}: damaged")
    click.echo(f"{database}: sound, {report.size} leaves", err=True)


@main.command("repair")
@_CONFIG
def repair_command(config: Path) -> None:
    """Rebuild tiles, tree, streams and batches from the leaves; the log must not run.

    Make a copy of the database first. Prints each damage that was found, and what was rebuilt.
    """
    try:
        loaded = load(config)
    except MunimentError as error:
        fail(EXIT_CONFIG, error)
    try:
        database = loaded.database
        done = asyncio.run(repair(database, loaded.file.origin, loaded.verifiers))
    except ConfigError as error:
        fail(EXIT_CONFIG, error)
    except DatabaseError as error:
        fail(code_of(error), error)
    except StorageError as error:
        fail(EXIT_DAMAGED, error)
    say_damage("rebuilt", done.rebuilt)
    say_damage("damaged", done.after.damage)
    if done.after.damage:
        fail(EXIT_DAMAGED, f"{database}: this cannot be rebuilt from leaves")
    click.echo(f"{database}: sound, {done.after.size} leaves", err=True)


@main.command("backup")
@_CONFIG
@click.argument("target", metavar="FILE", type=_PATH)
@click.option("--addenda", metavar="FILE", type=_PATH, help="Copy what records withhold, too.")
@click.option("--index-log", metavar="FILE", type=_PATH, help="Copy the index log, too.")
def backup_command(
    config: Path, target: Path, addenda: Path | None, index_log: Path | None
) -> None:
    """Copy the database into the new FILE, also while the log runs.

    With --index-log also that of the index log, before it: that is about no more leaves than the
    copy has. With --addenda also the file of the addenda, afterwards. What is erased later is still
    in that copy.
    """
    try:
        loaded = load(config)
        copies: list[tuple[Path, Path, Mark | None]] = [(loaded.database, target, mark_copy)]
        if index_log is not None:
            copies.insert(0, (loaded.index_log.database, index_log, mark_copy))
        if addenda is not None:
            copies.append((loaded.addenda, addenda, None))
    except MunimentError as error:
        fail(EXIT_CONFIG, error)
    for source, copy_, mark in copies:
        try:
            backup(source, copy_, mark=mark)
        except DatabaseError as error:
            fail(code_of(error), error)
        click.echo(f"wrote {copy_}", err=True)


def program() -> None:
    """What the installed command runs."""
    end_with(main)
