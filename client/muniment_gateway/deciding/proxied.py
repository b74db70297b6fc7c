"""Deciding for proxies: one question about each request, and one of two answers.

A proxy lets a request through or does not; nothing else may come of it. An allow carries the permit
for the upstream, when it fits into a header; a denial is a problem for the client (RFC 9457), which
names the codes and the record, and not what goes wrong in here.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from muniment.permit.header import EVALUATION_HEADER, PERMIT_HEADER, format_header
from muniment.records.addenda import ARGUMENTS
from muniment.records.submission import is_traceparent
from muniment.tlog.encoding import FormatError
from muniment_gateway.core.proxied import Proxied
from muniment_gateway.deciding.counts import Counts
from muniment_gateway.deciding.decider import Decider
from muniment_gateway.deciding.decisions import Decided, RequestDetails
from muniment_gateway.engines.port import PassedOn
from muniment_gateway.proxytable import Proxy
from muniment_service.http import PROBLEM_PREFIX

CLIENT_HEADER: Final = "Muniment-Client"
"""The header with a proxy's own token, where `Authorization` is its client's."""

OWN_HEADERS: Final = (PERMIT_HEADER, EVALUATION_HEADER, CLIENT_HEADER)
"""What no client may send on to the upstream."""

_HTTP: Final = "/request/context/http"
_WITHHELD: Final = (ARGUMENTS, f"{_HTTP}/query", f"{_HTTP}/headers")
_PASSED_ON: Final = ("x-request-id", "traceparent", "tracestate")
_MOST_PASSED: Final = 512


@dataclass(frozen=True, slots=True)
class ProxyAnswer:
    """What a proxy is told.

    Attributes:
        allows: Whether the request may pass.
        headers: Headers of the request that goes on, or of the denial.
        body: The denial, as problem+json.
    """

    allows: bool
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""

    @property
    def removed(self) -> tuple[str, ...]:
        """Headers that the upstream must not get, whoever has sent them."""
        return tuple(name for name in OWN_HEADERS if name not in self.headers)


class ProxyDecider:
    """Answers one proxy, by one configuration.

    Attributes:
        proxy: Which.
    """

    def __init__(self, proxy: Proxy, decider: Decider, counts: Counts, *, signed: bool) -> None:
        """Decides by `decider`; with `signed` answers of authorities, nothing is withheld."""
        self.proxy = proxy
        self._decider = decider
        self._answers = counts.proxied
        self._seconds = counts.proxied_seconds.labels(proxy.table.name)
        self._too_long = counts.permits_too_long.labels(proxy.table.name)
        # Who signs what it was asked would sign nothing that is withheld.
        self._withheld = () if signed else _WITHHELD

    async def answer(self, proxied: Proxied, client: str) -> ProxyAnswer:
        """Decides about a request that a proxy tells of, as a client of the gateway."""
        started = time.perf_counter()
        call = self._call(proxied.headers, client)
        try:
            request = self.proxy.rules.request(proxied)
        except FormatError as error:
            shown = {"context": {"http": _outline(self.proxy.table.name, proxied)}}
            decided = await self._decider.refuse(shown, call, str(error))
            answer = self._denial(decided, "malformed", str(error))
        else:
            decided = await self._decider.decide(request, call)
            answer = self._allow(decided) if decided.decision else self._denial(decided)
        self._seconds.observe(time.perf_counter() - started)
        return answer

    async def refuse(self, what: str, client: str) -> ProxyAnswer:
        """Denies what could not be read, and records that."""
        shown = {"context": {"http": {"proxy": self.proxy.table.name}}}
        decided = await self._decider.refuse(shown, self._call({}, client), what)
        return self._denial(decided, "malformed", what)

    def turn_away(self, slug: str, detail: str) -> ProxyAnswer:
        """Denies who may not ask; nothing is recorded for strangers."""
        self._answers.labels(self.proxy.table.name, "refused").inc()
        return ProxyAnswer(allows=False, headers=_PROBLEM, body=_problem(slug, detail, {}))

    def _call(self, headers: Mapping[str, str], client: str) -> RequestDetails:
        passed = {
            name: value
            for name in _PASSED_ON
            if (value := headers.get(name)) and value.isprintable() and value.isascii()
            and len(value) <= _MOST_PASSED
        }  # fmt: skip
        trace = passed.get("traceparent")
        return RequestDetails(
            client,
            self.proxy.table.kind,
            PassedOn(passed),
            trace if is_traceparent(trace) else None,
            withheld=self._withheld,
            patience=0.0,  # a proxy's clients ask again, and have no access requests
        )

    def _allow(self, decided: Decided) -> ProxyAnswer:
        self._answers.labels(self.proxy.table.name, "allow").inc()
        own = decided.own
        headers = {EVALUATION_HEADER: str(own["evaluation_id"])}
        permit = own.get("permit")
        most = self.proxy.table.permit_header_bytes
        if isinstance(permit, str) and most:
            value = format_header(str(own["execution"]), permit)
            if len(value) <= most:
                headers[PERMIT_HEADER] = value
            else:
                self._too_long.inc()
        return ProxyAnswer(allows=True, headers=headers)

    def _denial(self, decided: Decided, slug: str = "denied", detail: str = "") -> ProxyAnswer:
        self._answers.labels(self.proxy.table.name, "deny").inc()
        told: dict[str, Any] = {"evaluation_id": decided.own["evaluation_id"]}
        told["codes"] = decided.own.get("codes", [])
        if "approval" in decided.own:
            told["approval"] = decided.own["approval"]
        detail = detail or "the request is not allowed, or nobody could decide it"
        return ProxyAnswer(allows=False, headers=_PROBLEM, body=_problem(slug, detail, told))


_PROBLEM: Final = {"Content-Type": "application/problem+json", "Cache-Control": "no-store"}


def _problem(slug: str, detail: str, members: Mapping[str, Any]) -> bytes:
    title = slug.replace("-", " ").capitalize()
    return msgspec.json.encode(
        {"type": PROBLEM_PREFIX + slug, "title": title, "status": 403, "detail": detail, **members}
    )


def _outline(proxy: str, proxied: Proxied) -> dict[str, str]:
    """What is recorded of a request that no question could be made of."""
    return {
        "proxy": proxy,
        "method": proxied.method[:40],
        "host": proxied.host[:300],
        "path": proxied.target.partition("?")[0][:1000],
    }
