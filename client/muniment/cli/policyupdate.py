"""``muniment policy update``: take a newer version of a policy, verified under its root keys."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import time as clock
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import click

from muniment.cli.common import FILE, json_option, run, vkeys_option
from muniment.cli.exits import MISBEHAVIOUR
from muniment.errors import FormatError, InputError, Unreachable, VerificationError
from muniment.local.atomicfile import read_bounded, write_atomic
from muniment.local.vkeyfile import read_vkeys
from muniment.tlog.policy import MAX_POLICY_SIZE
from muniment.tlog.policyupdate import PolicyFork, check_first, check_update
from muniment.tlog.policyversion import SignedVersion, is_chain, parse_chain, say_time

if TYPE_CHECKING:
    from muniment.tlog.note import VKey

FETCH_SECONDS: Final = 30.0
"""Seconds for the answer of who serves a policy."""


@click.command()
@click.argument("chain_path", metavar="CHAIN", type=FILE)
@click.option(
    "--from",
    "source",
    required=True,
    metavar="URL|FILE",
    help="Where a newer one is: an https URL (http on this machine), or a file.",
)
@vkeys_option(
    "--root",
    "roots",
    words="For the first time, when CHAIN is not there: a root key that its first version must be "
    "signed by, as many as that asks for.",
)
@click.option(
    "--threshold",
    type=click.IntRange(1),
    metavar="N",
    help="For the first time: how many root keys its first version must ask for, at the least. "
    "Without it one stolen root key is enough to make a policy that is taken.",
)
@json_option
@click.pass_context
def update(
    ctx: click.Context,
    chain_path: Path,
    source: str,
    roots: tuple[str, ...],
    threshold: int | None,
    *,
    as_json: bool,
) -> None:
    """Take a newer version of a policy over time, and put it in CHAIN's place in one step.

    Everything is verified before anything is written: that the installed root keys have signed what
    is new, that versions only go up, and that nothing that is installed was changed. To do it again
    changes nothing. A chain that ends earlier than the installed one is refused (4). One that the
    root keys have signed beside it is proof against them: it is kept as CHAIN.fork, and the command
    ends with 5. When nobody answers (3), CHAIN stays as it is.
    """
    given = read_vkeys("--root", roots)
    data = _fetch(source)
    try:
        offered = parse_chain(data)
    except FormatError as error:
        raise VerificationError(f"{source}: {error}") from None
    with _locked(chain_path):
        installed = _installed(chain_path, given)
        try:
            if installed:
                added = check_update(installed, offered)
            else:
                check_first(offered, given, threshold or 1)
                added = len(offered)
        except PolicyFork as error:
            kept = chain_path.with_name(f"{chain_path.name}.fork")
            write_atomic(kept, data, "policy")
            click.echo(f"muniment: {error}: {chain_path}, {kept}", err=True)
            ctx.exit(MISBEHAVIOUR)
        if added:
            write_atomic(chain_path, data, "policy")
    newest = offered[-1].version
    is_open = newest.until > clock()
    if as_json:
        told = {"version": newest.number, "added": added, "until": newest.until}
        click.echo(json.dumps({**told, "expired": not is_open}))
        return
    what = f"{added} added" if added else "nothing new"
    click.echo(f"{chain_path}: version {newest.number} ({what}), until {say_time(newest.until)}.")
    if not is_open:
        click.echo("It has expired: who acts by it is denied, until there is a newer one.")


def _installed(path: Path, roots: "tuple[VKey, ...]") -> tuple[SignedVersion, ...]:
    """The chain that is installed; empty when none is, which takes root keys to begin with."""
    if not path.exists():
        if not roots:
            raise InputError(
                f"{path}: is not there; name the root keys (--root) that its first version must be "
                "signed by"
            )
        return ()
    data = read_bounded(path, "policy", most=MAX_POLICY_SIZE)
    if not is_chain(data):
        raise InputError(
            f"{path}: a policy without versions, which is not replaced; give a new name for the "
            "policy over time"
        )
    try:
        return parse_chain(data)
    except FormatError as error:
        raise InputError(f"{path}: {error}") from None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Has one update of a file at a time: two would each check against what both replace."""
    try:
        folder = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise InputError(f"policy {path}: {error.strerror}") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _fetch(source: str) -> bytes:
    """Reads a policy from a URL or a file.

    Raises InputError if it cannot be read or may not be asked; Unreachable if nobody answered.
    """
    if not source.startswith(("http://", "https://")):
        return read_bounded(Path(source), "policy", most=MAX_POLICY_SIZE)
    from muniment.http.access import is_loopback  # noqa: PLC0415  # with what asks, 0.2 s

    try:
        host = urlsplit(source).hostname or ""
    except ValueError:
        host = ""
    if not host:
        raise InputError(f"{source}: not a URL")
    if source.startswith("http://") and not is_loopback(host):
        raise InputError(
            f"{source}: not asked without TLS, but on this machine: who is between could keep "
            "updates from you; use https"
        )
    return run(_ask(source))


async def _ask(url: str) -> bytes:
    from muniment.http.access import Access  # noqa: PLC0415  # as above
    from muniment.http.answer import HttpError  # noqa: PLC0415  # as above
    from muniment.http.client import HttpSession  # noqa: PLC0415  # as above

    access = Access.from_environment()
    async with HttpSession(headers={"User-Agent": access.agent()}, tls=access.ssl()) as session:
        try:
            answer = await session.request("GET", url, limit=MAX_POLICY_SIZE, seconds=FETCH_SECONDS)
        except (HttpError, TimeoutError) as error:
            raise Unreachable(f"{url}: {str(error) or 'no answer in time'}") from None
    if answer.status != 200:
        # A redirect is an answer like any other: who is asked is whom the command names.
        raise Unreachable(f"{url}: answered with {answer.status}")
    return answer.body
