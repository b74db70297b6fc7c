"""What a proxied request is about: its path, read in one way, and the routes that it may match.

A path that proxies and servers read differently (``//``, ``/../``, an encoded slash) would be
decided as one resource and answered as another. It is refused, unless the upstream is said to take
paths as they are.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from muniment.tlog.encoding import FormatError

MOST_TARGET: Final = 8 << 10
"""Longest path and query, in characters."""

_TARGET: Final = re.compile(r"/[!-~]*")
_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_AMBIGUOUS: Final = re.compile(
    # Empty and dotted segments, parameters of segments, backslashes; and of what may be encoded
    # slashes, backslashes, dots, the percent sign itself, and control characters.
    r"//|/\.{1,2}(?:/|\Z)|[\\;]|%(?:2[fFeE5]|5[cC]|[01][0-9A-Fa-f]|7[fF])"
)
_PLACE: Final = re.compile(r"\{([a-z][a-z0-9_]*)(\.\.\.)?\}")
_OWN: Final = ("method", "host", "path")


class RequestTarget(NamedTuple):
    """A path and a query; the path is decoded, unless paths are taken as they are."""

    path: str
    query: str


def read_target(text: str, *, exact: bool) -> RequestTarget:
    """Reads a request's target as the proxy has it; `exact` takes its path as it is.

    Raises FormatError if it is no path, too long, or one that is read in more than one way.
    """
    if len(text) > MOST_TARGET:
        raise FormatError(f"the path is longer than {MOST_TARGET} characters")
    path, _, query = text.partition("?")
    if not _TARGET.fullmatch(text) or "#" in text:
        raise FormatError("the path begins with no slash, or has characters that no path has")
    if exact:
        return RequestTarget(path, query)
    if _AMBIGUOUS.search(path) or _PERCENT.search(path):
        raise FormatError("the path can be read in more than one way")
    try:
        return RequestTarget(unquote_to_bytes(path).decode("utf-8"), query)
    except UnicodeDecodeError:
        raise FormatError("the path is no UTF-8") from None


class Asks(NamedTuple):
    """What is asked about a request: the action, and the resource."""

    action: str
    type: str
    id: str


@dataclass(frozen=True, slots=True)
class Route:
    """Requests of one kind, and what is asked about them.

    Attributes:
        methods: Methods; without any, all.
        host: The host, in lower case; empty for any.
        segments: Of the path: a text, or the name of what stands there, in braces. The last one
            may be a name with three dots: all that is left, which may be nothing.
        asks: Texts with names in braces: those of segments, and `method`, `host`, `path`.
    """

    methods: frozenset[str]
    host: str
    segments: tuple[str, ...]
    asks: Asks

    @classmethod
    def of(
        cls, path: str, asks: Asks, methods: frozenset[str] = frozenset(), host: str = ""
    ) -> "Route":
        """Makes a route of a path such as ``/tools/{tool}/call``.

        Raises ValueError if the path is none, or a text has a name that the path does not.
        """
        if not path.startswith("/"):
            raise ValueError("a path begins with a slash")
        segments = tuple(path[1:].split("/"))
        names = []
        for at, segment in enumerate(segments):
            found = _PLACE.fullmatch(segment)
            if found is None:
                if "{" in segment or "}" in segment:
                    raise ValueError(f"{segment}: expected {{name}} alone between slashes")
                continue
            if found[2] and at != len(segments) - 1:
                raise ValueError(f"{segment}: only the last one may be all that is left")
            names.append(found[1])
        if len({*names, *_OWN}) != len(names) + len(_OWN):
            raise ValueError("a name is there twice")
        known = {*names, *_OWN}
        for text in asks:
            for place in _PLACE.finditer(text):
                if place[1] not in known or place[2]:
                    raise ValueError(f"{place[0]} names no part of {path}")
        return cls(methods, host.lower(), segments, asks)

    def match(self, method: str, host: str, path: str) -> Asks | None:
        """What is asked about a request; None when it is of another kind."""
        if (self.methods and method not in self.methods) or (self.host and self.host != host):
            return None
        found: dict[str, str] = {}
        given = path[1:].split("/")
        for at, segment in enumerate(self.segments):
            place = _PLACE.fullmatch(segment)
            if place is not None and place[2]:
                found[place[1]] = "/".join(given[at:])
                given = given[:at]
                break
            if at >= len(given) or (place is None and given[at] != segment):
                return None
            if place is not None:
                if not given[at]:
                    return None
                found[place[1]] = given[at]
        if len(given) > len(self.segments):
            return None
        found |= {"method": method, "host": host, "path": path}
        return Asks(*(_filled(text, found) for text in self.asks))


def _filled(text: str, found: Mapping[str, str]) -> str:
    return _PLACE.sub(lambda place: found[place[1]], text)


DEFAULT: Final = Route.of("/{rest...}", Asks("{method}", "route", "{path}"))
"""What is asked about a request that no route matches."""
