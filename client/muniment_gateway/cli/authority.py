"""``muniment-gateway authority``: a policy engine behind a key of its own."""

from pathlib import Path

import click

from muniment.http.importing import importing
from muniment.local.keyfiles import new_passphrase
from muniment_gateway.cli.common import CONFIG, PASSPHRASE, PATH, engine_options, failing_on_config
from muniment_gateway.cli.serve import run_service
from muniment_gateway.cli.setup import AUTHORITY_NAME, engine_table, init_authority
from muniment_gateway.config import load_authority


@click.group("authority")
def authority() -> None:
    """Run an authority: a policy engine, whose answers a key of its own signs."""


@authority.command("init")
@click.argument("folder", metavar="DIR", type=PATH)
@click.option("--name", required=True, help="Key name, such as pdp.example/risk.")
@click.option("--listen", default="127.0.0.1:8111", show_default=True, help="host:port.")
@engine_options
@PASSPHRASE
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
    with failing_on_config():
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
@CONFIG
def serve_authority_command(config: Path) -> None:
    """Serve until SIGTERM; prints one line of JSON when ready. Logs go to stderr."""
    with importing():  # as in `serve`
        from muniment_gateway.app.authority import serve_authority  # noqa: PLC0415

    run_service(lambda: load_authority(config), serve_authority)
