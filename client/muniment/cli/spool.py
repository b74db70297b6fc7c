"""``muniment spool``."""

import asyncio
import json
import sys
from pathlib import Path

import click

from muniment.cli.common import FILE
from muniment.cli.exits import describe_exits
from muniment.errors import InputError
from muniment.gateway.keptaddenda import list_kept, read_kept, reading
from muniment.gateway.spool import Spool

_spool = click.argument("spool_path", metavar="SPOOL", type=FILE)


@click.group()
def spool() -> None:
    """Read, and erase, what a gateway keeps instead of the log: addenda in its spool's file."""


@spool.command("list", epilog=describe_exits())
@_spool
def list_(spool_path: Path) -> None:
    """List the addenda, one JSON object a line: digest, producer, record, pointer, size.

    "record" is the id of the producer's record that named it last, at "pointer". A gateway may have
    the spool open.
    """
    with reading(spool_path) as db:
        for one in list_kept(db):
            click.echo(json.dumps(one._asdict()))


@spool.command(epilog=describe_exits())
@_spool
@click.argument("digest")
def read(spool_path: Path, digest: str) -> None:
    """Print an addendum, by its SHA-256 in hexadecimal digits.

    Hand it to whoever shall see the value. A gateway may have the spool open.
    """
    with reading(spool_path) as db:
        data = read_kept(digest, db)
    if data is None:
        raise InputError(f"{spool_path}: keeps no addendum {digest}")
    sys.stdout.buffer.write(data)  # byte for byte, without a newline


@spool.command(epilog=describe_exits())
@_spool
@click.argument("digests", nargs=-1, metavar="[DIGEST]...")
@click.option("--record", metavar="ID", help="Erase what the record of this id named.")
@click.option("--by", metavar="WHO", help="Who has it erased; it is logged.")
@click.option("--reason", metavar="TEXT", help="Why; it is logged.")
@click.option("--dry-run", is_flag=True, help="List what would be erased, and erase nothing.")
def erase(
    spool_path: Path,
    digests: tuple[str, ...],
    record: str | None,
    by: str | None,
    reason: str | None,
    *,
    dry_run: bool,
) -> None:
    """Erase addenda, by their SHA-256 or their record, and have that logged.

    The bytes leave the file; its copies and backups are yours to erase. The records of kind
    "erasure" that say so are sent when a gateway next opens the spool, which none may have open
    now: a running one is asked with Spool.erase.
    """
    if not digests and record is None:
        raise click.UsageError("give digests, or --record")
    if by is None and not dry_run:
        raise click.UsageError("give --by, or --dry-run")
    with reading(spool_path) as db:
        kept = list_kept(db)
    chosen = [one for one in kept if one.digest in digests or one.record == record]
    if missing := {*digests} - {one.digest for one in kept}:
        raise InputError(f"{spool_path}: keeps no addendum {min(missing)}")
    for one in chosen:
        click.echo(json.dumps(one._asdict()))
    if by is not None and not dry_run:
        names = [one.digest for one in chosen]
        count = asyncio.run(Spool.erase_in(spool_path, names, by=by, reason=reason))
        click.echo(f"{count} erased", err=True)
