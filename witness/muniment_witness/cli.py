"""The command `muniment-witness`.

Exit codes: 0 done; 1 the service failed while it ran; 2 wrong usage (click's); 3 a configuration or
key cannot be used; 4 the database cannot be used; 5 the address cannot be bound; 6 a log or witness
cannot be reached, or did not give what it must; 7 the witness refused; 8 there are alarms.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from logging import ERROR, getLogger
from pathlib import Path
from typing import Final, NoReturn, TypeVar

import click

from muniment.access import Access, check_token_url
from muniment.errors import InputError
from muniment.formats.cosignature import verifier_for
from muniment.formats.encoding import MunimentError
from muniment.formats.keys import Algorithm
from muniment.formats.note import parse_vkey
from muniment.keyfiles import new_passphrase
from muniment.service import logging
from muniment.service.config import ConfigError, load_config
from muniment.service.database import DatabaseError
from muniment.service.process import first_error, run
from muniment_witness import admin
from muniment_witness.config import WitnessFile, load
from muniment_witness.feed import Feeder, RefusedError
from muniment_witness.net import Transport, UnreachableError, check_url, transport
from muniment_witness.pull import jittered
from muniment_witness.remote import lines_of, read_all, read_status, write_all
from muniment_witness.setup import CONFIG_NAME, init
from muniment_witness.tiles import UnresolvedError

EXIT_FAILED: Final = 1
EXIT_CONFIG: Final = 3
EXIT_DATABASE: Final = 4
EXIT_ADDRESS: Final = 5
EXIT_UNREACHABLE: Final = 6
EXIT_REFUSED: Final = 7
EXIT_ALARMS: Final = 8

_LOGGER: Final = getLogger(__name__)
_PATH: Final = click.Path(path_type=Path)
_CONFIG: Final = click.option(
    "--config", required=True, type=_PATH, help="The configuration file, witness.toml."
)
_TARGET: Final = click.option("--url", help="The witness's address, when it is not configured.")
REQUEST_SECONDS: Final = 20.0
"""Deadline of one request of the commands that ask."""

_T = TypeVar("_T")
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
        passphrase = new_passphrase(key_passphrase_file)
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


@main.command("add-log")
@_CONFIG
@click.argument("vkeys", metavar="VKEY…", nargs=-1, required=True)
@click.option("--url", help="Where its checkpoint and tiles are read.")
@click.option("--cosign-pulled", is_flag=True, help="Also cosign the heads that are read.")
def add_log(config: Path, vkeys: tuple[str, ...], url: str | None, *, cosign_pulled: bool) -> None:
    """Add a log, with all VKEYs that it signs with, to the configuration."""
    with _changing():
        origin = admin.add_log(config, vkeys, url, cosign=cosign_pulled)
        click.echo(f"added {origin}; restart the witness")


@main.command("remove-log")
@_CONFIG
@click.argument("origin")
def remove_log(config: Path, origin: str) -> None:
    """Remove a log from the configuration; what was cosigned of it stays readable."""
    with _changing():
        admin.remove_log(config, origin)
        click.echo(f"removed {origin}; restart the witness")


@main.command("rotate-key")
@_CONFIG
@click.argument("origin", required=False)
@click.option("--add", multiple=True, metavar="VKEY", help="New key of the log; repeat.")
@click.option("--remove", multiple=True, metavar="VKEY", help="Key that the log gave up; repeat.")
@click.option("--own", type=click.Choice(["ed25519", "mldsa44"]), help="Make another own key.")
def rotate_key(
    config: Path,
    origin: str | None,
    add: tuple[str, ...],
    remove: tuple[str, ...],
    own: Algorithm | None,
) -> None:
    """Add and remove keys of the log ORIGIN, or give the witness itself another key.

    While an old and a new key are both listed, either counts: add the new one, wait until nobody
    needs the old one, remove it.
    """
    if (own is None) == (origin is None) or (own is None and not add and not remove):
        raise click.UsageError("either ORIGIN with --add or --remove, or --own")
    with _changing():
        if own is not None:
            click.echo(str(admin.add_own_key(config, own)))
        elif origin is not None:
            admin.rotate_log_key(config, origin, add, remove)
        click.echo("changed; restart the witness", err=True)


@main.command()
@_CONFIG
@click.argument("origin")
@click.option("--evidence", required=True, metavar="HASH", help="Hash of the evidence, in hex.")
def acknowledge(config: Path, origin: str, evidence: str) -> None:
    """Cosign ORIGIN again in spite of evidence; all open evidence must be acknowledged."""
    with _changing():
        admin.acknowledge(config, origin, evidence.lower())
        click.echo("acknowledged; restart the witness")


@main.command()
@_TARGET
@click.option("--config", type=_PATH, help="The configuration, for the address.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(url: str | None, config: Path | None, *, as_json: bool) -> None:
    """Show what a running witness reports; exit code 8 when there are alarms."""
    with _asking():
        found = asyncio.run(_with_transport(partial(read_status, url=_address(url, config))))
        lines = [json.dumps(found)] if as_json else lines_of(found)
    for line in lines:
        click.echo(line)
    if found.get("alarms"):
        sys.exit(EXIT_ALARMS)


@main.command("export")
@_TARGET
@click.option("--config", type=_PATH, help="The configuration, for the address.")
@click.argument("folder", metavar="DIR", type=_PATH)
def export_command(url: str | None, config: Path | None, folder: Path) -> None:
    """Write a running witness's status, latest checkpoints and evidence into DIR."""
    with _asking():
        files = asyncio.run(_with_transport(partial(read_all, url=_address(url, config))))
        for path in write_all(files, folder):
            click.echo(str(path))


@main.command()
@click.option("--log", "log_url", required=True, metavar="URL", help="The log.")
@click.option("--log-vkey", "vkeys", required=True, multiple=True, metavar="VKEY", help="Its key.")
@click.option("--witness", required=True, metavar="URL", help="The witness's submission prefix.")
@click.option("--once", is_flag=True, help="Feed one checkpoint and end.")
@click.option("--period", type=click.FloatRange(0.1), default=30.0, show_default=True)
def feed(log_url: str, vkeys: tuple[str, ...], witness: str, *, once: bool, period: float) -> None:
    """Feed a witness from a log, whoever runs them; prints a line of JSON for each checkpoint."""
    with _asking():
        source = check_url(log_url)
        verifiers = tuple(verifier_for(parse_vkey(vkey, "--log-vkey")) for vkey in vkeys)
        if len({verifier.vkey.name for verifier in verifiers}) != 1:
            raise ConfigError("--log-vkey: the keys are of different logs")

        async def work(transport: Transport) -> None:
            feeder = Feeder(transport, source, verifiers, check_url(witness))
            while True:
                try:
                    fed = await feeder.feed()
                except (UnreachableError, UnresolvedError, RefusedError) as error:
                    if once:
                        raise
                    click.echo(f"muniment-witness: {error}", err=True)
                else:
                    line = {
                        "size": fed.size,
                        "old": fed.old,
                        "cosignatures": [signature.line.rstrip() for signature in fed.lines],
                    }
                    click.echo(json.dumps(line, ensure_ascii=False))
                if once:
                    return
                await asyncio.sleep(jittered(period))

        asyncio.run(_with_transport(work, log=source))


async def _with_transport(work: Callable[[Transport], Awaitable[_T]], log: str = "") -> _T:
    """Works with what the environment says of TLS, and its read token for the log."""
    access = Access.from_environment()
    tokens = {}
    if log and access.token:
        check_token_url(log)
        tokens[log] = access.token
    async with transport(REQUEST_SECONDS, access, tokens) as network:
        return await work(network)


def _address(url: str | None, config: Path | None) -> str:
    if url is not None:
        return check_url(url)
    if config is None:
        raise click.UsageError("either --url or --config")
    file = load_config(config, WitnessFile)
    listen = file.listen
    if not listen.port:
        raise click.UsageError("the configured port is 0: say --url")
    return f"{'https' if file.tls else 'http'}://{listen}"


@contextmanager
def _changing() -> Iterator[None]:
    try:
        yield
    except MunimentError as error:
        _fail(EXIT_CONFIG, error)


@contextmanager
def _asking() -> Iterator[None]:
    try:
        yield
    except RefusedError as error:
        _fail(EXIT_REFUSED, error)
    except (ConfigError, InputError) as error:
        _fail(EXIT_CONFIG, error)
    except (MunimentError, ValueError) as error:
        _fail(EXIT_UNREACHABLE, error)
    except KeyboardInterrupt:
        _fail(EXIT_FAILED, "interrupted")


def _fail(code: int, error: object) -> NoReturn:
    first_line = str(error).partition("\n")[0] or type(error).__name__
    click.echo(f"muniment-witness: {first_line}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
