"""The `[[proxy]]` tables of gateway.toml: which proxies ask, and how their requests are read."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

from msgspec import Meta

from muniment.records.members import Label, Name, ShortName
from muniment_gateway.core.proxied import Body, Identity, ProxyRules
from muniment_gateway.core.targets import Asks, Route
from muniment_service.config import Address, Config, config_error, config_key

Kind: TypeAlias = Literal["envoy", "envoy-http", "traefik", "nginx"]

MOST_PROXIES: Final = 64
"""Most `[[proxy]]` tables."""

_BELOW: Final = "/proxy/"
"""Where proxies ask: nothing else is served there, for whatever answers 200 lets a request pass."""

_HeaderName = Annotated[str, Meta(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}\Z")]


class RouteTable(Config, frozen=True):
    """One `[[proxy.route]]` table: what is asked about requests of one kind.

    Attributes:
        path: The path; `{name}` is a segment, `{name...}` all that is left.
        methods: The methods; without any, all.
        host: The host; without one, any.
        action, resource_type, resource_id: What is asked, with names of the path in braces; also
            `{method}`, `{host}` and `{path}`.
    """

    path: str
    methods: tuple[str, ...] = ()
    host: str = ""
    action: Label = "{method}"
    resource_type: Name = "route"
    resource_id: Name = "{path}"


class ProxyTable(Config, frozen=True):
    """One `[[proxy]]` table: a proxy that asks before it lets a request through.

    Attributes:
        name: Its name in the records.
        kind: `envoy`: ext_authz over gRPC, at `listen`. `envoy-http`: ext_authz over HTTP.
            `traefik`: ForwardAuth. `nginx`: auth_request. These three at a `path` of ours.
        subject: Where it says who asks: `principal` (the client's certificate), `header:NAME`,
            `extension:NAME`, `metadata:/POINTER`; headers alone where it asks over HTTP.
        subject_type: The type of subjects.
        path: The path below which it asks, itself below `/proxy`: `/proxy/edge`.
        listen: `host:port` for gRPC.
        client: The `[[client]]` whose token it must show; without one, any client's.
        headers: Headers of requests that the engines are told, as the client's word.
        body: Whether the engines are told of bodies: `none`, `digest`, `json`; Envoy alone sends
            them, with `with_request_body`.
        route: What is asked; first match. Without one: the method, on a `route` that is the path.
        exact_paths: Whether paths are taken as they are, and not refused when they can be read in
            more than one way.
        deadline_seconds: From the question to the answer, engines and log included.
        permit_header_bytes: Longest header with a permit; a longer one is left out. 0 for none.
    """

    name: ShortName
    kind: Kind
    subject: str
    subject_type: Name = "user"
    path: Annotated[str, Meta(pattern=r"^(?:/[A-Za-z0-9_.~-]+){1,8}\Z")] | None = None
    listen: Address | None = None
    client: ShortName | None = None
    headers: tuple[_HeaderName, ...] = ()
    body: Body = "none"
    route: tuple[RouteTable, ...] = ()
    exact_paths: bool = False
    deadline_seconds: Annotated[float, Meta(ge=0.01, le=60)] = 0.15
    permit_header_bytes: Annotated[int, Meta(ge=0, le=65_536)] = 7168


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy whose table was checked, and how its requests become questions."""

    table: ProxyTable
    rules: ProxyRules


def checked_proxies(
    path: Path, tables: Sequence[ProxyTable], clients: Collection[str], served: Collection[str]
) -> tuple[Proxy, ...]:
    """Checks the tables of the file at a path; a `ConfigError` names table and key.

    Args:
        path: The file.
        tables: Its tables.
        clients: The names of its clients.
        served: Paths at which it has something else served.
    """
    if len(tables) > MOST_PROXIES:
        config_error(path, "proxy", f"more than {MOST_PROXIES}")
    for member in ("name", "path"):
        given = [value for one in tables if (value := getattr(one, member)) is not None]
        if len(set(given)) != len(given):
            config_error(path, "proxy", f"two have the same {member}")
    paths = [one.path for one in tables if one.path is not None]
    for one in paths:
        if any(other.startswith(f"{one}/") for other in paths):
            config_error(
                path, "proxy", f"another one's path is below {one}: its requests are both's"
            )
        if any(f"{other}/".startswith(f"{one}/") for other in served):
            config_error(path, "proxy", f"something else is served at or below {one}")
    return tuple(_proxy(path, f"proxy[{at}]", one, clients) for at, one in enumerate(tables))


def _proxy(path: Path, key: str, table: ProxyTable, clients: Collection[str]) -> Proxy:
    needs, other = ("listen", "path") if table.kind == "envoy" else ("path", "listen")
    if getattr(table, needs) is None:
        config_error(path, f"{key}.{needs}", f"missing: a proxy of kind {table.kind}")
    if getattr(table, other) is not None:
        config_error(path, f"{key}.{other}", f"not of a proxy of kind {table.kind}")
    if table.path is not None and not table.path.startswith(_BELOW):
        config_error(path, f"{key}.path", f"is not below {_BELOW}, as in /proxy/edge")
    if table.client is not None and table.client not in clients:
        config_error(path, f"{key}.client", "there is no [[client]] of that name")
    if table.body != "none" and not table.kind.startswith("envoy"):
        config_error(path, f"{key}.body", f"a proxy of kind {table.kind} sends no bodies")
    with config_key(path, f"{key}.subject"):
        identity = Identity.of(table.subject)
        if identity.kind != "header" and table.kind != "envoy":
            raise ValueError(f"a proxy of kind {table.kind} says it in a header: header:NAME")
    routes = []
    for at, one in enumerate(table.route):
        with config_key(path, f"{key}.route[{at}]"):
            asks = Asks(one.action, one.resource_type, one.resource_id)
            routes.append(Route.of(one.path, asks, frozenset(one.methods), one.host))
    rules = ProxyRules(
        table.name,
        identity,
        table.subject_type,
        tuple(routes),
        tuple(name.lower() for name in table.headers),
        table.body,
        table.exact_paths,
    )
    return Proxy(table, rules)
