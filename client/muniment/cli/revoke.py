"""``muniment revoke``."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import click
import msgspec

from muniment.cli.common import (
    TIME,
    gateway_key,
    json_option,
    log_option,
    naming_key,
    optional_policy,
    passphrase_option,
    read_gateway_signer,
    read_policy,
    run,
    timeout_option,
)
from muniment.cli.exits import describe_exits
from muniment.errors import BadAnswer, FormatError, InputError, Refused, Unreachable
from muniment.gateway.gateway import Gateway
from muniment.http.logclient import LogClient
from muniment.local.atomicfile import read_bounded
from muniment.records.authority import key_reference
from muniment.records.members import RevokedKey
from muniment.tlog.note import VKey, parse_vkey
from muniment.tlog.policyversion import say_time

NOT_FOUND = 404

STREAM = "revocations"
"""The default stream: not that of a running gateway, which is its only writer."""


@click.command(epilog=describe_exits())
@log_option
@gateway_key("The key file of a gateway that the log admits; its vkey line names the gateway.")
@click.option("--decision", metavar="ID", help="Revoke a decision.")
@click.option("--execution", metavar="ID", help="Revoke a run, with all that descends from it.")
@click.option(
    "--revoked-key",
    metavar="KEY",
    help="Revoke a key: its vkey, a key file or a file with its vkey, or <name>+<key id>; or "
    "sha256:… for a runtime's key.",
)
@click.option("--reason", required=True, metavar="TEXT", help="Why; it is logged.")
@click.option(
    "--since",
    type=TIME,
    metavar="TIME",
    help="From when on: 2027-01-31T00:00:00Z, or Unix seconds; from now on, without it.",
)
@optional_policy("Wait for the witnesses, and verify what they cosigned by this policy.")
@click.option("--stream", default=STREAM, show_default=True, metavar="LABEL", help="The stream.")
@timeout_option(30.0, "How long to go on trying.")
@click.option(
    "--force",
    is_flag=True,
    help="Revoke also what the log does not know.",
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
    force: bool,
    as_json: bool,
) -> None:
    """Take an authorization back: log a revocation of a decision, a run, or a key.

    It takes effect wherever the log is followed: permits that it hits are denied from then on. It
    counts by whose word it is: for a run or a decision, that of the gateway that decided, or of one
    that the verifier has named; for a key, that of any gateway, unless the verifier has named some.

    What the log's index does not know is refused, for it may be a slip of the pen.
    """
    given = {
        "decision": decision,
        "execution": execution,
        "key": None if revoked_key is None else _key(revoked_key),
    }
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
        except ValueError as error:
            raise InputError(str(error)) from None
        if not force:
            await _check_known(log_url, target, is_whole=revoked_key != target.get("key"))
        with naming_key(signer):
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


def _key(text: str) -> str:
    """A key as revocations name it, from any way in which people have it."""
    path = Path(text)
    try:
        if text.count("+") > 1 and not path.exists():
            return key_reference(parse_vkey(text, "vkey"))
        if path.is_file():
            return key_reference(_vkey_in(path))
    except FormatError as error:
        raise InputError(f"--revoked-key: {error}") from None
    try:
        return msgspec.convert(text, RevokedKey)
    except msgspec.ValidationError:
        raise InputError(
            f"--revoked-key: {text!a} names no key; expected a vkey, a key file, <name>+<key id, 8 "
            "hex digits>, or sha256:<64 hex digits> for a runtime's key"
        ) from None


def _vkey_in(path: Path) -> VKey:
    """The only vkey in a key file, public or private; nothing is decrypted."""
    data = read_bounded(path, "key", most=1024 * 1024)
    words = data.decode("utf-8", "replace").partition("-----BEGIN")[0].split()
    found = list(dict.fromkeys(word for word in words if word.count("+") > 1))
    if len(found) != 1:
        raise FormatError(f"{path}: expected a file with one vkey, found {len(found)} in it")
    return parse_vkey(found[0], str(path))


async def _admits(client: LogClient, name: str) -> bool:
    """Whether the log admits a gateway of this name now."""
    try:
        await client.stream(name, STREAM)
    except Refused as refusal:
        if refusal.problem.status != NOT_FOUND:
            raise
        return False
    return True


async def _check_known(log_url: str, target: dict[str, str], *, is_whole: bool) -> None:
    """Asks the log whether it knows what is to be revoked; says so when it cannot tell.

    When a whole key was given, and no id that somebody may have mistyped, it is enough that the log
    admits a gateway of its name.
    """
    ((kind, id_),) = target.items()
    if ":" in id_ and "+" not in id_ and kind == "key":
        return  # a runtime's key, which no record has to name before
    known: bool | None = None
    reason = "its index was begun by an older version"
    words = {"decision": "decision", "execution": "run", "key": "key"}[kind]
    try:
        async with LogClient(log_url) as client:
            for pause in (*client.pauses, None):
                known = await client.knows(kind, id_)  # type: ignore[arg-type]  # one of its kinds
                if not known and is_whole:
                    known = await _admits(client, id_.partition("+")[0]) or known
                if known or pause is None:
                    break
                await asyncio.sleep(pause)  # its index follows what is logged
    except (BadAnswer, Refused, Unreachable) as error:
        # Whoever has to revoke something must not be kept from it by a log without an index.
        known, reason = None, str(error)
    if known is None:
        click.echo(f"Nobody knows whether the log knows {words} {id_}: {reason}", err=True)
        return
    if not known:
        raise InputError(
            f"the log knows no {words} {id_}; nothing is revoked. --force revokes it all the same"
        )
