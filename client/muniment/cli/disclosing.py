"""Addenda that commands are given, and what they show of a record that withholds members."""

from collections.abc import Callable, Collection, Iterator
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, Final

import click

from muniment.cli.common import FILE
from muniment.errors import InputError
from muniment.lineage.escape import terminal
from muniment.lineage.withholding import Withholding
from muniment.local.atomicfile import read_bounded
from muniment.records.addenda import addendum_path
from muniment.records.commitments import MAX_ADDENDUM

MAX_NAMED_OTHERWISE: Final = 10_000
"""Files of a folder that are read to learn what they are."""


def addendum_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that take addenda."""
    one = click.option(
        "--addendum",
        "addendum_paths",
        type=FILE,
        multiple=True,
        metavar="FILE",
        help="An addendum that discloses a withheld member: checked against the record, which has "
        "to name it. Repeatable.",
    )
    many = click.option(
        "--addenda",
        "addenda_folder",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="A folder of addenda, as an export or a mirror has it, or with any names: those that "
        "the record names are taken.",
    )
    return one(many(command))


def read_addenda(
    paths: Collection[Path], folder: Path | None, wanted: Collection[str]
) -> list[bytes]:
    """Reads the addenda of the files, and those of the folder that have one of these digests.

    Raises InputError if a file or the folder cannot be read.
    """
    given = [read_bounded(path, "addendum", most=MAX_ADDENDUM) for path in paths]
    if folder is not None:
        known = {sha256(one).hexdigest() for one in given}
        given += _in_folder(folder, [one for one in wanted if one not in known])
    return given


def _in_folder(folder: Path, wanted: Collection[str]) -> list[bytes]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no folder")
    found: dict[str, bytes] = {}
    for digest in wanted:
        relative = addendum_path(digest)
        for name in (digest, f"{digest}.json", relative, relative.removeprefix("addenda/")):
            if (folder / name).is_file():
                data = read_bounded(folder / name, "addendum", most=MAX_ADDENDUM)
                if sha256(data).hexdigest() != digest:
                    raise InputError(f"{folder / name}: not the addendum that its name says")
                found[digest] = data
                break
    missing = {*wanted} - found.keys()
    for path in islice(_files(folder), MAX_NAMED_OTHERWISE) if missing else ():
        if path.stat().st_size <= MAX_ADDENDUM:
            data = read_bounded(path, "addendum", most=MAX_ADDENDUM)
            if (digest := sha256(data).hexdigest()) in missing:
                found[digest] = data
    return [*found.values()]


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if path.is_file())


def show_withholding(found: Withholding, *, err: bool = False) -> None:
    """Prints what was disclosed, withheld and erased, a member a line."""
    for pointer in found.disclosed:
        click.echo(f"  disclosed  {terminal(pointer)}", err=err)
    for pointer in found.withheld:
        click.echo(f"  withheld   {terminal(pointer)}", err=err)
    for pointer, index in found.erased:
        click.echo(f"  erased     {terminal(pointer)} (by leaf {index})", err=err)
