"""The authorities of a configuration: the tables that describe them, and what is checked."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, Literal

from msgspec import Meta

from muniment.http.access import check_token_url, read_token
from muniment.http.urls import split_url
from muniment.local.privatefiles import read_secret
from muniment.monitor.webhook import check_webhook
from muniment.records.artifact import ResourceScope
from muniment.records.members import Digest, Label, Name, ShortName
from muniment.tlog.note import ED25519, VKey, parse_vkey
from muniment_gateway.core.approvals import People
from muniment_service.config import Config, config_error, config_key

MAX_AUTHORITIES: Final = 16
"""Most authorities: as many as may sign a decision."""

MAX_APPROVERS: Final = 1000
"""Most people who may approve for one authority."""

MAX_APPROVALS: Final = 16
"""Most approvals that a decision rests on."""

Seconds = Annotated[float, Meta(ge=0.01, le=300)]


class PolicyEntry(Config, frozen=True):
    """`[authority.policy]`: the policy, where an engine does not name it itself.

    Attributes:
        id: Its name.
        revision: Its revision; without one, the beginning of its digest.
        digest: Its digest, when its files are not here.
        files: Its files; their digest is that of the policy.
    """

    id: Name
    revision: Label | None = None
    digest: Digest | None = None
    files: tuple[Path, ...] = ()


class EngineTable(Config, frozen=True):
    """A policy engine: `[engine]` of an authority, and most of an `[[authority]]`.

    Attributes:
        kind: `authzen`: a PDP, at its base `url`. `cerbos`: a Cerbos, at that of its HTTP listener.
            `opa`: OPA's Data API, `url` of the rule (`http://127.0.0.1:8181/v1/data/authz/allow`).
            `cedar`: Cedar policies, decided in this process. `command`: a program that is run for
            each request. `approval`: no engine, but people, see `AuthorityEntry`.
        deadline_seconds: How long it may take.
        url: Where it is; for `authzen`, `cerbos` and `opa`.
        token_file: File with a bearer token for it.
        admin_file: For `cerbos`: file with `user:password` of its Admin API, which tells its
            policies.
        decision: For `opa`: JSON pointer from the result to its boolean; empty for the result.
        policies, entities, schema: For `cedar`: files of policies; entities and schema as JSON.
        command: For `command`: program and arguments; gets the request, gives the response.
        policy: The policy, where the engine does not name it.
    """

    kind: Literal["authzen", "cerbos", "opa", "cedar", "command", "approval"]
    deadline_seconds: Seconds = 1.0
    url: str | None = None
    token_file: Path | None = None
    admin_file: Path | None = None
    decision: str = ""
    policies: tuple[Path, ...] = ()
    entities: Path | None = None
    schema: Path | None = None
    command: tuple[str, ...] = ()
    policy: PolicyEntry | None = None


class ApproverEntry(Config, frozen=True):
    """One `[[authority.approver]]` table: a person who may approve.

    Attributes:
        vkey: The person's Ed25519 key, as `muniment keygen --use approver` prints it.
        subject: What subjects call this person: the id by which they ask for something themselves.
    """

    vkey: str
    subject: Label


class ResourceEntry(Config, frozen=True):
    """One of an approval's `resources`; without `id`, all of the type."""

    type: Label
    id: Name | None = None


class AuthorityEntry(EngineTable, frozen=True, kw_only=True):
    """One `[[authority]]` table: an engine that is asked about every request, or people.

    People (`kind = "approval"`) are asked on top of the quorum: about what it allows, and never
    about what it denies.

    Attributes:
        name: Its name in decisions; with `vkey`, the name of that key.
        vkey: Its key, when it signs its answers: `muniment-gateway authority serve`.
        approver: Of `approval`: who may approve, one at least.
        required: Of `approval`: how many of them have to; one of them may say no.
        actions, resources: Of `approval`: about which requests people are asked; empty for all.
        request_seconds: Of `approval`: how long a call waits for a person.
        use_seconds: Of `approval`: how long an approval may be used.
        hold_seconds: Of `approval`: how long a call of MCP is held before its client is told to ask
            again.
        most_waiting: Of `approval`: most calls of one client that wait; more are denied at once.
        allow_self: Of `approval`: whether people may approve their own calls.
        webhook: Of `approval`: a URL that is told of what waits, and of what became of it.
    """

    name: ShortName
    vkey: str | None = None
    approver: Annotated[tuple[ApproverEntry, ...], Meta(max_length=MAX_APPROVERS)] = ()
    required: Annotated[int, Meta(ge=1, le=MAX_APPROVALS)] = 1
    actions: tuple[Label, ...] = ()
    resources: tuple[ResourceEntry, ...] = ()
    request_seconds: Annotated[int, Meta(ge=1, le=86_400)] = 900
    use_seconds: Annotated[int, Meta(ge=1, le=86_400)] = 300
    hold_seconds: Annotated[float, Meta(ge=0, le=300)] = 20.0
    most_waiting: Annotated[int, Meta(ge=1, le=1000)] = 100
    allow_self: bool = False
    webhook: str | None = None


@dataclass(frozen=True, slots=True)
class Authority:
    """An authority that was checked: the URL has no final slash; secrets and key as read.

    `login` is the user and password of a Cerbos' Admin API.
    """

    entry: AuthorityEntry
    url: str = ""
    token: str | None = field(default=None, repr=False)
    vkey: VKey | None = None
    login: str | None = field(default=None, repr=False)


PDPS: Final = frozenset({"authzen", "cerbos"})
"""Kinds that speak AuthZEN, with what belongs to it: metadata, searches."""

_NEEDS: Final = {
    "authzen": ("url",),
    "cerbos": ("url",),
    "opa": ("url",),
    "cedar": ("policies",),
    "command": ("command",),
    "approval": ("approver",),
}
_TAKES: Final = {
    "authzen": {"url", "token_file", "vkey"},
    "cerbos": {"url", "token_file", "admin_file"},
    "opa": {"url", "token_file", "decision"},
    "cedar": {"policies", "entities", "schema"},
    "command": {"command"},
    "approval": {"approver", "actions", "resources", "allow_self", "webhook"},
}
_OWN: Final = (
    *("url", "token_file", "admin_file", "decision", "policies", "entities", "schema", "command"),
    *("vkey", "approver", "actions", "resources", "allow_self", "webhook"),
)


def check_authority(path: Path, table: str, entry: AuthorityEntry) -> Authority:
    """Checks an engine's table and reads the files that it names; a `ConfigError` names the key."""
    _check_members(path, table, entry)
    if entry.kind == "approval":
        config_error(path, f"{table}.kind", "people are no engine: they are asked by a gateway")
    url, token, vkey, login = "", None, None, None
    if entry.url is not None:
        with config_key(path, f"{table}.url"):
            parts = split_url(entry.url)
            if parts.query or parts.fragment:
                raise ValueError("a query or fragment")
            url = entry.url.rstrip("/")
    if entry.token_file is not None:
        with config_key(path, f"{table}.token_file"):
            check_token_url(url)
            token = read_token(entry.token_file)
    if entry.admin_file is not None:
        with config_key(path, f"{table}.admin_file"):
            check_token_url(url)
            login = read_secret(entry.admin_file, "user and password").decode("utf-8")
            if not all(login.partition(":")):
                raise ValueError("expected user:password")
    if entry.decision:
        with config_key(path, f"{table}.decision"):
            if not entry.decision.startswith("/"):
                raise ValueError("a JSON pointer begins with a slash")
    if entry.vkey is not None:
        with config_key(path, f"{table}.vkey"):
            vkey = parse_vkey(entry.vkey)
            if vkey.name != entry.name:
                raise ValueError(f"the key of {vkey.name}, not of {entry.name}")
    if entry.policy is not None and (entry.policy.digest is None) == (not entry.policy.files):
        config_error(path, f"{table}.policy", "expected its digest or its files")
    return Authority(entry, url, token, vkey, login)


def people_of(path: Path, table: str, entry: AuthorityEntry) -> People:
    """Checks the table of an authority of kind `approval`; a `ConfigError` names the key."""
    _check_members(path, table, entry)
    approvers: dict[VKey, str] = {}
    for number, one in enumerate(entry.approver):
        with config_key(path, f"{table}.approver[{number}].vkey"):
            vkey = parse_vkey(one.vkey)
            if vkey.algorithm != ED25519:
                raise ValueError("not an Ed25519 key")
            if any(vkey.name == known.name for known in approvers):
                raise ValueError(f"{vkey.name} is there already")
        approvers[vkey] = one.subject
    if entry.required > len(set(approvers.values())):
        config_error(path, f"{table}.required", "more than there are people")
    if entry.webhook is not None:
        with config_key(path, f"{table}.webhook"):
            check_webhook(entry.webhook)
    return People(
        name=entry.name,
        approvers=approvers,
        actions=frozenset(entry.actions),
        resources=tuple(ResourceScope(type=one.type, id=one.id) for one in entry.resources),
        request_seconds=entry.request_seconds,
        use_seconds=entry.use_seconds,
        hold_seconds=entry.hold_seconds,
        most_waiting=entry.most_waiting,
        allow_self=entry.allow_self,
        required=entry.required,
        webhook=entry.webhook,
    )


def _check_members(path: Path, table: str, entry: AuthorityEntry) -> None:
    for member in _NEEDS[entry.kind]:
        if not getattr(entry, member):
            config_error(path, f"{table}.{member}", f"missing: an authority of kind {entry.kind}")
    if entry.required != 1 and entry.kind != "approval":
        config_error(path, f"{table}.required", f"not of an authority of kind {entry.kind}")
    for member in _OWN:
        if getattr(entry, member) and member not in _TAKES[entry.kind]:
            config_error(path, f"{table}.{member}", f"not of an authority of kind {entry.kind}")
