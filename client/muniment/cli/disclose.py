"""``muniment disclose``."""

import sys
from pathlib import Path

import click

from muniment.cli.common import file_option
from muniment.cli.exits import describe_exits
from muniment.errors import FormatError, InputError
from muniment.gateway.salts import Salts
from muniment.local.atomicfile import read_bounded
from muniment.records.canonical import MAX_TEXT, parse_json


@click.command(epilog=describe_exits())
@click.argument("record", metavar="ID")
@file_option(
    "--spool",
    "spool_path",
    words="The spool of the gateway that logged it; the salt is beside it.",
    required=True,
)
@click.option(
    "--member",
    required=True,
    metavar="PATH",
    help="Which commitment: inputs.arguments or outputs.result of a run's outcome, or a path in a "
    "reduced denial.",
)
@file_option(
    "--value", "value_path", words="The value, as JSON. Without it, the nonce alone is printed."
)
def disclose(record: str, spool_path: Path, member: str, value_path: Path | None) -> None:
    """Disclose what a salted commitment is to: print its addendum.

    ID is the run's id of an outcome, the decision's of a reduced denial. The addendum is JSON with
    a nonce and the value; its SHA-256 is the digest in the log. Hand it to whoever shall see the
    value: it says nothing of other values. The spool may be in use.
    """
    salts = Salts.read(spool_path)
    if value_path is None:
        click.echo(salts.nonce(record, member))
        return
    try:
        value = parse_json(read_bounded(value_path, "value", most=MAX_TEXT), str(value_path))
        data = salts.disclose(record, member, value)
    except FormatError as error:
        raise InputError(str(error)) from None
    # Byte for byte, without a newline: what is written to a file has the digest that is logged.
    sys.stdout.buffer.write(data)
