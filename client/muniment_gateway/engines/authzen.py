"""Any PDP that speaks AuthZEN 1.0; one that signs its answers is `muniment-gateway authority`."""

from typing import Any, Final

import msgspec

from muniment.http.client import HttpSession
from muniment.records.artifact import PolicyRef
from muniment.records.kinds import Signature
from muniment_gateway.authorities import Authority
from muniment_gateway.core.authzen import EVALUATION_PATH, OWN
from muniment_gateway.engines.http import ask_json, bearer
from muniment_gateway.engines.port import (
    Evaluation,
    JsonObject,
    NoAnswerError,
    PassedOn,
    as_recorded,
    response_of,
)

SIGN_PATH: Final = "/v1/sign"
"""Where an authority signs the record of a decision that it has answered."""

POLICY_PATH: Final = "/v1/policy"
"""Where it tells the policy in force."""


class AuthzenEngine:
    """A PDP at a base URL."""

    def __init__(self, authority: Authority, http: HttpSession) -> None:
        """Asks at the authority's URL."""
        self._name = authority.entry.name
        self._url = authority.url
        self._headers = bearer(authority.token)
        self._signs = authority.vkey is not None
        self._http = http

    async def evaluate(self, request: JsonObject, asked: PassedOn) -> Evaluation:
        """See `Engine`."""
        value = await ask_json(
            self._http,
            "POST",
            self._url + EVALUATION_PATH,
            as_recorded(request, self._name),
            {**asked.headers, **self._headers},
        )
        response = response_of(value, self._name)
        if not self._signs:
            return Evaluation(response)
        return self._signed(response)

    def _signed(self, response: JsonObject) -> Evaluation:
        """Takes what an authority of ours says of its answer out of it."""
        context = dict(response.get("context", {}))
        own = context.pop(OWN, None)
        if not (isinstance(own, dict) and isinstance(own.get("ticket"), str)):
            raise NoAnswerError(f"{self._name}: gave no ticket for its signature")
        response = {name: value for name, value in response.items() if name != "context"}
        if context:
            response["context"] = context
        return Evaluation(response, _policy(own.get("policy"), self._name), own["ticket"])

    async def policy(self) -> PolicyRef | None:
        """See `Engine`."""
        if not self._signs:
            return None
        value = await ask_json(self._http, "GET", self._url + POLICY_PATH, None, self._headers)
        return _policy(value, self._name)

    async def sign(self, ticket: str, record: bytes) -> Signature:
        """Has the authority sign the record of a decision; the signature is not verified here.

        Raises NoAnswerError if it does not.
        """
        body = msgspec.json.encode({"ticket": ticket, "record": record.decode("utf-8")})
        value = await ask_json(self._http, "POST", self._url + SIGN_PATH, body, self._headers)
        try:
            return msgspec.convert(value, Signature)
        except msgspec.ValidationError as error:
            raise NoAnswerError(f"{self._name}: no signature: {error}") from error


def _policy(value: Any, whose: str) -> PolicyRef | None:
    if value is None:
        return None
    try:
        return msgspec.convert(value, PolicyRef)
    except msgspec.ValidationError as error:
        raise NoAnswerError(f"{whose}: names no policy: {error}") from error
