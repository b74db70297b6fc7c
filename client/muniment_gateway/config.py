"""The gateway's configuration, gateway.toml, and the files that it names.

| key | is |
| --- | --- |
| `name` | the gateway's key name: the producer of its records |
| `listen` | `host:port`; port 0 lets the system choose |
| `keys` | a PKCS#8 PEM file, Ed25519, which signs the batches; a second one is to follow it |
| `key_passphrase_file` | optional: file with the passphrase of an encrypted key |
| `log` | the log's base URL |
| `policy` | the tlog-policy file: which log and witnesses are believed |
| `stream` | optional: the label of its stream in the log, `default`; one process writes to it |
| `spool` | the file of records that wait for the log |
| `database` | the SQLite file of what is in force |
| `mode` | optional: `enforce` (what is not provably logged is denied) or `observe` |
| `quorum` | optional: how many authorities must allow: `all`, `any` or a number |
| `grace_seconds` | optional: once a decision is certain, how long authorities are waited for that \
have not answered and do not sign; 0.1 |
| `deadline_seconds` | optional: how long a decision may wait for the log and its witnesses; 3 |
| `require` | optional: `cosigned`, or `mirrored`: decisions wait for the policy's mirrors, too |
| `most_waiting` | optional: decisions under way at one time; more are denied at once; 1,000 |
| `url` | optional: the URL at which PEPs reach the gateway, for its metadata |
| `[[authority]]` | a policy engine, see `AuthorityEntry` |
| `[[client]] name, token_file` | optional: who may ask; with any, a bearer token is needed |
| `[[client]] callbacks, callback_token_file` | optional: where this client may be told of its \
access requests, and the bearer token that is shown there |
| `[opa]` | optional: an OPA that the gateway stands in front of, see `OpaTable` |
| `[[proxy]]` | optional: a proxy that asks before it lets a request pass, see `ProxyTable` |
| `[permit]` | optional: what a permit is good for, see `PermitTable` |
| `[tls]`, `[outgoing]` | optional: serve https; how others are connected to |
| `admin` | optional: the Unix socket for administration |
| `log_level`, `log_format` | optional: `debug`, `info`, `warning`, `error`; `text`, `json` |
| `[limits]` | optional: what its HTTP server takes, see `muniment_service.limits` |
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

from msgspec import Meta

from muniment.gateway.mirrored import Require, check_require
from muniment.http.access import ANYBODY, READ_TOKEN_FILE, Access, check_token_url, read_token
from muniment.http.urls import split_url
from muniment.local.keyfiles import read_key_file
from muniment.local.privatefiles import read_secret
from muniment.records.artifact import Binding
from muniment.records.authority import authority_vkey
from muniment.records.members import Digest, Label, ShortName, SpiffeId
from muniment.tlog.keys.keyfile import PrivateKey
from muniment.tlog.note import Signer, VKey
from muniment.tlog.policy import Policy, parse_policy
from muniment_gateway.authorities import (
    MAX_AUTHORITIES,
    Authority,
    AuthorityEntry,
    EngineTable,
    Seconds,
    check_authority,
    people_of,
)
from muniment_gateway.core.approvals import People
from muniment_gateway.core.quorum import Quorum
from muniment_gateway.proxytable import Proxy, ProxyTable, checked_proxies
from muniment_service.config import Config, config_error, config_key, read_file
from muniment_service.limits import Count, SmallBodyLimits
from muniment_service.servicefile import NamedFile, read_named

MAX_POLICY_BYTES: Final = 1 << 20
"""Largest tlog-policy file, in bytes; 256 post-quantum keys fit."""

Mode: TypeAlias = Literal["enforce", "observe"]
"""What becomes of what is not provably logged: it is denied, or the engines' word is passed on."""


class ClientEntry(Config, frozen=True):
    """One `[[client]]` table: who may ask, by a bearer token in a private file.

    Attributes:
        name: The client's name.
        token_file: The file of its token.
        callbacks: The URLs at which it may be told what became of its access requests.
        callback_token_file: The file of the token that is shown there.
    """

    name: ShortName
    token_file: Path
    callbacks: tuple[str, ...] = ()
    callback_token_file: Path | None = None


class PermitTable(Config, frozen=True):
    """The `[permit]` table.

    Attributes:
        seconds: How long a permit may be used.
        spiffe_id: The only runtime that may use it, unless a request names one.
        thumbprint: The digest of that runtime's key, likewise.
        governance: Labels of the governance domain.
        status: Whether permits are given out with their status, for runtimes without a replica; the
            log has to keep an index log then.
    """

    seconds: Annotated[int, Meta(ge=1, le=86_400)] = 300
    spiffe_id: SpiffeId | None = None
    thumbprint: Digest | None = None
    governance: dict[ShortName, Label] | None = None
    status: bool = False


class OpaRule(Config, frozen=True):
    """One `[[opa.rule]]` table: where a rule's result has its boolean.

    Attributes:
        path: The rule, as below `/v1/data/`: `authz/allow`.
        decision: JSON pointer from its result to the boolean; empty for the result itself.
    """

    path: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.~%/-]{1,120}\Z")]
    decision: str = ""


class OpaTable(Config, frozen=True):
    """The `[opa]` table: the gateway in front of an OPA.

    Attributes:
        url: The OPA's base URL; with it, `POST /v1/data/{path}` of the rules is served.
        token_file: File with a bearer token for it.
        deadline_seconds: How long it may take.
        rule: The rules that are known. No other one is served, and nothing is guessed of it.
        sink_paths: Where OPAs upload their decision logs: `/logs`, or the `resource` of theirs.
    """

    url: str | None = None
    token_file: Path | None = None
    deadline_seconds: Seconds = 1.0
    rule: tuple[OpaRule, ...] = ()
    sink_paths: tuple[Annotated[str, Meta(pattern=r"^/[!-~]{1,200}\Z")], ...] = ()


class GatewayFile(NamedFile, frozen=True, kw_only=True):
    """gateway.toml as it stands."""

    log: str
    policy: Path
    stream: ShortName = "default"
    spool: Path
    database: Path
    mode: Mode = "enforce"
    quorum: Literal["all", "any"] | Annotated[int, Meta(ge=1, le=MAX_AUTHORITIES)] = "all"
    grace_seconds: Annotated[float, Meta(ge=0, le=300)] = 0.1
    deadline_seconds: Seconds = 3.0
    require: Require = "cosigned"
    most_waiting: Count = 1000
    url: str | None = None
    authority: tuple[AuthorityEntry, ...] = ()
    client: tuple[ClientEntry, ...] = ()
    opa: OpaTable = OpaTable()
    proxy: tuple[ProxyTable, ...] = ()
    permit: PermitTable = PermitTable()
    limits: SmallBodyLimits = SmallBodyLimits()


@dataclass(frozen=True, slots=True)
class Callbacks:
    """Where a client may be told of its access requests, and the token that is shown there."""

    endpoints: frozenset[str]
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """A configuration that was checked, with what its files hold.

    Clients are by token. `origin` is that of the policy's log. `opa` is an authority for each rule
    of the OPA that the gateway stands in front of. `people` are the authorities of kind `approval`:
    the first that a request is for decides on it. `held_database` is the file of the calls that
    wait for them, in all processes of this configuration. `signers` are all keys that are listed;
    the gateway signs with the first. `callbacks` are by the client's name. `access` is how the log
    is connected to: as `[outgoing]` says, with the read token that the environment names, which no
    engine is shown.
    """

    path: Path
    file: GatewayFile
    signer: Signer
    policy: Policy
    origin: str
    authorities: tuple[Authority, ...]
    quorum: Quorum
    clients: dict[str, str] = field(repr=False)
    binding: Binding | None = None
    opa: tuple[Authority, ...] = ()
    proxies: tuple[Proxy, ...] = ()
    people: tuple[People, ...] = ()
    held_database: Path = Path()
    signers: tuple[Signer, ...] = ()
    callbacks: dict[str, Callbacks] = field(default_factory=dict)
    access: Access = ANYBODY


class AuthorityFile(NamedFile, frozen=True, kw_only=True):
    """authority.toml as it stands: an engine, and the key that signs what it says.

    Attributes:
        name: The authority's key name.
        engine: The policy engine beside it.
        client: Who may ask; without any, everybody.
        gateways: Key names of the gateways whose records it signs; without any, all.
        most_seconds: Longest validity of an artifact that it signs.
    """

    engine: EngineTable
    client: tuple[ClientEntry, ...] = ()
    gateways: tuple[str, ...] = ()
    most_seconds: Annotated[int, Meta(ge=1, le=86_400)] = 3600
    limits: SmallBodyLimits = SmallBodyLimits()


@dataclass(frozen=True, slots=True)
class AuthorityConfig:
    """A configuration of an authority that was checked; clients are by token."""

    path: Path
    file: AuthorityFile
    private: PrivateKey = field(repr=False)
    vkey: VKey
    authority: Authority
    clients: dict[str, str] = field(repr=False)


def load_authority(path: Path) -> AuthorityConfig:
    """Reads authority.toml and the files that it names; a `ConfigError` names file and key."""
    file, _ = read_named(path, AuthorityFile, use="authority")
    if len(file.keys) != 1:
        config_error(path, "keys", "an authority signs with one key")
    passphrase = None
    if file.key_passphrase_file is not None:
        passphrase = read_secret(file.key_passphrase_file, "passphrase")
    private = read_key_file(file.keys[0], passphrase).private
    members = {name: getattr(file.engine, name) for name in file.engine.__struct_fields__}
    entry = AuthorityEntry(name=file.name, **members)
    return AuthorityConfig(
        path,
        file,
        private,
        authority_vkey(file.name, private),
        check_authority(path, "engine", entry),
        _clients(path, file.client),
    )


def load(path: Path) -> GatewayConfig:
    """Reads gateway.toml and the files that it names; a `ConfigError` names file and key."""
    file, signers = read_named(path, GatewayFile, use="gateway")
    if len(signers) > 2:
        config_error(path, "keys", "a gateway has one key, and one that is to follow it")
    return checked(path, file, signers)


def checked(path: Path, file: GatewayFile, signers: Sequence[Signer]) -> GatewayConfig:
    """Checks a file's members and reads what it names, its keys apart."""
    with config_key(path, "log"):
        split_url(file.log)
    with config_key(path, READ_TOKEN_FILE):
        access = file.outgoing.access.with_read_token()
    with config_key(path, "log"):
        access.headers(file.log)  # no token is sent without TLS
    with config_key(path, "policy"):
        policy = parse_policy(read_file(file.policy, most=MAX_POLICY_BYTES))
        if len(policy.origins) != 1:
            raise ValueError("names several logs; a gateway writes to one")
        check_require(file.require, policy)
    if file.url is not None:
        with config_key(path, "url"):
            parts = split_url(file.url)
            if parts.query or parts.fragment:
                raise ValueError("the URL of a policy decision point has no query or fragment")
    tables = [(f"authority[{number}]", entry) for number, entry in enumerate(file.authority)]
    authorities = tuple(
        check_authority(path, table, entry) for table, entry in tables if entry.kind != "approval"
    )
    people = tuple(
        people_of(path, table, entry) for table, entry in tables if entry.kind == "approval"
    )
    names = [entry.name for entry in file.authority]
    if len(set(names)) != len(names):
        config_error(path, "authority", "two have the same name")
    if len(names) > MAX_AUTHORITIES:
        config_error(path, "authority", f"more than {MAX_AUTHORITIES}")
    with config_key(path, "quorum"):
        quorum = Quorum.of(file.quorum, len(authorities))
    if people and not authorities:
        config_error(path, "authority", "people are asked about what an engine allows: name one")
    permit = file.permit
    binding = None
    if permit.spiffe_id is not None or permit.thumbprint is not None:
        binding = Binding(spiffe_id=permit.spiffe_id, thumbprint=permit.thumbprint)
    clients = _clients(path, file.client)
    return GatewayConfig(
        path,
        file,
        signers[0],
        policy,
        policy.origins[0],
        authorities,
        quorum,
        clients,
        binding,
        _rules(path, file.opa),
        checked_proxies(path, file.proxy, clients.values(), file.opa.sink_paths),
        people,
        file.database.with_name(f"{file.database.stem}.approvals{file.database.suffix}"),
        tuple(signers),
        _callbacks(path, file.client),
        access,
    )


def _rules(path: Path, table: OpaTable) -> tuple[Authority, ...]:
    """The rules of an OPA, each as an authority of its own."""
    names = [rule.path for rule in table.rule]
    if len(set(names)) != len(names):
        config_error(path, "opa.rule", "two have the same path")
    for number, rule in enumerate(table.rule):
        if rule.decision and not rule.decision.startswith("/"):
            config_error(path, f"opa.rule[{number}].decision", "begins with no slash")
    if table.url is None:
        return ()
    return tuple(
        check_authority(
            path,
            "opa",
            AuthorityEntry(
                name=f"opa:{rule.path}",
                kind="opa",
                url=f"{table.url.rstrip('/')}/v1/data/{rule.path}",
                token_file=table.token_file,
                decision=rule.decision,
                deadline_seconds=table.deadline_seconds,
            ),
        )
        for rule in table.rule
    )


def _clients(path: Path, entries: Sequence[ClientEntry]) -> dict[str, str]:
    clients: dict[str, str] = {}
    for number, entry in enumerate(entries):
        with config_key(path, f"client[{number}].token_file"):
            token = read_token(entry.token_file)
            if token in clients:
                raise ValueError("the token of another client")
            clients[token] = entry.name
    return clients


def _callbacks(path: Path, entries: Sequence[ClientEntry]) -> dict[str, Callbacks]:
    """Where clients may be told; never where the token would be sent without TLS."""
    found: dict[str, Callbacks] = {}
    for number, entry in enumerate(entries):
        if not entry.callbacks:
            continue
        if entry.callback_token_file is None:
            config_error(
                path, f"client[{number}].callback_token_file", "needed: a callback shows a token"
            )
        with config_key(path, f"client[{number}].callbacks"):
            for url in entry.callbacks:
                split_url(url)
                check_token_url(url)
        with config_key(path, f"client[{number}].callback_token_file"):
            token = read_token(entry.callback_token_file)
        if entry.name in found:
            config_error(path, f"client[{number}].callbacks", "two of one name: give them once")
        found[entry.name] = Callbacks(frozenset(entry.callbacks), token)
    return found
