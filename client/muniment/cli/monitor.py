"""``muniment monitor``."""

import asyncio
import json
import logging
import signal
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from muniment.cli.common import (
    DURATION,
    file_option,
    json_option,
    old_vkey_option,
    origin_option,
    policy_option,
    read_old_vkeys,
    read_policy,
    run,
)
from muniment.cli.exits import CLEAN, MISBEHAVIOUR, UNREACHABLE, UNVERIFIED, describe_exits
from muniment.errors import FormatError, InputError, VerificationError
from muniment.http.urls import check_url
from muniment.local.atomicfile import read_state
from muniment.local.logs import configure, event
from muniment.monitor.core import AlarmLimits, Core
from muniment.monitor.heads import HeadReader
from muniment.monitor.report import AlarmWeight, MonitorRound
from muniment.monitor.watch import Watcher, tell
from muniment.monitor.webhook import Webhook, check_webhook
from muniment.tlog.note import MAX_NOTE_SIZE

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from muniment.tlog.policy import Policy


@click.command(epilog=describe_exits())
@click.argument("log_url", metavar="LOG-URL")
@click.argument("witness_urls", metavar="WITNESS-URL...", nargs=-1, required=True)
@policy_option
@old_vkey_option
@origin_option
@click.option("--once", is_flag=True, help="One round, and an exit code.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="About how long to wait between rounds; a fifth more or less, at random.",
)
@click.option(
    "--max-lag",
    type=click.IntRange(min=0),
    default=3600,
    show_default=True,
    metavar="SECONDS",
    help="Alarm when the log or a witness is behind another one for longer.",
)
@click.option(
    "--max-age",
    type=DURATION,
    metavar="SECONDS",
    help="Alarm when the time for which a quorum vouches, of the log's head, is older; without it, "
    "never.",
)
@click.option(
    "--grace",
    type=click.IntRange(min=0),
    default=300,
    show_default=True,
    metavar="SECONDS",
    help="Alarm when it stays open for longer whether two heads are of one history, because tiles "
    "cannot be had or are false; with --once, at once.",
)
@file_option(
    "--state",
    "state_path",
    words="Where to keep the largest checkpoint that the log has shown, for the next run to "
    "compare with. What the last round came to is beside it, in FILE.round.",
)
@click.option(
    "--evidence-dir",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    metavar="DIR",
    help="Where to write evidence, each file by its SHA-256.",
)
@click.option(
    "--webhook",
    metavar="URL",
    envvar="MUNIMENT_WEBHOOK",
    show_envvar=True,
    help="POST each new alarm there, and its end, as JSON.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="The form of the alarms on stderr.",
)
@json_option
@click.pass_context
def monitor(  # the options of the command are its parameters
    ctx: click.Context,
    log_url: str,
    witness_urls: tuple[str, ...],
    policy_path: Path,
    old_vkeys: tuple[str, ...],
    origin: str | None,
    interval: float,
    max_lag: int,
    max_age: int | None,
    grace: int,
    state_path: Path | None,
    evidence_dir: Path | None,
    webhook: str | None,
    log_format: Literal["text", "json"],
    *,
    once: bool,
    as_json: bool,
) -> None:
    """Compare what a log shows with what witnesses hold, again and again.

    Reads the log's checkpoint and each witness's monitoring endpoint, verifies the log's signatures
    and compares all heads, by tiles where the sizes differ, and with what the log showed before.
    Says what was compared with whom, and when. It cannot say what others were shown.

    Each round is printed to stdout; alarms go to stderr when they begin and when they end. With
    --once the exit code tells the gravest: 5 proven, 4 something does not verify, is late or could
    not be compared, 3 somebody cannot be reached. Without it the rounds go on until SIGTERM or
    SIGINT, whatever they find.
    """
    policy = read_policy(policy_path)
    try:
        log_url = check_url(log_url)
        witnesses = tuple(dict.fromkeys(map(check_url, witness_urls)))
        if webhook is not None:
            check_webhook(webhook)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    core = Core(
        HeadReader(policy, _origin(policy, origin, log_url), read_old_vkeys(old_vkeys, policy)),
        witnesses,
        AlarmLimits(max_lag, max_age, 0 if once else grace),
        {url: names for url in witnesses if (names := _names(policy, url))},
    )
    configure("info", log_format)
    if state_path is not None:
        _recall(core, state_path)

    async def work() -> MonitorRound | None:
        async with AsyncExitStack() as stack:
            hooks = [Webhook(url) for url in [webhook] if url is not None]
            for hook in hooks:
                await stack.enter_async_context(hook)
            watcher = await stack.enter_async_context(
                Watcher(log_url, core, evidence_dir=evidence_dir, state=state_path)
            )
            rounds = await stack.enter_async_context(aclosing(watcher.rounds(interval)))
            async for result in rounds:
                _print(result, as_json=as_json)
                tell(result, hooks)
                if once:
                    for hook in hooks:
                        await hook.drain()
                    if watcher.unsaved is not None and result.weight is not AlarmWeight.PROVEN:
                        raise watcher.unsaved
                    return result
        raise AssertionError("the rounds have no end")

    result = run(work() if once else _until_stopped(work()))
    codes = {
        None: CLEAN,
        AlarmWeight.UNREACHABLE: UNREACHABLE,
        AlarmWeight.UNVERIFIED: UNVERIFIED,
        AlarmWeight.PROVEN: MISBEHAVIOUR,
    }
    ctx.exit(CLEAN if result is None else codes[result.weight])


def _recall(core: Core, path: Path) -> None:
    """Takes up what an earlier run kept, or says that there is nothing."""
    data = read_state(path, "monitor state", most=MAX_NOTE_SIZE)
    if data is None:
        event(
            logging.getLogger(__name__),
            logging.WARNING,
            "no state yet: what the log shows first is trusted",
            state=str(path),
        )
        return
    try:
        core.recall(data)
    except (FormatError, VerificationError) as error:
        raise InputError(
            f"{path}: {error}. If it is by keys that this log had before, name them with "
            "--old-vkey; if the log was set up anew, begin with a new state"
        ) from None


async def _until_stopped(work: "Coroutine[Any, Any, MonitorRound | None]") -> MonitorRound | None:
    """Runs until it ends by itself or by a signal; None then."""
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work)
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        task.cancel()

    for which in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(which, stop)
    try:
        return await task
    except asyncio.CancelledError:
        if not stopped:
            raise
        return None


def _origin(policy: "Policy", origin: str | None, log_url: str) -> str:
    """The log that is meant: the one named, the only one, or the one that has this URL."""
    if origin is not None:
        if origin not in policy.origins:
            raise InputError(f"the policy does not list the log {origin}")
        return origin
    with_url = {
        name
        for log in policy.logs
        if log.url and log.url.rstrip("/") == log_url
        for name in log.origins
    }
    for names in (set(policy.origins), with_url):
        if len(names) == 1:
            return names.pop()
    raise InputError("the policy does not say which log this is: name it with --origin")


def _names(policy: "Policy", url: str) -> frozenset[str]:
    """The names that the policy has for the witness at a URL."""
    return frozenset(
        witness.name
        for witness in policy.witnesses
        if witness.url and witness.url.rstrip("/") == url
    )


def _print(result: MonitorRound, *, as_json: bool) -> None:
    lines = [json.dumps(result.as_json())] if as_json else result.lines()
    click.echo("\n".join(lines))
