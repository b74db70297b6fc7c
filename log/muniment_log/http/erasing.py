"""``POST /erase`` on the administrative socket: what `muniment-log erase` asks for."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import Meta

from muniment.records.manifest import MANIFEST
from muniment.records.members import MAX_LABEL, MAX_REASON, AddendumDigest
from muniment.tlog.tiles import ENTRIES, TILE_WIDTH, check_bundle, tile_at
from muniment.tlog.treereader import read_entry
from muniment_log.core.erasable import Selection, Stored
from muniment_log.core.erasing import MOST, Eraser, NotErasableError
from muniment_log.core.naming import named_at, subject_key
from muniment_log.errors import LogError, PrunedError
from muniment_service.http import Problem, Request, Response, json_response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from muniment_log.storage.embedded import EmbeddedTiles

MAX_BODY: Final = 4 << 20

_NEAR: Final = 256  # entry bundles behind the leaves that the log had when an addendum came
_OUTCOME: Final = b'"kind":"outcome"'


class ErasureRequest(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What to erase: digests, what a record names, or what is a subject's.

    Attributes:
        by: who wants it.
        digests: SHA-256 of addenda in hexadecimal digits.
        record: leaf index of the record that names them.
        subject: type and id.
        before: only what the log took before, Unix seconds.
        reason: why.
        dry_run: list what would be erased, and erase nothing.
    """

    by: Annotated[str, Meta(min_length=1, max_length=MAX_LABEL)]
    digests: Annotated[tuple[AddendumDigest, ...], Meta(max_length=MOST)] = ()
    record: Annotated[int, Meta(ge=0)] | None = None
    subject: tuple[str, str] | None = None
    before: Annotated[int, Meta(ge=0)] | None = None
    reason: Annotated[str, Meta(min_length=1, max_length=MAX_REASON)] | None = None
    dry_run: bool = False


_decode: Final = msgspec.json.Decoder(ErasureRequest).decode


class Erasing:
    """Handler of the requests."""

    def __init__(self, eraser: Eraser, tiles: EmbeddedTiles) -> None:
        """Erases by an eraser; reads records out of the log's tree."""
        self._eraser = eraser
        self._tiles = tiles

    async def erase(self, request: Request) -> Response:
        """Erases, or lists what would be."""
        try:
            ask = _decode(await request.body(MAX_BODY))
        except msgspec.MsgspecError as error:
            reason = str(error)
            if "`$.digests" in reason:
                reason = "a digest is a SHA-256, 64 lower-case hexadecimal digits"
            raise Problem(400, "malformed", f"not a request to erase: {reason}") from error
        try:
            found = await self._eraser.select(await self._selection(ask))
            if ask.dry_run:
                return json_response({"addenda": await self._listed(found)})
            done = await self._eraser.erase(found, by=ask.by, reason=ask.reason)
        except LogError as error:
            raise Problem(409, "not-erased", str(error)) from error
        return json_response(done._asdict())

    async def _selection(self, ask: ErasureRequest) -> Selection:
        if bool(ask.digests) + (ask.record is not None) + (ask.subject is not None) != 1:
            raise Problem(400, "malformed", "give digests, a record or a subject")
        before = None if ask.before is None else ask.before * 1000
        if ask.subject is not None:
            return Selection((), subject_key(*ask.subject), before)
        if ask.record is None:
            return Selection(tuple(map(bytes.fromhex, ask.digests)), None, before)
        size = self._tiles.size()
        if ask.record >= size:
            raise NotErasableError(f"record {ask.record}: the log has {size} leaves")
        leaf = await read_entry(self._tiles, ask.record, size)
        named = {} if leaf.startswith(MANIFEST) else named_at(leaf)
        if not named:
            raise NotErasableError(f"record {ask.record}: names no addendum")
        return Selection(tuple(named), None, before, is_whole=False)

    async def _listed(self, found: Sequence[Stored]) -> list[dict[str, Any]]:
        places = await self._places(found)
        return [
            {
                "digest": one.digest.hex(),
                **dict(zip(("record", "pointer"), places.get(one.digest, ()), strict=False)),
                "size": one.size,
                "taken": one.time // 1000,
            }
            for one in found
        ]

    async def _places(self, found: Sequence[Stored]) -> dict[bytes, tuple[int, str]]:
        """Where records name addenda: leaf index and pointer."""
        places: dict[bytes, tuple[int, str]] = {}
        near = sorted((one.leaves // TILE_WIDTH, one.digest) for one in found)
        await self._look(near, _NEAR, places)
        # What was logged long before its addendum came.
        far = [(0, digest) for _, digest in near if digest not in places]
        await self._look(far, self._tiles.size() // TILE_WIDTH + 1, places)
        return places

    async def _look(
        self, wanted: Sequence[tuple[int, bytes]], most: int, places: dict[bytes, tuple[int, str]]
    ) -> None:
        """Looks for digests in so many entry bundles from the one that comes with each."""
        size = self._tiles.size()
        waiting = deque(wanted)
        looking: dict[bytes, int] = {}  # where to give up
        number = 0
        while waiting or looking:
            number = number if looking else max(number, waiting[0][0])
            while waiting and waiting[0][0] <= number:
                start, digest = waiting.popleft()
                looking[digest] = max(start, number) + most
            if number * TILE_WIDTH >= size:
                return
            tile = tile_at(ENTRIES, number, size)
            try:
                leaves = check_bundle(tile, (await self._tiles.read([tile]))[tile])
            except PrunedError as error:  # what named the addendum is in the archive
                number = error.size // TILE_WIDTH
                continue
            for index, leaf in enumerate(leaves, number * TILE_WIDTH):
                if not leaf.startswith(MANIFEST) and (b'"addenda"' in leaf or _OUTCOME in leaf):
                    for digest, pointer in named_at(leaf).items():
                        if looking.pop(digest, None) is not None:
                            places[digest] = index, pointer
            number += 1
            looking = {digest: end for digest, end in looking.items() if end > number}
