"""``muniment-log token``."""

import secrets
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

import click

from muniment.tlog.encoding import MunimentError, check_key_name
from muniment_log.cli.exits import failing
from muniment_service.exits import EXIT_CONFIG
from muniment_service.folder import quoted

_TOKEN_BYTES: Final = 32


@click.command()
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
    with failing(EXIT_CONFIG):
        lines = ["[[read.token]]", f"name = {quoted(reader or '')}"]
        if producer is not None:
            check_key_name(producer, "producer")
            lines = ["[[token]]", f"producer = {quoted(producer)}"]
        end = _end(expires, days)
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
