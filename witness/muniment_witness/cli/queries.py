"""The commands of `muniment-witness` that ask a running witness, or feed one."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from muniment.errors import InputError
from muniment.http.access import Access, check_token_url
from muniment.local.outside import Contained
from muniment.local.vkeyfile import read_vkeys
from muniment.tlog.cosignature import verifier_for
from muniment.tlog.encoding import MunimentError, one_line
from muniment_service import unixsocket
from muniment_service.config import ConfigError, load_config
from muniment_service.exits import EXIT_CONFIG, EXIT_FAILED
from muniment_witness.cli.common import PATH
from muniment_witness.cli.exits import EXIT_ALARMS, EXIT_REFUSED, EXIT_UNREACHABLE, fail
from muniment_witness.cli.feed import Feeder, FeedRefusedError
from muniment_witness.cli.remote import (
    NamedTransport,
    lines_of,
    read_all,
    read_status,
    write_all,
)
from muniment_witness.config import check_url
from muniment_witness.gossip.jitter import jittered
from muniment_witness.gossip.net import Transport, transport
from muniment_witness.judge.decide import KnownLog
from muniment_witness.witnessfile import WitnessFile

REQUEST_SECONDS: Final = 20.0
"""Deadline of one request."""

_TARGET: Final = click.option("--url", help="The witness's address, when it is not configured.")
_T = TypeVar("_T")


@click.command()
@_TARGET
@click.option("--config", type=PATH, help="The configuration, for the address.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(url: str | None, config: Path | None, *, as_json: bool) -> None:
    """Show what a running witness reports; exit code 8 when there are alarms."""
    with _failing():
        found = None if url is not None or config is None else _own_status(config)
        if found is None:
            address, name = _address(url, config)
            found = asyncio.run(_with_transport(partial(read_status, url=address, name=name)))
        lines = [json.dumps(found)] if as_json else lines_of(found)
    for line in lines:
        click.echo(line)
    if found.get("alarms"):
        sys.exit(EXIT_ALARMS)


def _own_status(config: Path) -> dict[str, Any] | None:
    """What the witness says at its administrative socket; None when it cannot be asked there."""
    socket = load_config(config, WitnessFile).admin
    if socket is None:
        return None
    try:
        return unixsocket.ask(socket, "GET", "/status")
    except unixsocket.NotRunningError:
        return None


@click.command("export")
@_TARGET
@click.option("--config", type=PATH, help="The configuration, for the address.")
@click.argument("folder", metavar="DIR", type=PATH)
def export_command(url: str | None, config: Path | None, folder: Path) -> None:
    """Write a running witness's status, latest checkpoints and evidence into DIR."""
    with _failing():
        address, name = _address(url, config)
        files = asyncio.run(_with_transport(partial(read_all, url=address, name=name)))
        for path in write_all(files, folder):
            click.echo(str(path))


@click.command()
@click.option("--log", "log_url", required=True, metavar="URL", help="The log.")
@click.option(
    "--log-vkey", "vkeys", required=True, multiple=True, metavar="VKEY|FILE", help="Its keys."
)
@click.option("--origin", help="The log's origin, when that is not the name of its keys.")
@click.option("--witness", required=True, metavar="URL", help="The witness's submission prefix.")
@click.option("--once", is_flag=True, help="Feed one checkpoint and end.")
@click.option("--period", type=click.FloatRange(0.1), default=30.0, show_default=True)
def feed(
    log_url: str,
    vkeys: tuple[str, ...],
    origin: str | None,
    witness: str,
    *,
    once: bool,
    period: float,
) -> None:
    """Feed a witness from a log, whoever runs them; prints a line of JSON for each checkpoint."""
    with _failing():
        source = check_url(log_url)
        verifiers = tuple(verifier_for(vkey) for vkey in read_vkeys("--log-vkey", vkeys))
        if len({verifier.vkey.name for verifier in verifiers}) != 1:
            raise ConfigError("--log-vkey: the keys are of different logs")
        log = KnownLog(origin or verifiers[0].vkey.name, verifiers)

        async def work(transport: Transport) -> None:
            feeder = Feeder(transport, source, log, check_url(witness))
            while True:
                line = ""
                with Contained("feeding", (Exception,) if once else ()) as outcome:
                    fed = await feeder.feed()
                    line_fields = {
                        "size": fed.size,
                        "old": fed.old,
                        "cosignatures": [signature.line.rstrip() for signature in fed.lines],
                    }
                    line = json.dumps(line_fields, ensure_ascii=False)
                if line:
                    click.echo(line)
                else:
                    click.echo(f"muniment-witness: {one_line(outcome.error)}", err=True)
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
        return await work(NamedTransport(network))


def _address(url: str | None, config: Path | None) -> tuple[str, str]:
    """Where a witness is asked, and which one it has to be; any, when its address was given."""
    if url is not None:
        return check_url(url), ""
    if config is None:
        raise click.UsageError("either --url or --config")
    file = load_config(config, WitnessFile)
    listen = file.listen
    if not listen.port:
        raise click.UsageError("the configured port is 0: say --url")
    return f"{'https' if file.tls else 'http'}://{listen}", file.name


@contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except FeedRefusedError as error:
        fail(EXIT_REFUSED, error)
    except (ConfigError, InputError) as error:
        fail(EXIT_CONFIG, error)
    except (MunimentError, ValueError) as error:
        fail(EXIT_UNREACHABLE, error)
    except KeyboardInterrupt:
        fail(EXIT_FAILED, "interrupted")
