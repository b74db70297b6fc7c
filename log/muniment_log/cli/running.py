"""Commands that ask the running log: ``muniment-log reload`` and ``status``."""

import json
from pathlib import Path

import click

from muniment.tlog.encoding import MunimentError
from muniment_log.cli.exits import EXIT_UNREACHABLE, fail
from muniment_log.cli.options import CONFIG
from muniment_log.http.adminsockets import ask_all
from muniment_log.logfile import LogFile
from muniment_service import unixsocket
from muniment_service.config import ConfigError, load_config
from muniment_service.exits import EXIT_CONFIG, EXIT_FAILED


@click.command("reload")
@CONFIG
def reload_command(config: Path) -> None:
    """Have the running log take up its configuration, and the files that this names.

    Gateways, tokens, read tokens, the policy, [outgoing] with its CAs and certificate. All of it is
    read again, own keys and [tls] too; when anything cannot be used, or has changed that takes a
    restart, it is refused as a whole, and what was in force stays. Prints what is in force then.
    Needs `admin` in the configuration. Of a cluster, all processes of this configuration on this
    machine do it.
    """
    _administer(config, "POST", "/reload")


@click.command("status")
@CONFIG
def status_command(config: Path) -> None:
    """Print the state of the running log as JSON. Needs `admin` in the configuration.

    Of a cluster, that of each process of this configuration on this machine.
    """
    _administer(config, "GET", "/status")


def _administer(config: Path, method: str, target: str) -> None:
    try:
        file = load_config(config, LogFile)
        if file.admin is None:
            raise ConfigError(f"{config}: admin: there is no socket to ask at")
        refusals: dict[str, str] = {}
        if file.cluster is None:
            answer = unixsocket.ask(file.admin, method, target)
        else:
            answer, refusals = ask_all(file.admin, method, target)
    except unixsocket.NotRunningError as error:
        fail(EXIT_UNREACHABLE, error)
    except unixsocket.NotDoneError as error:
        fail(EXIT_FAILED, error)
    except MunimentError as error:
        fail(EXIT_CONFIG, error)
    click.echo(json.dumps(answer, indent=2))
    if refusals:
        fail(EXIT_FAILED, "; ".join(f"{name}: {why}" for name, why in refusals.items()))
