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
        given = request.headers.get("Authorization", "")
        found = self.find(given)
        if found is None:
            bad = "" if not _token(given) else ' error="invalid_token"'
            slug, text = (
                ("bad-token", "the bearer token is not known")
                if bad
                else ("no-token", "a bearer token is needed")
            )
            raise Problem(401, slug, text, headers={"WWW-Authenticate": f"Bearer{bad}"})
        return found

    def find(self, authorization: str) -> str | None:
        """The client that a header Authorization is of; empty without clients, None for nobody."""
        if not self._tokens:
            return ""
        token = _token(authorization)
        if not token:
            return None
        given = token.encode("utf-8", "surrogateescape")
        found = None
        # All are compared, each in constant time: neither hit nor place shows in the duration.
        for known, name in self._tokens.items():
            if hmac.compare_digest(known, given):
                found = name
        return found


def _token(authorization: str) -> str:
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
