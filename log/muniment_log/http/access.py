"""Who may do what over HTTP: bearer tokens in requests, and reads that need one (RFC 6750)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from multidict import istr

from muniment_log.core.bearer import BadTokenError, Tokens
from muniment_service.http import Problem, Request, Response

if TYPE_CHECKING:
    from muniment_log.core.ingest import Admission
    from muniment_service.http import Handler


class AccessControl:
    """What lets requests in; the admission may be replaced while the log serves."""

    def __init__(self, admission: Admission) -> None:
        self.admission = admission

    def producer(self, request: Request) -> str:
        """The producer that a request's token speaks for.

        Raises Problem 401 without a token that is valid now.
        """
        return _holder(request, self.admission.tokens)

    def reading(self, handler: Handler) -> Handler:
        """A handler that asks for a read token as long as the log has any."""

        async def guarded(request: Request) -> Response:
            if not self.admission.readers:
                return await handler(request)
            _holder(request, self.admission.readers)
            response = await handler(request)
            cache = response.headers.get("Cache-Control", "")
            # A shared cache must not hand on what it was given for a token (RFC 9111 section 3.5).
            headers = {**response.headers, "Cache-Control": cache.replace("public", "private")}
            if not cache:
                headers.pop("Cache-Control")
            return Response(response.status, response.body, response.content_type, headers)

        return guarded

    def reading_addenda(self, handler: Handler) -> Handler:
        """A handler that asks for a token with the scope `addenda`, unless everybody may read."""

        async def guarded(request: Request) -> Response:
            admission = self.admission
            if not admission.opens_addenda:
                try:
                    _holder(request, admission.addenda_readers)
                except Problem:
                    _holder(request, admission.readers)
                    raise Problem(
                        403, "wrong-scope", "this token is not for addenda", headers=_SCOPE
                    ) from None
            return await handler(request)

        return guarded

    def reading_tiles(self, handler: Handler) -> Handler:
        """The same for C2SP reads, when the log protects those, too."""
        guarded = self.reading(handler)

        async def either(request: Request) -> Response:
            protected = self.admission.protects_tiles
            return await (guarded if protected else handler)(request)

        return either


_SCOPE: Final = {"WWW-Authenticate": 'Bearer error="insufficient_scope"'}


_AUTHORIZATION: Final = istr("Authorization")


def _holder(request: Request, tokens: Tokens) -> str:
    scheme, _, token = request.headers.get(_AUTHORIZATION, "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        challenge = {"WWW-Authenticate": "Bearer"}
        raise Problem(401, "no-token", "a bearer token is needed", headers=challenge)
    try:
        return tokens.holder(token.strip(), time.time())
    except BadTokenError as error:
        challenge = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
        raise Problem(401, "bad-token", str(error), headers=challenge) from error
