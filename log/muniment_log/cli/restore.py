"""The command `muniment-log restore`: a log that lost its disk, from a mirror."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from muniment.errors import Refused, Unreachable
from muniment.tlog.encoding import FormatError, MunimentError, VerificationError, one_line
from muniment.tlog.note import parse_vkey
from muniment_log.cli.exits import EXIT_DAMAGED, EXIT_ROLLED_BACK, code_of, fail
from muniment_log.cli.options import CONFIG
from muniment_log.cli.progress import PROGRESS, Progress
from muniment_log.config import load
from muniment_service.exits import EXIT_CONFIG, EXIT_FAILED
from muniment_service.process import run

if TYPE_CHECKING:
    from pathlib import Path

    from muniment_log.app.restoring import Restored


@click.command()
@CONFIG
@click.option(
    "--from",
    "urls",
    required=True,
    multiple=True,
    metavar="URL",
    help="A mirror's monitoring prefix, or where its copy of this log is; of several, the mirror "
    "that has the most is taken.",
)
@click.option(
    "--vkey",
    "vkeys",
    multiple=True,
    metavar="VKEY",
    help="The key of a mirror that the policy does not name.",
)
@PROGRESS
def restore(
    config: Path,
    urls: tuple[str, ...],
    vkeys: tuple[str, ...],
    progress: bool | None,  # noqa: FBT001  # click's way
) -> None:
    """Rebuild the database of a log from a mirror, up to the newest head that it has cosigned.

    Every leaf is verified on the way. Streams, and what recognises batches and records that come
    again, are rebuilt from the leaves. It says what may be missing; when a witness has cosigned
    more, it ends with code 7, and the log does not start: it would fork. Run it again after it was
    interrupted.
    """
    from muniment_log.app.restoring import restore as work  # noqa: PLC0415  # brings HTTP

    try:
        loaded = load(config)
        path = loaded.database
        keys = [parse_vkey(vkey) for vkey in vkeys]
        done = run(work(loaded, urls, keys, Progress(progress)))
    except FormatError as error:
        fail(EXIT_CONFIG, error)
    except VerificationError as error:
        fail(EXIT_DAMAGED, error)
    except (Unreachable, Refused) as error:
        fail(EXIT_FAILED, error)
    except (MunimentError, ValueError) as error:
        fail(code_of(error) if isinstance(error, MunimentError) else EXIT_CONFIG, error)
    _say(path, done)


def _say(path: Path, done: Restored) -> None:
    size = done.head.signed.checkpoint.size
    for mirror in done.head.mirrors:
        when = datetime.fromtimestamp(mirror.timestamp or 0, UTC)
        click.echo(
            f"{path}: {size} leaves on {done.streams} streams, which {mirror.vkey.name} cosigned "
            f"at {when:%Y-%m-%d %H:%M:%S} UTC"
        )
    for label, known in done.same:
        click.echo(f"witness {label}: has cosigned {known} leaves, which are in it")
    for label, why in done.silent:
        click.echo(f"witness {label}: not known what it has cosigned: {one_line(why)}")
    click.echo(
        "not restored, because no leaf has them: addenda (what records withhold), Idempotency-Keys "
        "of requests, manifests that were refused"
    )
    if not done.ahead:
        click.echo("what was logged after the last of these leaves, if anything was, is missing")
        if not done.is_attested:
            click.echo(
                "no witness has to cosign this log's heads, so nobody would know: if anything was "
                "logged after them, a log that goes on from here forks. Start it only when nothing "
                "was"
            )
        return
    for label, known in done.ahead:
        click.echo(
            f"witness {label}: has cosigned {known} leaves: those from {size} to {known - 1} are "
            "missing"
        )
    fail(
        EXIT_ROLLED_BACK,
        f"this log has signed {max(known for _, known in done.ahead)} leaves, and going on from "
        f"{size} would fork it, so it does not start. Look for the others on another mirror, a "
        "replica, an old disk: move this database away and restore from there. If nobody has them, "
        "this log has ended: keep the database for readers (muniment-log export), and begin "
        "another log with a new origin",
    )
