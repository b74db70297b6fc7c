"""The command `muniment-gateway`; what it ends with is in exits.py."""

import asyncio
import json
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from muniment.local.keyfiles import new_passphrase
from muniment.local.sqlitefile import is_unwritable
from muniment.tlog.encoding import MunimentError
from muniment_gateway.cli.exits import (
    EXIT_CONFIG,
    EXIT_FAILED,
    EXIT_NOT_RUNNING,
    EXIT_REFUSED,
    EXIT_UNWELL,
    EXIT_UNWRITABLE,
    code_of,
    fail,
)
from muniment_gateway.cli.mcp import mcp_command
from muniment_gateway.cli.setup import (
    AUTHORITY_NAME,
    CONFIG_NAME,
    authority_table,
    engine_table,
    init,
    init_authority,
    own_keys,
)
from muniment_gateway.config import (
    GatewayConfig,
    GatewayFile,
    load,
    load_authority,
)
from muniment_gateway.store.originals import read_original
from muniment_service import unixsocket
from muniment_service.config import load_config
from muniment_service.servicerun import run_service

_Function = TypeVar("_Function", bound=Callable[..., Any])
_CODED: Final = (MunimentError, OSError)  # they have codes of their own while it runs, too
_PATH: Final = click.Path(path_type=Path)
_CONFIG: Final = click.option(
    "--config", required=True, type=_PATH, help="The configuration file, gateway.toml."
)

_ENGINES: Final = (
    click.option("--authzen", metavar="URL", help="A PDP that speaks AuthZEN decides."),
    click.option("--cerbos", metavar="URL", help="A Cerbos decides, at its HTTP listener."),
    click.option("--opa", metavar="URL", help="A rule of OPA's decides: …/v1/data/authz/allow."),
    click.option("--cedar", metavar="FILE", help="Cedar policies decide."),
)


def _engine_options(command: _Function) -> _Function:
    """The options that name a policy engine."""
    for option in reversed(_ENGINES):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="muniment")
def main() -> None:
    """Run a gateway: policy engines decide, the log has it, and only then is anybody answered."""


main.add_command(mcp_command)


@main.command("init")
@click.argument("folder", metavar="DIR", type=_PATH)
@click.option("--name", help="Key name; gateway.example/<this host> without one.")
@click.option("--log", default="http://127.0.0.1:8100", show_default=True, help="The log's URL.")
@click.option(
    "--policy",
    type=_PATH,
    default=Path("trust.policy"),
    show_default=True,
    help="The tlog-policy file: which log and witnesses are believed.",
)
@click.option("--listen", default="127.0.0.1:8110", show_default=True, help="host:port.")
@_engine_options
@click.option("--key-passphrase-file", type=_PATH, help="Encrypt the key with its content.")
def init_command(
    folder: Path,
    name: str | None,
    log: str,
    policy: Path,
    listen: str,
    key_passphrase_file: Path | None,
    **engines: str | None,
) -> None:
    """Write a key and a commented gateway.toml into DIR, and print the vkey for the log."""
    with _failing_on_config():
        vkey = init(
            folder,
            name=name or f"gateway.example/{socket.gethostname()}",
            listen=listen,
            log=log,
            policy=policy,
            authorities=[
                authority_table(kind, value, folder) for kind, value in engines.items() if value
            ],
            passphrase_file=key_passphrase_file,
            passphrase=new_passphrase(key_passphrase_file),
        )
    click.echo(str(vkey))
    click.echo(f"wrote {folder / CONFIG_NAME}", err=True)


@main.command()
@_CONFIG
def serve(config: Path) -> None:
    """Serve until SIGTERM; prints one line of JSON when ready. Logs go to stderr."""
    # Imported here, because the server's HTTP stack nearly doubles the start of every command.
    from muniment_gateway.app import serving  # noqa: PLC0415

    run_service(lambda: load(config), serving.serve, fail, coded=_CODED)


@main.command("vkey")
@_CONFIG
def vkey_command(config: Path) -> None:
    """Print the gateway's public key, which the log has to know."""
    with _failing_on_config():
        loaded = load(config)
    click.echo(str(loaded.signer.vkey))


@main.command("rotate-key")
@_CONFIG
@click.option("--add", is_flag=True, help="Make the key that is to follow; prints its vkey.")
@click.option("--key", "key_path", type=_PATH, help="The key of this file is to follow.")
@click.option("--retire", metavar="KEYID", help="Sign no more with this key, but with the other.")
def rotate_key(config: Path, *, add: bool, key_path: Path | None, retire: str | None) -> None:
    """Change the gateway's key, in two steps, while the gateway is stopped.

    It signs with the first of its keys. Add the new one, start the gateway, have the log take the
    new vkey up beside the old one, and then retire the old one. Its file stays. The change is
    logged when the gateway starts, by the new key.
    """
    if [add, key_path is not None, retire is not None].count(True) != 1:
        raise click.UsageError("either --add, --key or --retire")
    try:
        own = own_keys(config)
        if retire is not None:
            own.retire(retire)
        else:
            if len(own.vkeys) > 1:
                raise MunimentError(f"{own.vkeys[1]} is to follow already: retire the one in force")
            click.echo(str(own.add("ed25519") if key_path is None else own.take_up(key_path)))
    except (MunimentError, OSError) as error:
        fail(code_of(error), error)
    click.echo("changed; start the gateway again", err=True)


@main.command()
@_CONFIG
def doctor(config: Path) -> None:
    """Check log, witnesses, engines, key, clocks and files, and say what is wrong; exit code 8."""
    from muniment_gateway.app.doctor import examine  # noqa: PLC0415  # as in `serve`

    with _failing_on_config():
        loaded = load(config)

    async def work(of: GatewayConfig) -> bool:
        unwell = False
        async for finding in examine(of):
            if finding.wrong:
                unwell = True
            word = "wrong" if finding.wrong else "ok   "
            click.echo(f"{word}  {finding.subject}: {finding.wrong or finding.seen}")
        return unwell

    with _failing_on_config():
        if asyncio.run(work(loaded)):
            sys.exit(EXIT_UNWELL)


@main.command()
@_CONFIG
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(config: Path, *, as_json: bool) -> None:
    """Show what a running gateway reports."""
    with _failing_on_config():
        found = _ask(config, "GET", "/status")
    if as_json:
        click.echo(json.dumps(found))
        return
    click.echo(f"gateway  {found['name']}: {found['mode']}, quorum {found['quorum']}")
    click.echo(f"log      {found['log']['url']}: {found['log']['away'] or 'answers'}")
    click.echo(f"spool    {found['spool']} records wait for the log")
    for name, trouble in found["authorities"].items():
        click.echo(f"engine   {name}: {trouble or 'well, as far as it was asked'}")
    for name, calls in found.get("approvals", {}).items():
        oldest = f", the oldest for {calls['oldest_seconds']} s" if calls["waiting"] else ""
        click.echo(f"people   {name}: {calls['waiting']} calls wait for them{oldest}")


@main.command()
@_CONFIG
@click.argument("digest", metavar="SHA256")
def original(config: Path, digest: str) -> None:
    """Print what an OPA has uploaded, of which a record has the SHA-256 instead."""
    try:
        wanted = bytes.fromhex(digest.removeprefix("sha256:"))
    except ValueError:
        raise click.BadParameter("expected hexadecimal digits", param_hint="SHA256") from None
    with _failing_on_config():
        found = read_original(load_config(config, GatewayFile).database, wanted)
    if found is None:
        fail(EXIT_FAILED, f"{digest}: nothing of that digest is kept")
    sys.stdout.buffer.write(found)


@main.command("reload")
@_CONFIG
def reload_command(config: Path) -> None:
    """Have the running gateway take up its configuration; a new mode is logged before.

    Mode, quorum, authorities, clients and permits. When anything cannot be used, or has changed
    that takes a restart, it is refused as a whole, and what was in force stays.
    """
    with _failing_on_config():
        _ask(config, "POST", "/reload")
    click.echo("taken up")


def _ask(config: Path, method: str, target: str) -> dict[str, Any]:
    path = load_config(config, GatewayFile).admin
    if path is None:
        fail(EXIT_NOT_RUNNING, f"{config}: names no admin socket")
    try:
        return unixsocket.ask(path, method, target)
    except unixsocket.NotRunningError as error:
        fail(EXIT_NOT_RUNNING, error)
    except unixsocket.NotDoneError as error:
        fail(EXIT_REFUSED, error)


@contextmanager
def _failing_on_config() -> Iterator[None]:
    try:
        yield
    except MunimentError as error:
        fail(EXIT_UNWRITABLE if is_unwritable(error) else EXIT_CONFIG, error)


@main.group("authority")
def authority() -> None:
    """Run an authority: a policy engine, whose answers a key of its own signs."""


@authority.command("init")
@click.argument("folder", metavar="DIR", type=_PATH)
@click.option("--name", required=True, help="Key name, such as pdp.example/risk.")
@click.option("--listen", default="127.0.0.1:8111", show_default=True, help="host:port.")
@_engine_options
@click.option("--key-passphrase-file", type=_PATH, help="Encrypt the key with its content.")
def init_authority_command(
    folder: Path,
    name: str,
    listen: str,
    key_passphrase_file: Path | None,
    **engines: str | None,
) -> None:
    """Write a key and a commented authority.toml into DIR, and print the vkey."""
    given = [(kind, value) for kind, value in engines.items() if value]
    if len(given) != 1:
        raise click.UsageError("say one of --authzen, --cerbos, --opa and --cedar")
    with _failing_on_config():
        vkey = init_authority(
            folder,
            name=name,
            listen=listen,
            engine=engine_table(*given[0], folder),
            passphrase_file=key_passphrase_file,
            passphrase=new_passphrase(key_passphrase_file),
        )
    click.echo(str(vkey))
    click.echo(f"wrote {folder / AUTHORITY_NAME}", err=True)


@authority.command("serve")
@_CONFIG
def serve_authority_command(config: Path) -> None:
    """Serve until SIGTERM; prints one line of JSON when ready. Logs go to stderr."""
    from muniment_gateway.app.authority import serve_authority  # noqa: PLC0415  # as in `serve`

    run_service(lambda: load_authority(config), serve_authority, fail, coded=_CODED)
