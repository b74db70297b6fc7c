"""``muniment submit``."""

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import get_args

import click

from muniment.cli.common import (
    count,
    file_option,
    gateway_key,
    log_option,
    naming_key,
    optional_policy,
    passphrase_option,
    progress,
    read_gateway_signer,
    read_policy,
    run,
    timeout_option,
)
from muniment.cli.contents import ContentFiles
from muniment.cli.importing import Importing, Wait
from muniment.cli.linerecords import LineRecords
from muniment.cli.lines import count_lines
from muniment.cli.pseudonym import pseudonym_keys
from muniment.cli.setaside import SetAside
from muniment.errors import InputError
from muniment.gateway.gateway import Gateway
from muniment.gateway.withholding import Keep


@click.command()
@log_option
@gateway_key("The gateway's key file; its vkey line names the gateway.")
@click.option(
    "--stream",
    default="default",
    show_default=True,
    metavar="LABEL",
    help="The stream. One process may write to a stream at a time.",
)
@click.option(
    "--batch",
    type=click.IntRange(1, 10_000),
    default=1000,
    show_default=True,
    metavar="N",
    help="Records in a batch.",
)
@click.option(
    "--wait",
    type=click.Choice(get_args(Wait)),
    default="durable",
    show_default=True,
    help="Wait until the records are on disk, or until a quorum of witnesses has cosigned them "
    "too, or until the policy's mirrors hold them as well; the receipts then carry the checkpoint "
    "and the proofs.",
)
@optional_policy("With --wait published or mirrored: verify the checkpoints by this policy.")
@click.option("--origin", metavar="ORIGIN", help="The log's origin, if not the one it claims.")
@timeout_option(60.0, "How long to go on trying to deliver a batch.")
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with an import that was interrupted: pass over as many records as the stream "
    "holds, which must be those of this input, in its order, and no others.",
)
@file_option(
    "--skip-bad",
    "skip_bad",
    words="Set lines aside that cannot be logged, in FILE, with their number and the reason, and "
    "go on. With --resume, FILE is that of the run before: it is added to.",
)
@click.option(
    "--withhold",
    "patterns",
    multiple=True,
    metavar="PATTERN",
    help="Keep a member of the decisions out of the log, by its JSON pointer, in which * is any "
    "member: /request/context/*. Repeatable. With --keep and without this: context and properties.",
)
@click.option(
    "--keep",
    type=click.Choice(["log", "gateway"]),
    help="Who keeps what is withheld: the log, beside the records, or --spool. By default the log.",
)
@click.option(
    "--content",
    "contents",
    multiple=True,
    metavar="POINTER=FILE",
    help="Withhold the bytes of FILE, of up to 16 MiB and of any kind, as this member of the one "
    "record of the input: /request/context/report=report.pdf. Repeatable.",
)
@file_option(
    "--spool", "spool_path", words="The spool in which --keep gateway keeps it; see muniment spool."
)
@click.option(
    "--pseudonym",
    "pseudonyms",
    multiple=True,
    metavar="POINTER=KEY",
    help="Log an id as its pseudonym under the key in the file KEY, which is made if there is "
    "none: /request/subject/id=FILE (agents, too) or /request/resource/id=FILE. Repeatable; see "
    "muniment pseudonym.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Send nothing: print for each line the record that would be logged, and what is withheld.",
)
@passphrase_option
@click.argument(
    "file", type=click.Path(path_type=Path, allow_dash=True, dir_okay=False), default="-"
)
def submit(  # the options of the command are its parameters
    log_url: str,
    key_path: Path,
    stream: str,
    batch: int,
    wait: Wait,
    policy_path: Path | None,
    origin: str | None,
    timeout: float,
    skip_bad: Path | None,
    patterns: tuple[str, ...],
    keep: Keep | None,
    contents: tuple[str, ...],
    spool_path: Path | None,
    pseudonyms: tuple[str, ...],
    passphrase_file: Path | None,
    file: Path,
    *,
    resume: bool,
    dry_run: bool,
) -> None:
    """Log records from FILE or stdin, one JSON object a line, as a signed stream.

    A line is a record (with "kind"), an AuthZEN pair {"request", "response"}, or {"request",
    "expected"} as in the AuthZEN interop suite. The members v, id, time and producer are filled in
    where missing.

    Prints one JSON receipt a batch, in order; its "lines" are the first and the last line that it
    covers. When a line cannot be logged, the lines before it are, and nothing after them is read;
    unless --skip-bad says where to set it aside.

    What is withheld is not in the records; they have a digest of it, and it may be longer than a
    record.
    """
    signer = read_gateway_signer(key_path, passphrase_file)
    policy = None if policy_path is None else read_policy(policy_path)

    async def work() -> None:
        try:
            gateway = Gateway(
                log_url,
                signer,
                stream=stream,
                origin=origin,
                policy=policy,
                batch_records=batch,
                deadline=timeout,
                spool=spool_path,
                withhold=patterns or (() if contents and keep is None else None),
                keep=keep,
                pseudonyms=pseudonym_keys(pseudonyms),
                require="mirrored" if wait == "mirrored" else "cosigned",
            )
        except ValueError as error:
            raise InputError(str(error)) from None
        content = ContentFiles(contents)
        if dry_run:
            await _show(LineRecords(gateway, content), file)
            return
        setting = nullcontext() if skip_bad is None else SetAside(skip_bad, goes_on=resume)
        # On a terminal the receipts are what shows how far it is.
        total = 0 if sys.stdout.isatty() or not sys.stderr.isatty() else count_lines(file)
        with setting as aside, progress("Logging") as show:
            importing = Importing(
                gateway,
                LineRecords(gateway, content, aside),
                batch=batch,
                wait=wait,
                resume=resume,
                tell=lambda number: show(min(number, total), total),
            )
            with naming_key(signer):
                await importing.run(file)
        if aside is not None and aside.count:
            lines = count(aside.count, "line was", "lines were")
            click.echo(f"{lines} set aside, with the reasons: {skip_bad}", err=True)

    run(work())


async def _show(records: LineRecords, file: Path) -> None:
    """Prints what would be logged of each line, and what withheld; ``InputError`` for bad ones."""
    source = records.source(file)
    bad = 0
    while part := await source.part(1):
        [line] = part
        shown = records.show(line)
        bad += "problem" in shown
        click.echo(json.dumps(shown))
    if bad:
        raise InputError(f"{bad} of the lines cannot be logged; nothing was sent")
