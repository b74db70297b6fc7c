"""From what a proxy tells of a request to the question about it; and the permit in a header."""

import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.permit.header import MAX_HEADER, MAX_INFLATED, format_header, parse_header
from muniment.tlog.encoding import FormatError
from muniment_gateway.core.proxied import Identity, Proxied, ProxyRules
from muniment_gateway.core.targets import DEFAULT, Asks, Route, read_target
from muniment_gateway.proxytable import ProxyTable, RouteTable, checked_proxies
from muniment_service.config import Address, ConfigError


def call(**more: Any) -> Proxied:
    given = {"method": "GET", "target": "/todos/1", "host": "api.example", **more}
    return Proxied(**{"headers": {"x-user": "ada"}, **given})


def rules(**more: Any) -> ProxyRules:
    return ProxyRules("edge", Identity.of("header:X-User"), **more)


def test_without_routes_the_question_is_the_method_on_the_path() -> None:
    request = rules().request(call(target="/todos/1?a=b", source="10.0.0.1"))
    assert request == {
        "subject": {"type": "user", "id": "ada"},
        "action": {"name": "GET"},
        "resource": {"type": "route", "id": "/todos/1", "properties": {"host": "api.example"}},
        "context": {
            "http": {
                "proxy": "edge",
                "method": "GET",
                "host": "api.example",
                "path": "/todos/1",
                "query": "a=b",
                "source": "10.0.0.1",
            }
        },
    }


def test_the_first_route_that_matches_says_what_is_asked() -> None:
    routes = (
        Route.of("/tools/{tool}/call", Asks("call", "tool", "{tool}"), frozenset({"POST"})),
        Route.of("/files/{rest...}", Asks("{method}", "file", "{host}:{rest}"), host="B.example"),
    )
    ruled = rules(routes=routes, body="json")

    def asked(method: str, target: str, host: str = "a.example") -> tuple[str, str, str]:
        request = ruled.request(
            call(
                method=method,
                target=target,
                host=host,
                headers={"x-user": "a", "content-length": "0"},
            )
        )
        return request["action"]["name"], request["resource"]["type"], request["resource"]["id"]

    assert asked("POST", "/tools/crm.search/call") == ("call", "tool", "crm.search")
    assert asked("GET", "/tools/crm.search/call") == ("GET", "route", "/tools/crm.search/call")
    assert asked("GET", "/files", "b.example") == ("GET", "file", "b.example:")
    assert asked("GET", "/files/a/b", "b.example") == ("GET", "file", "b.example:a/b")
    assert asked("GET", "/files/a/b") == ("GET", "route", "/files/a/b")


@pytest.mark.parametrize(
    ("path", "asks"),
    [
        ("todos", ("a", "b", "c")),
        ("/a{b}", ("a", "b", "c")),
        ("/{a...}/b", ("a", "b", "c")),
        ("/{a}/{a}", ("a", "b", "c")),
        ("/{host}", ("a", "b", "c")),
        ("/{a}", ("a", "b", "{c}")),
    ],
)
def test_a_route_that_means_nothing_is_refused(path: str, asks: tuple[str, str, str]) -> None:
    with pytest.raises(ValueError, match=r"."):
        Route.of(path, Asks(*asks))


@pytest.mark.parametrize(
    "path",
    [
        *(
            "//a",
            "/a//b",
            "/a/../b",
            "/a/..",
            "/./a",
            "/a/.",
            "/a%2fb",
            "/a%2F",
            "/%2e%2e/b",
            "/a%5cb",
        ),
        *("/a\\b", "/a;x=1", "/a%25b", "/%00", "/%1f", "/%7f", "/%zz", "/%", "/%ff", "/a%2"),
    ],
)
def test_a_path_that_can_be_read_in_two_ways_is_refused(path: str) -> None:
    with pytest.raises(FormatError):
        read_target(path, exact=False)
    assert read_target(path, exact=True).path == path


@pytest.mark.parametrize("target", ["", "a", "*", "/a b", "/a\n", "/ä", "/a#b", "/" + "a" * 8192])
@pytest.mark.parametrize("exact", [False, True])
def test_what_is_no_path_is_refused(target: str, exact: bool) -> None:
    with pytest.raises(FormatError):
        read_target(target, exact=exact)


@given(st.text(string.printable + "äß%./", max_size=40).map(lambda text: f"/{text}"))
def test_a_path_that_is_taken_has_one_reading(path: str) -> None:
    try:
        read = read_target(path, exact=False).path
    except FormatError:
        return
    segments = read[1:].split("/")
    assert not {".", ".."} & set(segments)
    assert "" not in segments[:-1]
    assert read.count("/") == path.partition("?")[0].count("/")
    assert DEFAULT.match("GET", "h", read) == ("GET", "route", read)


@pytest.mark.parametrize("text", ["", "header", "header:", "metadata:x", "principal:x", "user"])
def test_an_identity_comes_from_a_known_source(text: str) -> None:
    with pytest.raises(ValueError, match="expected principal"):
        Identity.of(text)


def test_an_identity_comes_from_its_source_alone() -> None:
    told = call(
        principal="spiffe://a",
        extensions={"who": "ext"},
        metadata={"jwt": {"payload": {"sub": "claims"}}},
    )
    found = {
        text: Identity.of(text).find(told)
        for text in ("principal", "header:x-user", "extension:who", "metadata:/jwt/payload/sub")
    }
    assert list(found.values()) == ["spiffe://a", "ada", "ext", "claims"]
    for text in ("header:x-other", "extension:x", "metadata:/jwt/none", "metadata:/jwt/payload"):
        with pytest.raises(FormatError, match="names no subject"):
            Identity.of(text).find(told)


@pytest.mark.parametrize(
    "value", ["mallory,ada", "mallory, ada", " ada", "ada ", "a\tb", "ä", "a" * 1025]
)
def test_an_identity_that_may_be_two_is_none(value: str) -> None:
    """A proxy that adds its header to the client's, where it has to replace that, sends both."""
    with pytest.raises(FormatError, match="not one visible name"):
        rules().request(call(headers={"x-user": value}))


def test_headers_are_told_when_configured_and_as_the_clients_word() -> None:
    headers = {"x-user": "ada", "user-agent": "curl", "cookie": "secret"}
    request = rules(headers=("user-agent", "accept")).request(call(headers=headers))
    assert request["context"]["http"]["headers"] == {"user-agent": "curl"}
    assert "secret" not in str(request)


BODY = {"x-user": "ada", "content-length": "7", "x-envoy-auth-partial-body": "false"}


def test_a_whole_body_is_the_arguments_or_a_digest() -> None:
    told = call(method="POST", headers=BODY, body=b'{"a":1}')
    assert rules(body="json").request(told)["context"]["arguments"] == {"a": 1}
    digest = rules(body="digest").request(told)["context"]["http"]["body"]
    assert (digest["size"], digest["digest"][:11]) == (7, "sha256:015a")
    assert "arguments" not in rules().request(told)["context"]


@pytest.mark.parametrize(
    ("method", "headers", "body"),
    [
        ("POST", {"content-length": "7"}, None),  # the proxy is not told to send bodies
        ("GET", {"content-length": "7"}, b""),
        ("POST", {}, b""),  # there may be one
        ("POST", {"x-envoy-auth-partial-body": "true", "content-length": "7"}, b'{"a":1}'),
        ("POST", {"x-envoy-auth-partial-body": "true,false"}, b'{"a":1}'),
        ("POST", {"x-envoy-auth-partial-body": "false", "content-length": "99"}, b'{"a":1}'),
        ("POST", {"x-envoy-auth-partial-body": "false", "content-length": "x"}, b'{"a":1}'),
        ("POST", {"x-envoy-auth-partial-body": "false"}, b"[1]"),
        ("POST", {"x-envoy-auth-partial-body": "false"}, b'{"a":1,"a":2}'),
    ],
)
def test_a_body_that_is_not_all_there_is_not_decided_on(
    method: str, headers: dict[str, str], body: bytes | None
) -> None:
    told = call(method=method, headers={"x-user": "ada", **headers}, body=body)
    with pytest.raises(FormatError):
        rules(body="json").request(told)


@pytest.mark.parametrize(
    "media_type",
    [
        "application/json; charset=utf-7",
        "application/json; charset=utf-8; charset=utf-16",
        "application/json; charset*=utf-8''utf-7",
        'application/json;x=";charset=utf-7',
        "application/json,application/x-www-form-urlencoded",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=1",
        "",
    ],
)
def test_a_body_that_the_upstream_reads_otherwise_is_not_decided_on(media_type: str) -> None:
    """As a form, or in UTF-7, the same bytes have other arguments."""
    told = call(method="POST", headers={**BODY, "content-type": media_type}, body=b'{"a":1}')
    with pytest.raises(FormatError, match="expected a Content-Type of JSON, in UTF-8"):
        rules(body="json").request(told)
    assert "body" in rules(body="digest").request(told)["context"]["http"]


@pytest.mark.parametrize(
    "media_type",
    ["application/json", 'Application/JSON ; Charset="UTF-8"', "application/a.b+json;v=1"],
)
def test_a_body_of_json_has_the_type_of_it(media_type: str) -> None:
    told = call(method="POST", headers={**BODY, "content-type": media_type}, body=b'{"a":1}')
    assert rules(body="json").request(told)["context"]["arguments"] == {"a": 1}


def test_no_body_is_no_arguments() -> None:
    for method, headers in (("GET", {}), ("POST", {"content-length": "0"})):
        told = call(method=method, headers={"x-user": "ada", **headers}, body=b"")
        assert "arguments" not in rules(body="json").request(told)["context"]


def test_what_the_mcp_filter_could_not_read_is_not_decided_on() -> None:
    metadata = {"envoy.filters.http.mcp": {"is_exceeding_limit": True}}
    with pytest.raises(FormatError, match="MCP filter"):
        rules().request(call(metadata=metadata))


@given(st.binary(max_size=300))
def test_a_header_that_is_no_permit_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_header(data.decode("latin-1"))


@pytest.mark.parametrize(
    "value",
    [
        "",
        "YQ",
        "YQ.",
        ".eJwDAAAAAAE",
        "YQ.eJwDAAAAAAE",  # nothing, which is no permit
        format_header("run", "x" * (MAX_INFLATED + 1)),
        "YQ." + "a" * MAX_HEADER,
        format_header("r" * 129, "x"),
    ],
)
def test_a_header_beyond_its_bounds_is_refused(value: str) -> None:
    with pytest.raises(FormatError):
        parse_header(value)


EDGE: dict[str, Any] = {
    "name": "edge",
    "kind": "nginx",
    "path": "/proxy/edge",
    "subject": "header:X-User",
}


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ({"kind": "envoy"}, "listen: missing"),
        ({"path": None}, "path: missing"),
        ({"kind": "envoy", "listen": Address("127.0.0.1:1")}, "path: not of a proxy"),
        ({"listen": Address("127.0.0.1:1")}, "listen: not of a proxy"),
        ({"path": "/healthz"}, "path: is not below /proxy/"),
        ({"path": "/proxying/edge"}, "path: is not below /proxy/"),
        ({"client": "shop"}, "client: there is no"),
        ({"body": "json"}, "body: a proxy of kind nginx sends no bodies"),
        ({"subject": "principal"}, "subject: a proxy of kind nginx says it in a header"),
        ({"subject": "user"}, "subject: expected principal"),
        ({"route": (RouteTable(path="x"),)}, r"route\[0\]: a path begins with a slash"),
    ],
)
def test_a_table_that_cannot_be_is_refused_by_its_key(members: dict[str, Any], named: str) -> None:
    table = ProxyTable(**{**EDGE, **members})
    with pytest.raises(ConfigError, match=named):
        checked_proxies(Path("gateway.toml"), [table], ["edge"], [])


def test_two_proxies_are_told_apart() -> None:
    table = ProxyTable(**EDGE)
    [proxy] = checked_proxies(Path("gateway.toml"), [table], [], ["/logs"])
    assert proxy.rules.identity == Identity("header", "x-user")
    for other in ({"name": "other"}, {"path": "/proxy/other"}):
        with pytest.raises(ConfigError, match="two have the same"):
            checked_proxies(Path("gateway.toml"), [table, ProxyTable(**{**EDGE, **other})], [], [])


def test_nothing_else_is_served_where_a_proxy_asks() -> None:
    """A path of the client's behind it would lead to that, and whatever is 200 lets it pass."""
    table = ProxyTable(**EDGE)
    for served in ("/proxy/edge", "/proxy/edge/logs"):
        with pytest.raises(ConfigError, match="something else is served"):
            checked_proxies(Path("gateway.toml"), [table], [], [served])
    below = ProxyTable(**{**EDGE, "name": "other", "path": "/proxy/edge/b"})
    with pytest.raises(ConfigError, match="another one's path is below /proxy/edge"):
        checked_proxies(Path("gateway.toml"), [table, below], [], [])


@pytest.mark.parametrize(
    "host", ["API.example", "api.example.", "api.example:443", "API.EXAMPLE.:8443"]
)
def test_one_host_has_one_name(host: str) -> None:
    request = rules().request(call(host=host))
    assert request["resource"]["properties"] == {"host": "api.example"}


@pytest.mark.parametrize(
    ("method", "host"),
    [
        ("delete", "h"), ("", "h"), ("GET ", "h"), ("G" * 33, "h"),
        *(("GET", h) for h in ("", ".", "a..b", "u@h", "h/x", "h:x", "h:443:1", "ä", "a" * 256)),
    ],
)  # fmt: skip
def test_what_is_no_method_or_host_is_refused(method: str, host: str) -> None:
    with pytest.raises(FormatError, match="the proxy names no"):
        rules().request(call(method=method, host=host))
