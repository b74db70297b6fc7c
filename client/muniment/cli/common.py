"""What several commands share: options, key files, policies, the event loop, the progress bar."""

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from muniment.errors import FormatError, InputError, MunimentError, Refused
from muniment.http.urls import check_url
from muniment.local.atomicfile import read_bounded
from muniment.local.keyfiles import asking, read_key_file
from muniment.local.lifecycle import stop_requested
from muniment.local.memory import protect_memory
from muniment.local.privatefiles import read_secret
from muniment.local.vkeyfile import read_vkeys
from muniment.records.times import MAX_ALLOWANCE, MAX_DURATION
from muniment.records.timetext import parse_time
from muniment.tlog.cosignature import Use, signer_for, verifier_for
from muniment.tlog.keys.keyfile import KeyFile
from muniment.tlog.note import Signer, VKey
from muniment.tlog.policy import MAX_POLICY_SIZE, Policy, PolicyChain, parse_policy, show
from muniment.tlog.policyversion import say_time

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

FILE = click.Path(dir_okay=False, path_type=Path)


def check_log_url(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """A callback for options that take a URL; none given is none."""
    if value is None:
        return None
    try:
        return check_url(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def check_said(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """A callback for options whose text is logged; none given is none, an empty one is a slip."""
    if value is not None and not value.strip():
        raise click.BadParameter("empty: say it in words, or leave the option out")
    return value


class TimeType(click.ParamType):  # type: ignore[type-arg]  # generic for its checker alone
    """A point in time as people write it: ISO 8601, or Unix seconds; gives Unix seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Reads it; what cannot be meant is refused."""
        try:
            return parse_time(str(value))
        except FormatError as error:
            self.fail(str(error), param, ctx)


TIME = TimeType()
DURATION = click.IntRange(min=0, max=MAX_DURATION - 1)
"""Seconds; what is more is a point in time, or milliseconds."""

ALLOWANCE = click.IntRange(min=0, max=MAX_ALLOWANCE)
"""Seconds by which clocks may differ."""


def file_option(*names: str, words: str, required: bool = False) -> Callable[[F], F]:
    """An option that takes a file, by its names, whose help says which."""
    return click.option(*names, type=FILE, metavar="FILE", required=required, help=words)


def vkeys_option(*names: str, words: str) -> Callable[[F], F]:
    """A repeatable option that takes what `read_vkeys` reads, whose help says whose keys."""
    return click.option(*names, multiple=True, metavar="VKEY|FILE", help=f"{words} Repeatable.")


def timeout_option(seconds: float, words: str) -> Callable[[F], F]:
    """The option ``--timeout``, whose help says what goes on for so long at the most."""
    return click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        default=seconds,
        show_default=True,
        metavar="SECONDS",
        help=words,
    )


log_option = click.option(
    "--log",
    "log_url",
    metavar="URL",
    required=True,
    callback=check_log_url,
    help="The log's base URL.",
)
policy_option = click.option(
    "--policy",
    "policy_path",
    type=FILE,
    metavar="POLICY",
    required=True,
    help="The tlog-policy file, or policy chain: which logs and witnesses to believe.",
)
old_vkey_option = vkeys_option(
    "--old-vkey",
    "old_vkeys",
    words="A key that the log had before those of the policy, or a file with one a line: what was "
    "kept under it counts.",
)
passphrase_option = file_option(
    "--passphrase-file", words="A file whose first line is the key's passphrase."
)
replica_option = file_option(
    "--replica", "replica_path", words="A verified replica, as muniment follow keeps it."
)
leeway_option = click.option(
    "--leeway",
    type=ALLOWANCE,
    default=0,
    show_default=True,
    metavar="SECONDS",
    help="How much earlier than an artifact's not_before is still valid.",
)
tolerance_option = click.option(
    "--tolerance",
    type=ALLOWANCE,
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="By how much the times of producers may differ from those that witnesses attest.",
)
origin_option = click.option(
    "--origin", metavar="ORIGIN", help="The log to expect, if the policy names several."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def gateway_option(words: str) -> Callable[[F], F]:
    """The repeatable option ``--gateway``, whose help says what naming gateways does."""
    return vkeys_option("--gateway", "gateways", words=words)


gateways_option = gateway_option(
    "A gateway whose word counts, for decisions and all of their lineage. Without it, those that "
    "the replica keeps (muniment follow --gateway); without these, each run's own producer."
)


def interval_option(words: str) -> Callable[[F], F]:
    """The option ``--interval`` of what goes on, whose help says how often what is done."""
    return click.option(
        "--interval",
        type=click.FloatRange(min=0.1, max=3600),
        default=1.0,
        show_default=True,
        metavar="SECONDS",
        help=words,
    )


def gateway_key(words: str) -> Callable[[F], F]:
    """The option ``--key``, whose help says which gateways' key files it takes."""
    return file_option("--key", "key_path", words=words, required=True)


def optional_policy(words: str) -> Callable[[F], F]:
    """An option ``--policy`` that need not be given, whose help says what it is for."""
    return click.option("--policy", "policy_path", type=FILE, metavar="POLICY", help=words)


def optional_log(words: str) -> Callable[[F], F]:
    """An option ``--log`` for commands that can ask a replica instead."""
    return click.option("--log", "log_url", metavar="URL", callback=check_log_url, help=words)


@contextmanager
def naming_key(signer: Signer) -> Iterator[None]:
    """Adds to the refusal of a key that the log does not know which one it is, and what to do."""
    try:
        yield
    except Refused as error:
        problem = error.problem
        if problem.slug not in {"unknown-gateway", "bad-signature"}:
            raise
        key = f"{signer.vkey.name}+{signer.vkey.key_id:08x}"
        detail = (
            f"{problem.detail}; the key is {key}: is its vkey a [[gateway]] in the log's log.toml?"
        )
        raise Refused(replace(problem, detail=detail), error.retry_after) from None


def run(main: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine; on uvloop when it is installed."""
    try:
        import uvloop  # noqa: PLC0415 - optional, and only where a loop runs
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


async def until_stopped(main: Coroutine[Any, Any, None]) -> bool:
    """Runs a coroutine until SIGTERM or SIGINT asks to stop; tells whether one did."""
    stop = stop_requested()
    task = asyncio.create_task(main)
    try:
        either: list[asyncio.Future[Any]] = [task, stop]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.cancel()
        task.cancel()
        await asyncio.wait([task])
    if task.cancelled():
        return True
    task.result()
    return False


def read_policy(path: Path) -> Policy:
    """Reads a policy file, of a chain whose members are those of now; ``InputError`` names it.

    An expired one still judges the past, and it is said on stderr that it has expired.
    """
    now = int(time.time())
    try:
        data = read_bounded(path, "policy", most=MAX_POLICY_SIZE)
        policy = parse_policy(data, now=now)
    except FormatError as error:
        raise InputError(f"{path}: {error}") from None
    if isinstance(policy, PolicyChain) and policy.chain[-1].version.until <= now:
        # Keys that were stolen since then are not listed in it.
        click.echo(
            f"muniment: {path} has expired, and does not know what was found out since: "
            "muniment policy update",
            err=True,
        )
    return policy


def read_key(path: Path, passphrase_path: Path | None) -> KeyFile:
    """Reads a key file; asks for its passphrase on a terminal. An ``InputError`` names the file."""
    protect_memory()
    try:
        passphrase = None if passphrase_path is None else read_secret(passphrase_path, "passphrase")
        return read_key_file(path, passphrase, ask=asking())
    except MunimentError as error:
        raise InputError(str(error)) from None


def read_gateway_signer(path: Path, passphrase_path: Path | None) -> Signer:
    """Reads a gateway's key file, whose vkey line names it; ``InputError`` if it is another's."""
    return read_signer(path, passphrase_path, use="gateway")


def read_signer(path: Path, passphrase_path: Path | None, *, use: Use) -> Signer:
    """Reads the key file of a gateway or root, whose vkey line names it; ``InputError`` if not."""
    key = read_key(path, passphrase_path)
    if key.vkey is None:
        raise InputError(
            f"{path}: has no vkey line, which names the {use}; "
            f"muniment keygen --from {path} --name NAME --use {use} --out NEW writes one"
        )
    try:
        signer = signer_for(key.vkey.name, key.private, use=use)
    except MunimentError as error:
        raise InputError(f"{path}: {error}") from None
    if signer.vkey != key.vkey:
        raise InputError(f"{path}: its vkey line says that the key is a witness's")
    return signer


def read_old_vkeys(given: tuple[str, ...], policy: Policy) -> tuple[VKey, ...]:
    """Reads what `old_vkey_option` gave; an ``InputError`` if one is of no log of the policy."""
    keys = read_vkeys("--old-vkey", given)
    names = {key.name for origin in policy.origins for key in policy.log_keys(origin)}
    for key in keys:
        try:
            verifier_for(key)
        except FormatError as error:
            raise InputError(f"--old-vkey: {error}") from None
        if key.name not in names:
            raise InputError(f"--old-vkey: {key.name} is no log of the policy")
    return keys


@contextmanager
def progress(
    label: str, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr when that is a terminal; yields a function of (done, total).

    It shows how far it is, how many a second, and for how long it will go on.
    """
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    bar: Any = None
    began = (0.0, 0)

    def speed(rate: Any) -> str | None:
        return None if rate is None else str(rate)

    def show(done: int, total: int) -> None:
        nonlocal bar, began
        if bar is not None and done < bar.pos:  # it begins anew, which no bar can show
            bar.__exit__(None, None, None)
            bar = None
        if bar is None:
            if not total:
                return
            bar = click.progressbar(
                length=total,
                label=label,
                file=sys.stderr,
                show_pos=True,
                item_show_func=speed,
            )
            bar.__enter__()
            began = clock(), done
        if total > bar.length:
            bar.length = total
        seconds = clock() - began[0]
        rate = f"{(done - began[1]) / seconds:,.0f} a second" if seconds else None
        bar.update(done - bar.pos, rate)

    try:
        yield show
    finally:
        if bar is not None:
            bar.__exit__(None, None, None)


def say_ahead(ahead: Sequence[tuple[str, int]]) -> str:
    """Says, by name, whose cosignatures are of a time in the future."""
    times = ", ".join(f"{show(name)} ({say_time(stated)})" for name, stated in ahead)
    return (
        f"in the future, by this machine's clock, is the time of the cosignature by {times}; "
        "it does not count"
    )


def count(number: int, noun: str, plural: str | None = None) -> str:
    """A number of things, in words that agree with it."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
