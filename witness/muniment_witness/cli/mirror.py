"""The commands of `muniment-witness` for its mirror: to add one, and to begin its copies anew."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from muniment.local.keyfiles import new_passphrase
from muniment.tlog.encoding import MunimentError, check_key_name
from muniment.tlog.keys.keyfile import Algorithm
from muniment.tlog.note import VKey
from muniment_service.config import ConfigError
from muniment_service.configedit import replace_config
from muniment_service.folder import make_keys, quoted
from muniment_witness.cli.common import CONFIG, PATH, failing_on_config, failing_on_database
from muniment_witness.cli.exits import EXIT_DAMAGED, fail
from muniment_witness.cli.setup import MIRROR_NAME
from muniment_witness.config import WitnessConfig, load
from muniment_witness.mirror.table import MirrorConfig
from muniment_witness.store.mirrorcheck import check_mirror
from muniment_witness.store.mirrordb import create_mirror

ALGORITHMS: Final[dict[str, tuple[Algorithm, ...]]] = {
    "both": ("ed25519", "mldsa44"),
    "ed25519": ("ed25519",),
    "mldsa44": ("mldsa44",),
}
"""Which keys are made, by the word for them."""

with_algorithm: Final = click.option(
    "--algorithm",
    type=click.Choice(sorted(ALGORITHMS)),
    default="both",
    show_default=True,
    help="Which keys to make.",
)
with_passphrase: Final = click.option(
    "--key-passphrase-file", type=PATH, help="Encrypt the keys with its content."
)


@click.command("add-mirror")
@CONFIG
@click.option("--name", required=True, help="Key name of its own, such as mirror.example/m1.")
@with_algorithm
@with_passphrase
def add_mirror_command(
    config: Path, name: str, algorithm: str, key_passphrase_file: Path | None
) -> None:
    """Add a mirror to a witness: keys, a database and [mirror]; print the mirror's vkeys.

    It mirrors each [[log]], after a restart.
    """
    with failing_on_config(), failing_on_database():
        vkeys = _add(config, name, ALGORITHMS[algorithm], key_passphrase_file)
    for vkey in vkeys:
        click.echo(str(vkey))
    click.echo("added; restart the witness", err=True)


@click.command("new-mirror-database")
@CONFIG
def new_mirror_database(config: Path) -> None:
    """Make a new database for a mirror whose copies are lost; its logs fill it again.

    The witness's database must be there still: it is what keeps the mirror from a second history.
    """
    with failing_on_config(), failing_on_database():
        mirror = mirror_of(load(config))
        path = mirror.table.database
        asyncio.run(create_mirror(path, [signer.vkey for signer in mirror.signers]))
    click.echo(f"made {path}; it holds nothing before the logs have sent their entries")


def check_copies(mirror: MirrorConfig) -> None:
    """Checks a mirror's database, says what is found, and ends when it is damage."""
    path = mirror.table.database
    with failing_on_config(), failing_on_database():
        report = check_mirror(path, [signer.vkey for signer in mirror.signers])
    for table, what in report.damage:
        click.echo(f"damaged {table}: {what}")
    if report.damage:
        fail(EXIT_DAMAGED, f"{path}: damaged")
    click.echo(f"{path}: sound, {report.entries} entries of {report.copies} logs", err=True)


def mirror_of(config: WitnessConfig) -> MirrorConfig:
    """The mirror of a configuration; ConfigError when it has none."""
    if config.mirror is None:
        raise ConfigError(f"{config.path}: there is no [mirror]")
    return config.mirror


def _add(
    path: Path, name: str, algorithms: Sequence[Algorithm], passphrase_file: Path | None
) -> tuple[VKey, ...]:
    old = path.read_text(encoding="utf-8")
    before = load(path)
    check_key_name(name, "key name")
    folder = path.parent
    database = folder / MIRROR_NAME
    if before.mirror is not None:
        raise ConfigError(f"{path}: there is a [mirror] already")
    if name == before.name:
        raise ConfigError(f"{path}: {name} is the witness's name; a mirror has its own")
    if database.exists():
        raise MunimentError(f"{database}: exists already")
    vkeys, files = make_keys(
        folder,
        name=name,
        use="witness",
        algorithms=algorithms,
        passphrase=new_passphrase(passphrase_file),
        stem="mirror",
    )
    asyncio.run(create_mirror(database, vkeys))
    lines = ["", "[mirror]", f"name = {quoted(name)}", f"keys = {json.dumps(files)}"]
    if passphrase_file is not None:
        lines.append(f"key_passphrase_file = {quoted(str(passphrase_file.resolve()))}")
    lines += [f"database = {quoted(MIRROR_NAME)}", ""]
    text = old + "\n".join(lines)

    def is_meant(draft: Path) -> bool:
        found = load(draft)
        return found.mirror is not None and found.file.log == before.file.log

    replace_config(path, old, text, is_meant)
    return vkeys
