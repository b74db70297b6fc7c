"""Who may ask: bearer tokens of configured clients (RFC 6750)."""

import hmac
from collections.abc import Mapping

from muniment_service.http import Problem, Request


class Clients:
    """The clients of one configuration."""

    def __init__(self, tokens: Mapping[str, str]) -> None:
        """Takes their names by token; without any, everybody may ask."""
        self._tokens = {token.encode(): name for token, name in tokens.items()}

    def name(self, request: Request) -> str:
        """The client that a request's token is of; empty when nobody has to show one.

        Raises Problem 401 without a token of the configuration.
        """
        if not self._tokens:
            return ""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            challenge = {"WWW-Authenticate": "Bearer"}
            raise Problem(401, "no-token", "a bearer token is needed", headers=challenge)
        given = token.strip().encode("utf-8", "surrogateescape")
        found = ""
        # All are compared, each in constant time: neither hit nor place shows in the duration.
        for known, name in self._tokens.items():
            if hmac.compare_digest(known, given):
                found = name
        if not found:
            challenge = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
            raise Problem(401, "bad-token", "the bearer token is not known", headers=challenge)
        return found
