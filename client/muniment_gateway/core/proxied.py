"""From what a proxy tells of a request to what the engines are asked (AuthZEN).

What the proxy vouches for and what the client has sent are kept apart: who it is comes from the one
source that is configured, which the client must have no hand in; headers of the client's go, as its
word, into the context.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, Literal, TypeAlias

from muniment.tlog.encoding import FormatError
from muniment_gateway.core.anyjson import parse_any
from muniment_gateway.core.pointers import resolve
from muniment_gateway.core.targets import DEFAULT, Route, read_target

PARTIAL: Final = "x-envoy-auth-partial-body"
"""Envoy's header that says whether the body in a check is a part of it."""

MOST_NAME: Final = 1024
"""Longest name of a subject, in characters."""

Body: TypeAlias = Literal["none", "digest", "json"]
"""What is asked about a body: nothing, its digest, or its members as the call's arguments."""

_METHOD: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Z-]{1,32}")  # "delete" is no method of HTTP's
_HOST: Final = re.compile(
    r"(?=.{1,255}\Z)(\[[0-9a-f:.]+\]|[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)\.?(?::[0-9]{1,5})?"
)
_NAME: Final = re.compile(r"[!-+\--~](?:[ -+\--~]{0,1022}[!-+\--~])?")
_VISIBLE: Final = re.compile(r"[\x20-\x7e]*")
_MCP_FILTER: Final = "envoy.filters.http.mcp"
_JSON_TYPE: Final = re.compile(r"application/(?:[a-z0-9.+-]+\+)?json", re.IGNORECASE)
_UTF_8: Final = re.compile(r"\s*charset=(\"?)utf-?8\1\s*", re.IGNORECASE)
_BODILESS: Final = frozenset({"GET", "HEAD", "DELETE", "OPTIONS", "TRACE"})


@dataclass(frozen=True, slots=True)
class Proxied:
    """What a proxy tells of a request.

    Attributes:
        method, target, host: Of the request; the target is path and query as they were sent.
        headers: By name in lower case; values of a header that comes twice are joined by commas.
        principal: Who has authenticated to the proxy by a certificate.
        sni: The server's name that the client has asked for in TLS.
        source: The client's address.
        extensions: What the proxy's configuration says of the route.
        metadata: What filters of the proxy have found out, by their names.
        body: The body; None when the proxy does not say.
    """

    method: str
    target: str
    host: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    principal: str = ""
    sni: str = ""
    source: str = ""
    extensions: Mapping[str, str] = field(default_factory=dict[str, str])
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """Where a proxy says who it is: `principal`, `header:NAME`, `extension:NAME`, `metadata:/…`."""

    kind: str
    name: str = ""

    @classmethod
    def of(cls, text: str) -> "Identity":
        """Reads a source; ValueError if it is none."""
        kind, colon, name = text.partition(":")
        if text == "principal":
            return cls(kind)
        if kind in {"header", "extension"} and colon and name:
            return cls(kind, name.lower() if kind == "header" else name)
        if kind == "metadata" and name.startswith("/"):
            return cls(kind, name)
        raise ValueError("expected principal, header:NAME, extension:NAME or metadata:/POINTER")

    def find(self, call: Proxied) -> str:
        """Who it is.

        Raises FormatError if the proxy does not say, or says what may be two names: a proxy that
        adds to what the client has sent, where it has to replace that, names both.
        """
        value: object = None
        if self.kind == "principal":
            value = call.principal
        elif self.kind == "header":
            value = call.headers.get(self.name)
        elif self.kind == "extension":
            value = call.extensions.get(self.name)
        else:
            try:
                value = resolve(call.metadata, self.name)
            except LookupError:
                value = None
        if not isinstance(value, str) or not value:
            raise FormatError(f"the proxy names no subject ({self})")
        if len(value) > MOST_NAME or not _NAME.fullmatch(value):
            raise FormatError(f"the proxy names a subject that is not one visible name ({self})")
        return value

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind


@dataclass(frozen=True, slots=True)
class ProxyRules:
    """How the requests of one proxy become questions.

    Attributes:
        proxy: Its name.
        identity: Where it says who the subject is.
        subject_type: Of what type subjects are.
        routes: The first one that matches says what is asked.
        headers: Headers that are told as the client's word, in lower case.
        body: What is asked about bodies.
        exact_paths: Whether paths are taken as they are.
    """

    proxy: str
    identity: Identity
    subject_type: str = "user"
    routes: tuple[Route, ...] = ()
    headers: tuple[str, ...] = ()
    body: Body = "none"
    exact_paths: bool = False

    def request(self, call: Proxied) -> dict[str, Any]:
        """The AuthZEN request that asks about a proxied one.

        Raises FormatError if that cannot be told without a doubt; the text is for the client.
        """
        if not _METHOD.fullmatch(call.method):
            raise FormatError("the proxy names no method")
        named = _HOST.fullmatch(call.host.lower())
        if named is None:
            raise FormatError("the proxy names no host")
        host = named[1]
        target = read_target(call.target, exact=self.exact_paths)
        asks = None
        for route in (*self.routes, DEFAULT):
            asks = route.match(call.method, host, target.path)
            if asks is not None:
                break
        if asks is None or not all(asks):
            raise FormatError("the path names no resource")
        http: dict[str, Any] = {
            "proxy": self.proxy,
            "method": call.method,
            "host": host,
            "path": call.target.partition("?")[0],
        }
        if target.query:
            http["query"] = target.query
        for name in ("source", "sni", "principal"):
            value = getattr(call, name)
            if value and _VISIBLE.fullmatch(value) and len(value) <= MOST_NAME:
                http[name] = value
        told = {name: call.headers[name] for name in self.headers if name in call.headers}
        if told:
            if not all(map(_VISIBLE.fullmatch, told.values())):
                raise FormatError("a header has characters that no text has")
            http["headers"] = told
        context: dict[str, Any] = {"http": http}
        self._add_body(call, context)
        return {
            "subject": {"type": self.subject_type, "id": self.identity.find(call)},
            "action": {"name": asks.action},
            "resource": {"type": asks.type, "id": asks.id, "properties": {"host": host}},
            "context": context,
        }

    def _add_body(self, call: Proxied, context: dict[str, Any]) -> None:
        of_mcp = call.metadata.get(_MCP_FILTER)
        if isinstance(of_mcp, Mapping) and of_mcp.get("is_exceeding_limit"):
            raise FormatError("the body was too long for the proxy's MCP filter")
        if self.body == "none":
            return
        body = whole_body(call)
        if body is None:
            return
        if self.body == "json":
            _check_json(call.headers.get("content-type"))
            arguments = parse_any(body, "the body")
            if not isinstance(arguments, dict):
                raise FormatError("the body: expected a JSON object")
            context["arguments"] = arguments
        else:
            digest = f"sha256:{sha256(body).hexdigest()}"
            context["http"]["body"] = {"size": len(body), "digest": digest}


def _check_json(media_type: str | None) -> None:
    """Checks that the upstream, which goes by this type, reads JSON in UTF-8, as is done here.

    In another charset the same bytes are other JSON, and as a form other arguments. Raises
    FormatError if it does; nothing is wrong with a type that the proxy does not tell.
    """
    if media_type is None:
        return
    name, *parameters = media_type.split(";")
    charsets = [one for one in parameters if one.strip().lower().startswith("charset")]
    if not _JSON_TYPE.fullmatch(name.strip()) or not all(map(_UTF_8.fullmatch, charsets)):
        raise FormatError("the body: expected a Content-Type of JSON, in UTF-8")


def whole_body(call: Proxied) -> bytes | None:
    """The body of a request, all of it; None when there is none.

    Raises FormatError if the proxy has not sent it, or only a part: a missing body is no empty one.
    """
    body = call.body or b""
    partial = call.headers.get(PARTIAL)
    if partial not in {None, "false"}:
        raise FormatError("the body is longer than what the proxy sends of it")
    length = call.headers.get("content-length")
    if length is not None:
        if not (length.isascii() and length.isdecimal() and int(length[:20]) == len(body)):
            raise FormatError("the proxy has not sent the body")
    elif partial is None and call.method not in _BODILESS:
        raise FormatError("the proxy has not sent the body, if there is one")
    return body or None
