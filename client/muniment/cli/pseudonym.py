"""``muniment pseudonym``, and the option that says which ids are logged as pseudonyms."""

from collections.abc import Iterable
from pathlib import Path

import click

from muniment.cli.common import FILE
from muniment.errors import InputError
from muniment.gateway.pseudonyms import RESOURCE_ID, SUBJECT_ID, Pseudonyms


def pseudonym_keys(given: Iterable[str]) -> dict[str, Path] | None:
    """The files of the keys by pointer, of options ``POINTER=KEY``; None without any.

    Raises InputError if one is something else, or a pointer comes twice.
    """
    found: dict[str, Path] = {}
    for text in given:
        pointer, _, path = text.partition("=")
        if pointer not in (SUBJECT_ID, RESOURCE_ID) or not path:
            raise InputError(
                f"--pseudonym {text!a}: expected {SUBJECT_ID}=FILE or {RESOURCE_ID}=FILE, "
                "the file of the key"
            )
        if pointer in found:
            raise InputError(f"--pseudonym: {pointer} comes twice")
        found[pointer] = Path(path)
    return found or None


@click.command()
@click.option(
    "--key",
    "key_path",
    required=True,
    type=FILE,
    metavar="KEY",
    help="The file of the key, as in muniment submit --pseudonym.",
)
@click.argument("id_", metavar="ID")
def pseudonym(key_path: Path, id_: str) -> None:
    """Print the pseudonym of ID under a key: to find or erase what is logged under it.

    A pseudonym stays as it is. There must be the key: of another one the pseudonym would be in no
    record.
    """
    if not key_path.exists():
        raise InputError(f"{key_path}: no such file; a key is made by what logs under it")
    click.echo(Pseudonyms({SUBJECT_ID: key_path}).subject(id_))
