"""Cerbos, a PDP that speaks AuthZEN, with the policies as its Admin API tells them.

Its AuthZEN answers name no policy. The digest is that of all policies and schemas which Cerbos has
loaded, wherever from, without their metadata: the same policies from a disk and from Git are one.
It is read again every ten seconds; without the Admin API the policy is the configured one.
"""

import asyncio
import base64
import time
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from muniment.http.client import HttpSession
from muniment.records.artifact import PolicyRef
from muniment.records.canonical import encode_canonical
from muniment.tlog.encoding import FormatError
from muniment_gateway.authorities import Authority
from muniment_gateway.engines.authzen import AuthzenEngine
from muniment_gateway.engines.http import ask_json
from muniment_gateway.engines.port import Evaluation, JsonObject, NoAnswerError, PassedOn

if TYPE_CHECKING:
    from collections.abc import Sequence

POLICY_SECONDS: Final = 10.0
"""How long a digest of the policies is believed."""

MAX_POLICIES: Final = 16 << 20
"""Bytes of one answer of the Admin API."""

AT_ONCE: Final = 40
"""Policies that are asked for in one request: their names are in its URL."""

_PARTS: Final = {
    "subject": ("type", "id", "properties"),
    "action": ("name", "properties"),
    "resource": ("type", "id", "properties"),
}


class CerbosEngine:
    """The Cerbos at a base URL, that of its HTTP listener."""

    def __init__(self, authority: Authority, http: HttpSession) -> None:
        """Asks at the authority's URL."""
        self._name = authority.entry.name
        self._admin = f"{authority.url}/admin"
        self._login = authority.login
        self._authzen = AuthzenEngine(authority, http)
        self._http = http
        self._known: tuple[PolicyRef, float] | None = None  # when it was read
        self._reading = asyncio.Lock()

    async def evaluate(self, request: JsonObject, asked: PassedOn) -> Evaluation:
        """See `Engine`."""
        found = await self._authzen.evaluate(known_members(request), asked)
        return found._replace(policy=await self.policy())

    async def policy(self) -> PolicyRef | None:
        """See `Engine`."""
        if self._login is None:
            return None
        async with self._reading:
            now = time.monotonic()
            if self._known is None or now - self._known[1] > POLICY_SECONDS:
                self._known = (await self._read(), now)
            return self._known[0]

    async def _read(self) -> PolicyRef:
        policies = await self._all("policies", "policyIds", "policy", "policies")
        schemas = await self._all("schemas", "schemaIds", "schema", "schemas")
        try:
            sources = {_source(one) for one in policies}
            told = {
                "policies": sorted(encode_canonical(_bare(one)).decode() for one in policies),
                "schemas": sorted(encode_canonical(one).decode() for one in schemas),
            }
        except (FormatError, AttributeError, TypeError) as error:
            raise NoAnswerError(f"{self._name}: lists no policies: {error}") from error
        digest = sha256(encode_canonical(told)).hexdigest()
        return PolicyRef(
            id=":".join(["cerbos", *sorted(sources)])[:2048],
            revision=digest[:12],
            digest=f"sha256:{digest}",
        )

    async def _all(self, listing: str, ids: str, one: str, members: str) -> list[Any]:
        """All policies or schemas: their names are listed, and then asked for."""
        listed = await self._asked(f"{self._admin}/{listing}")
        names = listed.get(ids, [])
        if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
            raise NoAnswerError(f"{self._name}: lists no {listing}")
        found: list[Any] = []
        for start in range(0, len(names), AT_ONCE):
            some: Sequence[str] = names[start : start + AT_ONCE]
            query = "&".join(f"id={quote(name, safe='')}" for name in some)
            given = (await self._asked(f"{self._admin}/{one}?{query}")).get(members)
            if not isinstance(given, list) or len(given) != len(some):
                raise NoAnswerError(f"{self._name}: does not give all {listing} that it lists")
            found += given
        return found

    async def _asked(self, url: str) -> dict[str, Any]:
        assert self._login is not None  # noqa: S101 - whoever asks has looked
        header = base64.b64encode(self._login.encode()).decode()
        headers = {"Authorization": f"Basic {header}"}
        value = await ask_json(self._http, "GET", url, None, headers, most=MAX_POLICIES)
        if not isinstance(value, dict):
            raise NoAnswerError(f"{self._name}: the answer is no JSON object")
        return value


def known_members(request: JsonObject) -> JsonObject:
    """A request without the members that AuthZEN does not define.

    Cerbos refuses them, where AuthZEN wants them ignored.
    """
    known = {
        part: {name: request[part][name] for name in names if name in request[part]}
        for part, names in _PARTS.items()
    }
    return {**known, "context": request["context"]} if "context" in request else known


def _bare(policy: Any) -> dict[str, Any]:
    return {name: value for name, value in policy.items() if name != "metadata"}


def _source(policy: Any) -> str:
    """Where Cerbos has a policy from: the driver of its storage."""
    attributes = policy.get("metadata", {}).get("sourceAttributes", {}).get("attributes", {})
    return str(attributes.get("driver", "unknown"))
