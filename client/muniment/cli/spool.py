"""``muniment spool``."""

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from muniment.cli.common import (
    FILE,
    check_said,
    count,
    gateway_key,
    json_option,
    log_option,
    naming_key,
    passphrase_option,
    progress,
    read_gateway_signer,
    run,
    timeout_option,
)
from muniment.cli.exits import describe_exits
from muniment.errors import InputError, Undelivered
from muniment.gateway.gateway import Gateway
from muniment.gateway.keptaddenda import list_kept, read_kept
from muniment.gateway.spool import SPOOL_SUFFIX, Spool
from muniment.gateway.spoolfolder import SpoolState, find_spools
from muniment.local.sqliteopen import reading
from muniment.tlog.note import Signer

_LOOK = 0.2  # seconds between two looks at how far a delivery is

_spool = click.argument("spool_path", metavar="SPOOL", type=FILE)
_spools = click.argument(
    "paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path)
)


@click.group()
def spool() -> None:
    """Deliver what gateways left in their spools; read and erase addenda that these keep."""


@spool.command("list", epilog=describe_exits())
@_spools
@json_option
def list_(paths: tuple[Path, ...], *, as_json: bool) -> None:
    """List spools, and what the log has not acknowledged of them.

    A PATH is a spool, or a folder of them. They may be in use. Those that are not, and hold records
    or calls, are what "muniment spool deliver" is for.
    """
    for one in map(SpoolState.read, find_spools(paths)):
        if as_json:
            click.echo(json.dumps({**asdict(one), "path": str(one.path)}))
            continue
        use = "in use" if one.in_use else "empty" if one.is_empty else "orphaned"
        click.echo(
            f"{click.format_filename(one.path)}: {use}, {count(one.records, 'record')} to deliver, "
            f"{count(one.calls, 'outcome')} to come, {one.refused} refused; stream {one.stream}"
        )


@spool.command(epilog=describe_exits())
@_spools
@log_option
@gateway_key("The key of the gateway that left the spools.")
@click.option("--origin", metavar="ORIGIN", help="The log's origin, if not the one it claims.")
@timeout_option(60.0, "How long to go on trying with each spool.")
@passphrase_option
def deliver(
    paths: tuple[Path, ...],
    log_url: str,
    key_path: Path,
    origin: str | None,
    timeout: float,
    passphrase_file: Path | None,
) -> None:
    """Deliver what processes that have ended left in their spools.

    A PATH is a spool, or a folder of them. Those in use are passed over. Calls that were going on
    get the outcome "unknown". What the log will never take stays in the file, and is counted.
    """
    signer = read_gateway_signer(key_path, passphrase_file)
    for path in find_spools(paths):
        state = SpoolState.read(path)
        if state.in_use:
            click.echo(f"{click.format_filename(path)}: in use, passed over", err=True)
        elif not state.is_empty:
            with naming_key(signer):
                ever = run(_deliver(state, log_url, signer, origin, seconds=timeout))
            refused = ever - state.refused
            done = state.records + state.calls - refused
            name = click.format_filename(path)
            click.echo(f"{name}: {count(done, 'record')} delivered, {refused} refused")


async def _deliver(
    state: SpoolState, log_url: str, signer: Signer, origin: str | None, *, seconds: float
) -> int:
    """Delivers one spool; returns how many records of it were ever refused."""
    label = state.stream.removesuffix(SPOOL_SUFFIX)
    try:
        gateway = Gateway(
            log_url, signer, stream=label, origin=origin, deadline=seconds, spool=state.path
        )
    except ValueError as error:
        raise InputError(str(error)) from None
    async with gateway:
        try:
            async with asyncio.timeout(seconds):
                await _drained(gateway.spool, str(click.format_filename(state.path)))
        except TimeoutError:
            raise Undelivered(
                f"{state.path}: {count(gateway.spool.pending, 'record')} not delivered within "
                f"{seconds:g} s"
            ) from None
        if gateway.spool.failure is not None:
            raise gateway.spool.failure
        return await gateway.spool.refused()


async def _drained(spool: Spool, name: str) -> None:
    """Waits until a spool is delivered, or nothing can be any more; shows how far it is."""
    total = spool.pending
    draining = asyncio.create_task(spool.drained())
    try:
        with progress(name) as tell:
            while not draining.done():
                tell(total - spool.pending, total)
                await asyncio.wait({draining}, timeout=_LOOK)
            draining.result()
            tell(total - spool.pending, total)
    finally:
        draining.cancel()


@spool.command(epilog=describe_exits())
@_spool
def addenda(spool_path: Path) -> None:
    """List the addenda, one JSON object a line: digest, producer, record, pointer, size.

    "record" is the id of the producer's record that named it last, at "pointer". A gateway may have
    the spool open.
    """
    with reading(spool_path, "spool that keeps addenda") as db:
        for one in list_kept(db):
            click.echo(json.dumps(one._asdict()))


@spool.command(epilog=describe_exits())
@_spool
@click.argument("digest")
def read(spool_path: Path, digest: str) -> None:
    """Print an addendum, by its SHA-256 in hexadecimal digits.

    Hand it to whoever shall see the value. A gateway may have the spool open.
    """
    with reading(spool_path, "spool that keeps addenda") as db:
        data = read_kept(digest, db)
    if data is None:
        raise InputError(f"{spool_path}: keeps no addendum {digest}")
    sys.stdout.buffer.write(data)  # byte for byte, without a newline


@spool.command(epilog=describe_exits())
@_spool
@click.argument("digests", nargs=-1, metavar="[DIGEST]...")
@click.option("--record", metavar="ID", help="Erase what the record of this id named.")
@click.option("--by", metavar="WHO", callback=check_said, help="Who has it erased; it is logged.")
@click.option("--reason", metavar="TEXT", callback=check_said, help="Why; it is logged.")
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
    with reading(spool_path, "spool that keeps addenda") as db:
        kept = list_kept(db)
    chosen = [one for one in kept if one.digest in digests or one.record == record]
    if missing := {*digests} - {one.digest for one in kept}:
        raise InputError(f"{spool_path}: keeps no addendum {min(missing)}")
    for one in chosen:
        click.echo(json.dumps(one._asdict()))
    if by is not None and not dry_run:
        names = [one.digest for one in chosen]
        erased = asyncio.run(Spool.erase_in(spool_path, names, by=by, reason=reason))
        click.echo(f"{erased} erased", err=True)
