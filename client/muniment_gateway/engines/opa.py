"""OPA's Data API. Its bundles' revisions come with every answer, by ``provenance``.

The digest of the policy is that of its modules' sources (``GET /v1/policies``), read again whenever
the revisions are others, and every half a minute: a policy that is not from a bundle has none.
"""

import asyncio
import time
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlsplit

from muniment.http.client import HttpSession
from muniment.records.artifact import PolicyRef
from muniment.records.canonical import encode_canonical
from muniment.records.members import MAX_LABEL
from muniment.tlog.encoding import FormatError
from muniment_gateway.authorities import Authority
from muniment_gateway.core.authzen import check_request
from muniment_gateway.core.pointers import resolve
from muniment_gateway.engines.http import ask_json, bearer
from muniment_gateway.engines.port import (
    Evaluation,
    JsonObject,
    NoAnswerError,
    PassedOn,
    UnfitError,
    as_recorded,
)

POLICY_SECONDS: Final = 30.0
"""How long a digest of the modules is believed while the revisions stay the same."""

MAX_MODULES: Final = 32 << 20
"""Bytes of the list of all modules with their sources and syntax trees."""

DATA_PREFIX: Final = "/v1/data/"

RULE: Final = "opa.rule"
"""The type of the resource of a request that is a query of a rule."""


class OpaEngine:
    """The rule at a URL of OPA's Data API."""

    def __init__(self, authority: Authority, http: HttpSession) -> None:
        """Asks at the authority's URL."""
        self._name = authority.entry.name
        self._url = authority.url
        parts = urlsplit(self._url)
        self._base = f"{parts.scheme}://{parts.netloc}"
        self._path = parts.path.removeprefix(DATA_PREFIX)
        self._decision = authority.entry.decision
        self._headers = bearer(authority.token)
        self._http = http
        self._digest: tuple[str, str, float] | None = None  # revision, digest, when read
        self._reading = asyncio.Lock()

    async def evaluate(self, request: JsonObject, asked: PassedOn) -> Evaluation:
        """See `Engine`."""
        value = await self._ask(input_of(request), asked)
        if "result" not in value:
            raise UnfitError(f"{self._name}: the rule is undefined for this input")
        response = response_of_result(value["result"], self._decision, self._name)
        return Evaluation(response, await self._policy_of(value), raw=value)

    async def _ask(self, input_: Any, asked: PassedOn) -> dict[str, Any]:
        query = "&".join(one for one in ("provenance=true", asked.query) if one)
        value = await ask_json(
            self._http,
            "POST",
            f"{self._url}?{query}",
            as_recorded({"input": input_}, self._name),
            {**asked.headers, **self._headers},
        )
        if not isinstance(value, dict):
            raise NoAnswerError(f"{self._name}: the answer is no JSON object")
        return value

    async def policy(self) -> PolicyRef | None:
        """See `Engine`."""
        value = await ask_json(
            self._http,
            "POST",
            f"{self._base}/v1/data/system/version?provenance=true",
            b"{}",
            self._headers,
        )
        return await self._policy_of(value if isinstance(value, dict) else {})

    async def _policy_of(self, answer: dict[str, Any]) -> PolicyRef:
        """The policy by which OPA has given an answer."""
        revision = _revision(answer)
        digest = self._known_digest(revision)
        if digest is None:
            async with self._reading:  # the list may be long: of many decisions one reads it
                digest = self._known_digest(revision)
                if digest is None:
                    now = time.monotonic()
                    digest = await self._read_digest()
                    self._digest = (revision, digest, now)
        return PolicyRef(id=self._path or "data", revision=revision or digest[7:19], digest=digest)

    def _known_digest(self, revision: str) -> str | None:
        known = self._digest
        if known is None or known[0] != revision or time.monotonic() - known[2] > POLICY_SECONDS:
            return None
        return known[1]

    async def _read_digest(self) -> str:
        value = await ask_json(
            self._http,
            "GET",
            f"{self._base}/v1/policies",
            None,
            self._headers,
            most=MAX_MODULES,
        )
        try:
            sources = {one["id"]: one["raw"] for one in value["result"]}
            text = encode_canonical(sources)
        except (KeyError, TypeError, ValueError) as error:
            raise NoAnswerError(f"{self._name}: lists no policies: {error!r}") from error
        return f"sha256:{sha256(text).hexdigest()}"


def request_of(rule: str, input_: Any, client: str) -> JsonObject:
    """An AuthZEN request for a query of a rule; `input_of` gives the input back.

    An input that is an AuthZEN request is that. Of any other one nobody can tell who asks for what,
    so the subject is the client, and the resource the rule.
    """
    try:
        request = check_request(input_)
    except FormatError:
        pass
    else:
        if request["resource"]["type"] != RULE:
            return request
    return {
        "subject": {"type": "client", "id": client or "anonymous"},
        "action": {"name": "query"},
        "resource": {"type": RULE, "id": rule},
        "context": {"input": input_},
    }


def input_of(request: JsonObject) -> Any:
    """The input of OPA for an AuthZEN request."""
    if request["resource"]["type"] != RULE:
        return request
    return request.get("context", {}).get("input")


def response_of_result(result: Any, decision: str, whose: str) -> JsonObject:
    """The AuthZEN response of a rule's result, whose boolean is where the pointer says.

    Raises UnfitError if there is no boolean.
    """
    try:
        found = resolve(result, decision)
    except LookupError:
        raise UnfitError(f"{whose}: the result has nothing at {decision}") from None
    if not isinstance(found, bool):
        raise UnfitError(f"{whose}: {decision or 'the result'} is not a boolean")
    response: JsonObject = {"decision": found}
    context = result.get("context") if isinstance(result, dict) else None
    if isinstance(context, dict):
        response["context"] = context
    return response


def _revision(answer: dict[str, Any]) -> str:
    """The revisions of OPA's bundles, as one text; empty without any."""
    provenance = answer.get("provenance")
    bundles = provenance.get("bundles") if isinstance(provenance, dict) else None
    if not isinstance(bundles, dict):
        return ""
    found = {
        str(name): str(one["revision"])
        for name, one in bundles.items()
        if isinstance(one, dict) and one.get("revision")
    }
    text = ",".join(f"{name}={found[name]}" for name in sorted(found))
    return text if len(text) <= MAX_LABEL else f"sha256:{sha256(text.encode()).hexdigest()}"
