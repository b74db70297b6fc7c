"""``muniment revoke``."""

import json
import time
from pathlib import Path
from typing import Any

import click

from muniment.cli.common import (
    FILE,
    TIME,
    json_option,
    log_option,
    passphrase_option,
    read_gateway_signer,
    read_policy,
    run,
    say_time,
)
from muniment.cli.exits import describe_exits
from muniment.errors import FormatError, InputError

STREAM = "revocations"
"""The default stream: not that of a running gateway, which is its only writer."""


@click.command(epilog=describe_exits())
@log_option
@click.option(
    "--key",
    "key_path",
    type=FILE,
    required=True,
    metavar="FILE",
    help="The key file of a gateway that the log admits; its vkey line names the gateway.",
)
@click.option("--decision", metavar="ID", help="Revoke a decision.")
@click.option("--execution", metavar="ID", help="Revoke a run, with all that descends from it.")
@click.option(
    "--revoked-key",
    metavar="REF",
    help="Revoke a key: <name>+<key id> as in its vkey, or sha256:… for a runtime's key.",
)
@click.option("--reason", required=True, metavar="TEXT", help="Why; it is logged.")
@click.option(
    "--since",
    type=TIME,
    metavar="TIME",
    help="From when on: 2027-01-31T00:00:00Z, or Unix seconds; from now on, without it.",
)
@click.option(
    "--policy",
    "policy_path",
    type=FILE,
    metavar="POLICY",
    help="Wait for the witnesses, and verify what they cosigned by this policy.",
)
@click.option("--stream", default=STREAM, show_default=True, metavar="LABEL", help="The stream.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to go on trying.",
)
@passphrase_option
@json_option
def revoke(
    log_url: str,
    key_path: Path,
    decision: str | None,
    execution: str | None,
    revoked_key: str | None,
    reason: str,
    since: int | None,
    policy_path: Path | None,
    stream: str,
    timeout: float,
    passphrase_file: Path | None,
    *,
    as_json: bool,
) -> None:
    """Take an authorization back: log a revocation of a decision, a run, or a key.

    It takes effect wherever the log is followed: permits that it hits are denied from then on.
    """
    from muniment.gateway import Gateway  # noqa: PLC0415 - imports aiohttp

    given = {"decision": decision, "execution": execution, "key": revoked_key}
    target = {name: value for name, value in given.items() if value is not None}
    if len(target) != 1:
        raise click.UsageError("give one of --decision, --execution and --revoked-key")
    signer = read_gateway_signer(key_path, passphrase_file)
    policy = None if policy_path is None else read_policy(policy_path)
    effective = int(time.time()) if since is None else since
    record = {"kind": "revocation", "target": target, "since": effective, "reason": reason}

    async def work() -> dict[str, Any]:
        try:
            gateway = Gateway(log_url, signer, stream=stream, policy=policy, deadline=timeout)
            gateway.prepare([record])
        except (ValueError, FormatError) as error:
            raise InputError(str(error)) from None
        async with gateway:
            (receipt,) = await gateway.submit([record], published=policy is not None)
        return {
            "index": receipt.index,
            "size": receipt.batch.size,
            "published": policy is not None,
            "revocation": json.loads(receipt.entry),
        }

    logged = run(work())
    if as_json:
        click.echo(json.dumps(logged))
        return
    ((kind, name),) = target.items()
    click.echo(f"Revoked {kind} {name} from {say_time(effective)} on: leaf {logged['index']}.")
