"""The command `muniment-witness`.

Exit codes: 0 done; 1 the service failed while it ran; 2 wrong usage (click's); 3 a configuration or
key cannot be used; 4 the database cannot be used; 5 the address cannot be bound.
"""

import sys
from logging import ERROR, getLogger
from pathlib import Path
from typing import Final, NoReturn

import click

from muniment.formats.encoding import MunimentError
from muniment.service import logging
from muniment.service.config import read_passphrase
from muniment.service.database import DatabaseError
from muniment.service.process import first_error, run
from muniment_witness.config import load
from muniment_witness.setup import CONFIG_NAME, Algorithm, init

EXIT_FAILED: Final = 1
EXIT_CONFIG: Final = 3
EXIT_DATABASE: Final = 4
EXIT_ADDRESS: Final = 5

_LOGGER: Final = getLogger(__name__)
_PATH: Final = click.Path(path_type=Path)
_CONFIG: Final = click.option(
    "--config", required=True, type=_PATH, help="The configuration file, witness.toml."
)
_ALGORITHMS: Final[dict[str, tuple[Algorithm, ...]]] = {
    "both": ("ed25519", "mldsa44"),
    "ed25519": ("ed25519",),
    "mldsa44": ("mldsa44",),
}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="muniment")
def main() -> None:
    """Run a witness: it cosigns the checkpoints of transparency logs that only ever append."""


@main.command("init")
@click.argument("folder", metavar="DIR", type=_PATH)
@click.option("--name", required=True, help="Key name, such as witness.example/w1.")
@click.option("--log", "logs", multiple=True, metavar="VKEY", help="Public key of a log; repeat.")
@click.option("--listen", default="127.0.0.1:8101", show_default=True, help="host:port.")
@click.option(
    "--algorithm",
    type=click.Choice(sorted(_ALGORITHMS)),
    default="both",
    show_default=True,
    help="Which keys to make.",
)
@click.option("--key-passphrase-file", type=_PATH, help="Encrypt the keys with its content.")
def init_command(
    folder: Path,
    name: str,
    logs: tuple[str, ...],
    listen: str,
    algorithm: str,
    key_passphrase_file: Path | None,
) -> None:
    """Write keys and a commented witness.toml into DIR, and print the vkeys."""
    try:
        passphrase = None if key_passphrase_file is None else read_passphrase(key_passphrase_file)
        vkeys = init(
            folder,
            name=name,
            listen=listen,
            logs=logs,
            algorithms=_ALGORITHMS[algorithm],
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
    # The HTTP stack takes half a second to import, which the other commands do without.
    from muniment_witness import app  # noqa: PLC0415

    try:
        loaded = load(config)
        logging.configure(loaded.file.log_level, loaded.file.log_format)
        run(app.serve(loaded))
    except DatabaseError as error:
        _fail(EXIT_DATABASE, error)
    except MunimentError as error:
        _fail(EXIT_CONFIG, error)
    except OSError as error:
        _fail(EXIT_ADDRESS, error)
    except ExceptionGroup as group:
        # TaskGroup's wrapping says nothing; what failed is inside.
        cause = first_error(group)
        if isinstance(cause, OSError):
            _fail(EXIT_ADDRESS, cause)
        logging.event(_LOGGER, ERROR, "the service failed", exc_info=group)
        _fail(EXIT_FAILED, cause)
    except KeyboardInterrupt:
        _fail(EXIT_FAILED, "interrupted")


@main.command("vkeys")
@_CONFIG
def vkeys_command(config: Path) -> None:
    """Print the public keys of the witness, one vkey a line."""
    try:
        loaded = load(config)
    except MunimentError as error:
        _fail(EXIT_CONFIG, error)
    for signer in loaded.signers:
        click.echo(str(signer.vkey))


def _fail(code: int, error: object) -> NoReturn:
    first_line = str(error).partition("\n")[0] or type(error).__name__
    click.echo(f"muniment-witness: {first_line}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
