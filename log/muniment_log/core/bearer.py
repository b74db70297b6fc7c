"""Bearer tokens (RFC 6750): kept as hashes, compared in constant time, some with an end."""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from muniment_log.errors import LogError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class BadTokenError(LogError):
    """The bearer token is not a configured one, or has expired."""


class Token(NamedTuple):
    """One token.

    Attributes:
        digest: SHA-256 of the token.
        holder: whom it speaks for: a producer, or the name of a reader.
        expires: when it ends, Unix seconds; None for never.
    """

    digest: bytes
    holder: str
    expires: float | None = None


class Tokens:
    """The tokens of one kind.

    Attributes:
        holders: whom they speak for.
    """

    def __init__(self, tokens: Sequence[Token] = ()) -> None:
        self._tokens = tuple(tokens)
        self.holders = frozenset(token.holder for token in tokens)

    def __iter__(self) -> Iterator[Token]:
        """The tokens, as hashes."""
        return iter(self._tokens)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._tokens)

    def holder(self, token: str, now: float) -> str:
        """Whom a token speaks for at a time in Unix seconds.

        Raises BadTokenError if it is nobody's, or nobody's any more.
        """
        digest = sha256(token.encode("utf-8", "surrogateescape")).digest()
        found: Token | None = None
        # All are compared, each in constant time: neither hit nor place shows in the duration.
        for known in self._tokens:
            if hmac.compare_digest(known.digest, digest):
                found = known
        if found is None:
            raise BadTokenError("the bearer token is not known")
        if found.expires is not None and now >= found.expires:
            raise BadTokenError("the bearer token has expired")
        return found.holder


NONE: Final = Tokens()
"""No tokens at all."""
