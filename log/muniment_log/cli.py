"""The command `muniment-log`.

Exit codes: 0 done; 1 the service failed while it ran; 2 wrong usage (click's); 3 a configuration or
key cannot be used; 4 the database cannot be used (in use, damaged, another program's); 5 the
address cannot be bound; 6 the database belongs to another origin or other keys; 7 the database was
rolled back: a witness knows more than it holds; 8 `check` or `repair`: the database is damaged.
"""

import asyncio
import secrets
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Final, NoReturn

import click

from muniment.formats.cosignature import verifier_for
from muniment.formats.encoding import MunimentError, check_key_name
from muniment.formats.note import Verifier
from muniment.keyfiles import new_passphrase
from muniment.memory import protect_memory
from muniment.service import logging
from muniment.service.backup import backup
from muniment.service.database import DatabaseError
from muniment.service.folder import quoted
from muniment.service.process import first_error, run
from muniment.service.soundness import Damage
from muniment_log.config import LogConfig, load
from muniment_log.errors import RolledBackError, StorageError, WrongIdentityError
from muniment_log.setup import CONFIG_NAME, init
from muniment_log.storage.check import check
from muniment_log.storage.repair import repair

EXIT_FAILED: Final = 1
EXIT_CONFIG: Final = 3
EXIT_DATABASE: Final = 4
EXIT_ADDRESS: Final = 5
EXIT_IDENTITY: Final = 6
EXIT_ROLLED_BACK: Final = 7
EXIT_DAMAGED: Final = 8

_CODES: Final[tuple[tuple[type[BaseException], int], ...]] = (
    (WrongIdentityError, EXIT_IDENTITY),
    (RolledBackError, EXIT_ROLLED_BACK),
    (DatabaseError, EXIT_DATABASE),
    (StorageError, EXIT_DATABASE),
    (MunimentError, EXIT_CONFIG),
    (OSError, EXIT_ADDRESS),
)
"""Exit code of what stops the service before it is ready; the first class that fits."""

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
    """Write keys and a commented log.toml into DIR, and print the vkeys."""
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
        _fail(EXIT_CONFIG, error)
    for vkey in vkeys:
        click.echo(str(vkey))
    click.echo(f"wrote {folder / CONFIG_NAME}", err=True)


@main.command()
@_CONFIG
def serve(config: Path) -> None:
    """Serve until SIGTERM; prints one line of JSON when ready. Logs go to stderr."""
    # Half a second: it brings the HTTP library, which the other commands do without.
    from muniment_log import app  # noqa: PLC0415

    protect_memory()
    try:
        loaded = load(config)
        logging.configure(loaded.file.log_level, loaded.file.log_format)
        run(app.serve(loaded))
    except (MunimentError, OSError) as error:
        _fail(_code(error), error)
    except ExceptionGroup as group:
        # TaskGroup's wrapping says nothing; what failed is inside. Only the address is bound
        # inside of it, all other failures there are those of a service that ran.
        cause = first_error(group)
        _fail(EXIT_ADDRESS if isinstance(cause, OSError) else EXIT_FAILED, cause)
    except KeyboardInterrupt:
        _fail(EXIT_FAILED, "interrupted")


@main.command("vkeys")
@_CONFIG
def vkeys_command(config: Path) -> None:
    """Print the public keys of the log, one vkey a line."""
    try:
        loaded = load(config)
    except MunimentError as error:
        _fail(EXIT_CONFIG, error)
    for signer in loaded.signers:
        click.echo(str(signer.vkey))


@main.command()
@click.option("--producer", help="For submitting: the key name that the token's records get.")
@click.option("--reader", metavar="NAME", help="For reading: who has the token.")
@click.option("--expires", metavar="TIME", help="When it ends: 2027-01-31T00:00:00Z.")
@click.option("--days", type=click.IntRange(1, 36_500), help="When it ends, from now.")
def token(producer: str | None, reader: str | None, expires: str | None, days: int | None) -> None:
    """Make a bearer token: print it, and on stderr the table for log.toml.

    The log only ever stores the hash; the token itself is shown once.
    """
    if (producer is None) == (reader is None):
        raise click.UsageError("either --producer or --reader")
    if expires is not None and days is not None:
        raise click.UsageError("--expires and --days are two ways to say one thing")
    try:
        lines = ["[[read.token]]", f"name = {quoted(reader or '')}"]
        if producer is not None:
            check_key_name(producer, "producer")
            lines = ["[[token]]", f"producer = {quoted(producer)}"]
        end = _end(expires, days)
    except MunimentError as error:
        _fail(EXIT_CONFIG, error)
    fresh = secrets.token_urlsafe(_TOKEN_BYTES)
    lines.append(f'sha256 = "{sha256(fresh.encode()).hexdigest()}"')
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
def check_command(config: Path, quick: bool) -> None:  # noqa: FBT001  # click's way
    """Check the database against its own leaves, also while the log runs.

    Prints each damage on a line of its own: the table, and what is wrong there.
    """
    try:
        loaded = load(config)
    except MunimentError as error:
        _fail(EXIT_CONFIG, error)
    file = loaded.file
    try:
        report = check(file.database, file.origin, _verifiers(loaded), full=not quick)
    except DatabaseError as error:
        _fail(EXIT_DATABASE, error)
    _say("damaged", report.damage)
    if report.damage:
        _fail(EXIT_DAMAGED, f"{file.database}: damaged")
    click.echo(f"{file.database}: sound, {report.size} leaves", err=True)


@main.command("repair")
@_CONFIG
def repair_command(config: Path) -> None:
    """Rebuild tiles, tree, streams and batches from the leaves; the log must not run.

    Make a copy of the database first. Prints each damage that was found, and what was rebuilt.
    """
    try:
        loaded = load(config)
    except MunimentError as error:
        _fail(EXIT_CONFIG, error)
    file = loaded.file
    try:
        done = asyncio.run(repair(file.database, file.origin, _verifiers(loaded)))
    except DatabaseError as error:
        _fail(EXIT_DATABASE, error)
    except StorageError as error:
        _fail(EXIT_DAMAGED, error)
    _say("rebuilt", done.rebuilt)
    _say("damaged", done.after.damage)
    if done.after.damage:
        _fail(EXIT_DAMAGED, f"{file.database}: this cannot be rebuilt from leaves")
    click.echo(f"{file.database}: sound, {done.after.size} leaves", err=True)


@main.command("backup")
@_CONFIG
@click.argument("target", metavar="FILE", type=_PATH)
def backup_command(config: Path, target: Path) -> None:
    """Copy the database into the new FILE, also while the log runs."""
    try:
        database = load(config).file.database
    except MunimentError as error:
        _fail(EXIT_CONFIG, error)
    try:
        backup(database, target)
    except DatabaseError as error:
        _fail(EXIT_DATABASE, error)
    click.echo(f"wrote {target}", err=True)


def _verifiers(config: LogConfig) -> list[Verifier]:
    return [verifier_for(signer.vkey) for signer in config.signers]


def _say(verdict: str, damage: Sequence[Damage]) -> None:
    for table, what in damage:
        click.echo(f"{verdict} {table}: {what}")


def _code(error: BaseException) -> int:
    return next(code for kind, code in _CODES if isinstance(error, kind))


def _fail(code: int, error: object) -> NoReturn:
    first_line = str(error).partition("\n")[0] or type(error).__name__
    click.echo(f"muniment-log: {first_line}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
