"""Fuzz targets of what proxies tell of requests, and of the permits that they hand on."""

from typing import Final

from fuzzing.law import parsed, target, text_of
from muniment.permit.header import format_header, parse_header
from muniment.tlog.encoding import FormatError
from muniment_gateway.core.authzen import check_request
from muniment_gateway.core.proxied import Identity, Proxied, ProxyRules
from muniment_gateway.core.targets import Asks, Route

_ROUTES: Final = (
    Route.of("/tools/{tool}/call", Asks("call", "tool", "{tool}"), frozenset({"POST"})),
    Route.of("/files/{rest...}", Asks("{method}", "file", "{rest}"), host="files.example"),
)
_RULES: Final = tuple(
    ProxyRules("edge", Identity.of("header:x-user"), "user", _ROUTES, ("accept",), body, exact)
    for body in ("none", "digest", "json")
    for exact in (False, True)
)


@target("permit-header")
def _permit_header(data: bytes) -> None:
    found = parsed(lambda data: parse_header(text_of(data)), None, data)
    if found is not None:
        permit, execution = found
        assert parse_header(format_header(execution, permit.encode().decode("utf-8"))) == found


@target("proxied")
def _proxied(data: bytes) -> None:
    """A request line, a host, headers until an empty line, and a body."""
    head, _, body = data.partition(b"\n\n")
    line, host, *lines = (*text_of(head).split("\n"), "")
    method, _, path = line.partition(" ")
    headers = {name.lower(): value for name, _, value in (one.partition(":") for one in lines)}
    for rules in _RULES:
        try:
            request = rules.request(Proxied(method, path, host, headers, body=body))
        except FormatError:
            continue
        check_request(request)
        segments = request["context"]["http"]["path"].split("/")
        assert rules.exact_paths or not {".", ".."} & set(segments)
