"""``GET /addenda/<s0>/<s1>/<digest>``: what records withhold (C2SP draft tlog-addenda)."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from muniment.records.addenda import addendum_path
from muniment.tlog.encoding import FormatError
from muniment_log.core.addenda import Erased
from muniment_service.http import Problem, Request, Response

if TYPE_CHECKING:
    from muniment_log.core.addenda import AddendaPort
    from muniment_log.http.access import AccessControl

_BYTES: Final = "application/octet-stream"
_LONG: Final = 256 << 10  # bytes that take the event loop's time to hash


class AddendaReads:
    """Handler of the reads."""

    def __init__(self, access: AccessControl, addenda: AddendaPort) -> None:
        self._access = access
        self._addenda = addenda

    async def addendum(self, request: Request) -> Response:
        """The bytes of a digest; no cache keeps them, so that they can be erased."""
        if request.query:
            raise Problem(400, "bad-query", "addenda take no parameters")
        digest = request.path.rpartition("/")[2]
        try:
            if request.path != f"/{addendum_path(digest)}":
                raise FormatError("other directories than those of the digest")
        except FormatError as error:
            raise Problem(404, "not-found", f"no addendum has this path: {error}") from None
        found = await self._addenda.read(bytes.fromhex(digest))
        if found is None:
            raise Problem(404, "no-addendum", "this log has no addendum of this digest")
        if isinstance(found, Erased):
            members: dict[str, Any] = {"erased": found.time}
            if found.record is not None:
                members["record"] = found.record
            raise Problem(410, "erased", "this addendum was erased", members=members)
        if not await _is_of(found, digest):
            raise Problem(
                500,
                "damaged-addendum",
                "what is stored of this addendum is damaged; see `muniment-log check`",
            )
        headers = (
            {"Access-Control-Allow-Origin": "*"} if self._access.admission.opens_addenda else {}
        )
        return Response(200, found, _BYTES, headers)


async def _is_of(data: bytes, digest: str) -> bool:
    """Whether bytes are those of a digest: damaged, they may be of another addendum."""
    hashed = await asyncio.to_thread(sha256, data) if len(data) > _LONG else sha256(data)
    return hashed.hexdigest() == digest
