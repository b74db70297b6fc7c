"""``muniment submit``."""

import asyncio
import json
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import click

from muniment.cli.common import FILE, log_option, read_key, read_policy, run
from muniment.errors import FormatError, InputError, MunimentError, RecordRefused

if TYPE_CHECKING:
    from muniment.formats.policy import Policy
    from muniment.gateway import Gateway
    from muniment.receipts import Receipt

MAX_LINE: Final = 256 * 1024
"""Bytes of an input line: a record of at most 65,535 bytes, written with generous white space."""

LINGER: Final = 0.2
"""Seconds without a new line until what has been read is sent: a pipe may be a live source."""

_QUEUED_LINES: Final = 4096

Line = tuple[int, bytes]


@click.command()
@log_option
@click.option("--key", "key_path", type=FILE, required=True, metavar="FILE", help="The gateway's key file; its vkey line names the gateway.")
@click.option("--stream", default="default", show_default=True, metavar="LABEL", help="The stream. One process may write to a stream at a time.")
@click.option("--batch", type=click.IntRange(1, 10_000), default=1000, show_default=True, metavar="N", help="Records in a batch.")
@click.option("--wait", type=click.Choice(["durable", "published"]), default="durable", show_default=True, help="Wait until the records are on disk, or until a quorum of witnesses has cosigned them; the receipt then has the checkpoint and the proofs.")
@click.option("--policy", "policy_path", type=FILE, metavar="POLICY", help="With --wait published: verify the checkpoints.")
@click.option("--origin", metavar="ORIGIN", help="The log's origin; read from its checkpoint if not given.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), default=60.0, show_default=True, metavar="SECONDS", help="How long to go on trying to deliver a batch.")
@click.option("--passphrase-file", type=FILE, metavar="FILE", help="The key's passphrase, in the first line.")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True, dir_okay=False), default="-")
def submit(
    log_url: str,
    key_path: Path,
    stream: str,
    batch: int,
    wait: str,
    policy_path: Path | None,
    origin: str | None,
    timeout: float,
    passphrase_file: Path | None,
    file: Path,
) -> None:
    """Log records from FILE or stdin, one JSON object a line, as a signed stream.

    A line is a record (with "kind"), an AuthZEN pair {"request", "response"}, or {"request",
    "expected"} as in the AuthZEN interop suite. The members v, id, time and producer are filled in
    where missing. Prints one JSON receipt a batch, in order; "lines" are the first and last line
    it covers. After an error, the lines without a receipt are not logged, or not known to be.
    """
    from muniment.formats.cosignature import signer_for  # noqa: PLC0415 - imports cryptography
    from muniment.gateway import Gateway  # noqa: PLC0415 - imports aiohttp

    key = read_key(key_path, passphrase_file)
    if key.vkey is None:
        raise InputError(f"{key_path}: has no vkey line, which names the gateway")
    policy: Policy | None = None if policy_path is None else read_policy(policy_path)
    try:
        gateway = Gateway(
            log_url,
            signer_for(key.vkey.name, key.private, use="gateway"),
            stream=stream,
            origin=origin,
            policy=policy,
            batch_records=batch,
            deadline=timeout,
        )
        if gateway.vkey != key.vkey:
            raise InputError(f"{key_path}: the key is a {_use(key.vkey.algorithm)} key")
    except (ValueError, FormatError) as error:
        raise InputError(str(error)) from None
    run(_work(gateway, file, batch, published=wait == "published"))


def _use(algorithm: int) -> str:
    return {1: "log or gateway", 4: "witness"}.get(algorithm, "log or witness")


async def _work(gateway: "Gateway", file: Path, batch: int, *, published: bool) -> None:
    printer = _Printer()
    async with gateway:
        sending: deque[asyncio.Task[list[Receipt]]] = deque()
        failure: MunimentError | None = None
        try:
            async with _lines(file) as lines, aclosing(_batches(lines, batch)) as batches:
                async for part in batches:
                    records, failure = _complete(gateway, part)
                    if records:
                        sending.append(
                            asyncio.create_task(
                                _send(gateway, records, part[0][0], published=published)
                            )
                        )
                    if failure is not None:
                        break
                    # One more than fits into the window keeps the gateway busy; more is memory.
                    while len(sending) > gateway.window or (sending and sending[0].done()):
                        printer.print(await sending.popleft())
            while sending:
                printer.print(await sending.popleft())
        finally:
            for task in sending:
                task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)
    if failure is not None:
        raise failure
