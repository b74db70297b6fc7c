"""``muniment approve``: a person's word on calls that a gateway holds."""

import base64
import binascii
import json
import time
from collections.abc import Awaitable, Callable
from functools import wraps
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, NamedTuple, NoReturn

import click
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from muniment.cli.common import FILE, json_option, passphrase_option, read_key, run
from muniment.cli.exits import describe_exits
from muniment.errors import BadAnswer, InputError
from muniment.http.approvals import ApproverClient
from muniment.lineage.escape import terminal
from muniment.records.addenda import copied_json, tokens_of
from muniment.records.approval import call_digest, sign_approval
from muniment.records.canonical import encode_canonical
from muniment.records.commitments import read_addendum
from muniment.tlog.encoding import FormatError

_SHOWN: Final = 20_000  # characters of a value on a terminal
_PARTIES: Final = {"subject": ("type", "id"), "action": ("name",), "resource": ("type", "id")}
"""Who wants to do what, and what the line of the deed says of each."""

_gateway = click.option(
    "--gateway",
    "url",
    metavar="URL",
    required=True,
    envvar="MUNIMENT_GATEWAY",
    show_envvar=True,
    help="The gateway's URL, as its configuration has it.",
)
_key = click.option(
    "--key",
    "key_path",
    type=FILE,
    metavar="FILE",
    required=True,
    envvar="MUNIMENT_APPROVER_KEY",
    show_envvar=True,
    help="Your key file, of muniment keygen --use approver.",
)


class _Approver(NamedTuple):
    """Who asks which gateway, with the key of a name."""

    url: str
    name: str
    private: Ed25519PrivateKey

    def ask(self, work: Callable[[ApproverClient], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        async def asked() -> dict[str, Any]:
            async with ApproverClient(*self) as client:
                return await work(client)

        return run(asked())


def _options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of every command of the group; it gets the approver whom they name, and JSON."""

    @wraps(command)
    def read(url: str, key_path: Path, passphrase_file: Path | None, **others: Any) -> None:
        key = read_key(key_path, passphrase_file)
        if key.vkey is None:
            raise InputError(f"{key_path}: has no vkey line, which names the key")
        if not isinstance(key.private, Ed25519PrivateKey):
            raise InputError(f"{key_path}: an approver's key is for Ed25519")
        command(approver=_Approver(url, key.vkey.name, key.private), **others)

    for option in (json_option, passphrase_option, _key, _gateway):
        read = option(read)
    return read


@click.group(epilog=describe_exits())
def approve() -> None:
    """Decide on calls that a gateway holds until a person has decided.

    What you say is signed with your key, and bound to the one call that you were shown, arguments
    included. It is logged before it counts, is good for one decision, and expires.
    """


@approve.command("list", epilog=describe_exits())
@_options
def list_command(approver: _Approver, *, as_json: bool) -> None:
    """List the calls that wait for you, the oldest first."""
    found = approver.ask(lambda client: client.waiting())
    waiting = found.get("approvals")
    if not isinstance(waiting, list):
        raise BadAnswer(f"{approver.url}: approvals: expected a list")
    if as_json:
        click.echo(json.dumps(found))
        return
    for one in waiting:
        until = _text(one, "expires_at")
        click.echo(f"{_text(one, 'request')}  until {until}  {_deed(one)}{_count(one)}")
    if not waiting:
        click.echo("Nothing waits for you.")


@approve.command("show", epilog=describe_exits())
@click.argument("request", metavar="REQUEST")
@_options
def show_command(request: str, approver: _Approver, *, as_json: bool) -> None:
    """Show all of one call: who wants to do what, with which arguments, and why."""
    found = approver.ask(lambda client: client.show(request))
    _check_shown(found)
    if as_json:
        click.echo(json.dumps(found))
        return
    _print(found)


@approve.command("allow", epilog=describe_exits())
@click.argument("request", metavar="REQUEST")
@click.option("--reason", metavar="TEXT", help="Why; it is logged.")
@click.option(
    "--seconds",
    type=click.IntRange(min=1, max=86_400),
    metavar="SECONDS",
    help="How long the call may be decided on by it; the longest that the gateway takes, without.",
)
@click.option(
    "--call",
    metavar="DIGEST",
    help="Only if this is the call, as show has shown it; else what is asked for now is shown.",
)
@_options
def allow_command(
    request: str,
    approver: _Approver,
    reason: str | None,
    seconds: int | None,
    call: str | None,
    *,
    as_json: bool,
) -> None:
    """Let one call run, once: sign that, and have it logged."""
    _decide(request, approver, reason, seconds, call, decision=True, as_json=as_json)


@approve.command("deny", epilog=describe_exits())
@click.argument("request", metavar="REQUEST")
@click.option("--reason", metavar="TEXT", help="Why; it is logged, and told to who asked.")
@_options
def deny_command(request: str, approver: _Approver, reason: str | None, *, as_json: bool) -> None:
    """Say no to one call: sign that, and have it logged."""
    _decide(request, approver, reason, decision=False, as_json=as_json)


def _decide(
    request: str,
    approver: _Approver,
    reason: str | None,
    seconds: int | None = None,
    call: str | None = None,
    *,
    decision: bool,
    as_json: bool,
) -> None:
    async def work(client: ApproverClient) -> dict[str, Any]:
        found = await client.show(request)
        _check_shown(found)
        if call is not None and call != found["call"]:
            raise InputError(f"--call: {request} is about another call, {found['call']}")
        if not as_json:
            _print(found)
        most = found.get("use_seconds")
        now = int(time.time())
        until = now + (seconds or (most if isinstance(most, int) and most > 0 else 300))
        try:
            signed = sign_approval(
                id_=f"apr-{token_hex(16)}",
                request=request,
                gateway=_text(found, "gateway"),
                call=found["call"],
                decision=decision,
                approver=_text(found, "approver"),
                at=now,
                not_after=until,
                name=approver.name,
                private=approver.private,
                reason=reason,
            )
        except FormatError as error:
            raise InputError(str(error)) from None
        answer = await client.answer(signed)
        return {**answer, "approval": msgspec.to_builtins(signed)}

    done = approver.ask(work)
    if as_json:
        click.echo(json.dumps(done))
        return
    word = "Allowed, once" if decision else "Denied"
    if done.get("status") == "pending":
        word = f"You have approved it; it goes on waiting for others{_count(done)}"
    click.echo(f"{word}: {request}, leaf {done.get('leaf')} of the log.")


def _check_shown(found: dict[str, Any]) -> None:
    """Checks that what a gateway shows is the call whose digest it wants to have signed."""
    request = copied_json(found.get("evaluation"))
    if not isinstance(request, dict):
        raise BadAnswer("evaluation: expected an object")
    try:
        # What is printed the gateway says twice: for people, and as what is signed.
        for name in (*_PARTIES, "context"):
            signed = request.get(name, {})
            if not isinstance(signed, dict):
                raise BadAnswer(f"evaluation: {name}: expected an object")
            if encode_canonical(found.get(name, {})) != encode_canonical(signed):
                _differs()
        digests = _withheld(request, found)
        if call_digest(request, digests) != found.get("call"):
            _differs()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadAnswer(f"what the gateway shows is no call: {error}") from None


def _withheld(request: dict[str, Any], found: dict[str, Any]) -> dict[str, str]:
    """Takes what records withhold out of a request: each has to be the value of its addendum."""
    digests: dict[str, str] = {}
    for pointer, text in found.get("addenda", {}).items():
        try:
            data = base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise FormatError(str(error)) from None
        root, *parts = tokens_of(pointer)
        if root != "request":
            _differs()  # nothing else of a decision is part of the call
        inner: Any = request
        for part in parts[:-1]:
            inner = inner[part]
        value = inner.pop(parts[-1])
        held = read_addendum(data, pointer)
        if isinstance(held, bytes) or encode_canonical(held) != encode_canonical(value):
            _differs()  # an approval is of what can be shown
        digests[pointer] = sha256(data).hexdigest()
    return digests


def _differs() -> NoReturn:
    raise BadAnswer("the gateway shows another call than it wants to have signed")


def _unnamed(evaluation: dict[str, Any]) -> dict[str, Any]:
    """What a call has beside its context and what the line of the deed says."""
    rest = {name: value for name, value in evaluation.items() if name not in (*_PARTIES, "context")}
    for party, told in _PARTIES.items():
        members = evaluation.get(party, {}).items()
        more = {name: value for name, value in members if name not in told}
        rest |= {party: more} if more else {}
    return rest


def _print(found: dict[str, Any]) -> None:
    for name in ("request", "status", "authority", "client", "made_at", "expires_at", "call"):
        if found.get(name):
            click.echo(f"{name:12} {_text(found, name)}")
    click.echo(f"{'deed':12} {_deed(found)}{_count(found)}")
    told = {**found, "more": _unnamed(found["evaluation"])}
    for name in ("context", "more", "asked", "earlier", "approval"):
        if told.get(name):
            shown = json.dumps(told[name], indent=2, ensure_ascii=True)
            click.echo(f"{name}:\n{shown[:_SHOWN]}")
            if len(shown) > _SHOWN:
                click.echo(f"… {len(shown) - _SHOWN} characters more; --json has all of it")


def _deed(one: dict[str, Any]) -> str:
    subject, action, resource = (one.get(name) or {} for name in ("subject", "action", "resource"))
    return (
        f"{_text(subject, 'type')} {_text(subject, 'id')} wants {_text(action, 'name')} on "
        f"{_text(resource, 'type')} {_text(resource, 'id')}"
    )


def _count(one: dict[str, Any]) -> str:
    """How many have approved, where more than one has to."""
    approved, required = one.get("approved"), one.get("required")
    if not (isinstance(approved, int) and isinstance(required, int)) or required < 2:
        return ""
    return f" ({approved} of {required} people have approved)"


def _text(holder: Any, name: str) -> str:
    value = holder.get(name) if isinstance(holder, dict) else None
    return terminal(value) if isinstance(value, str) else "?"
