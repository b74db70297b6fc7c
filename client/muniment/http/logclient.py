"""C2SP tlog-tiles reads and the ``/v1`` calls of one log, over HTTP: thin, bounded, without trust.

Nothing that this module returns is verified beyond its form; `logrequests` bounds each answer, and
makes errors of `muniment.errors` of all that may go wrong.
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from hashlib import sha256
from itertools import chain
from typing import Final, Literal, Self
from urllib.parse import quote, urlencode

from muniment.errors import BadAnswer, Refused
from muniment.http.access import Access
from muniment.http.loganswers import (
    ConsistencyAnswer,
    FoundRecords,
    KeySeen,
    LogReceipt,
    StreamHead,
    decode_answer,
    decode_hashes,
)
from muniment.http.logrequests import LogRequests
from muniment.http.servedtiles import ServedTiles
from muniment.records.addenda import addendum_path
from muniment.records.batchbody import join_body
from muniment.records.commitments import MAX_ADDENDUM
from muniment.tlog import sumdb
from muniment.tlog.encoding import FormatError, MunimentError
from muniment.tlog.note import MAX_NOTE_SIZE
from muniment.tlog.tiles import COSIGNED, MIRRORED, Tile

DEFAULT_TIMEOUT: Final = 30.0
"""Seconds for one request, from the connection to the last byte of the answer."""

CATCH_UP_PAUSES: Final = (0.5, 1.5, 3.0)
"""Seconds to wait, one after the other, for a copy of a log (a mirror, another frontend, a cache)
that is behind the one that showed the head."""

_MAX_JSON: Final = 64 * 1024
_MAX_ENTRY_ANSWER: Final = 65_535
# A published receipt carries up to MAX_PROOF hashes (47 bytes each in JSON) a record.
_MAX_PUBLISHED: Final = 64 * 1024 * 1024
# A hundred records of the largest size.
_MAX_FOUND: Final = 100 * (_MAX_ENTRY_ANSWER + 100)
_MAX_PROOF_ANSWER: Final = 2 * MAX_NOTE_SIZE
_MAX_INDEX_PROOF: Final = 32 << 20
# A longer query goes in the body: servers and proxies bound the first line.
_MAX_QUERY: Final = 6 * 1024
_FIRST_PAUSE: Final = 0.1


class LogClient:
    """An HTTP client of one log; use it as an async context manager.

    Its calls raise ``Unreachable`` if no answer came, ``Refused`` if the log answered with an error
    (it does not have what was asked for, say), and ``BadAnswer`` if the answer is not of the
    protocol.

    Args:
        url: The log's base URL (http or https).
        timeout: Seconds for one request.
        connections: Most connections open at the same time; and as many beside them for
            ``tiles_in_turn``.
        access: CA, client certificate and read token; by default the environment's.
        pauses: Seconds to wait, one after the other, for a tile that is not there yet, or for a
            checkpoint that is not too old; None for CATCH_UP_PAUSES.

    Raises:
        ValueError: If the URL is not one.
        InputError: If what the environment names cannot be used, or the read token would travel
            without TLS.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        connections: int = 16,
        access: Access | None = None,
        pauses: Sequence[float] | None = None,
    ) -> None:
        self._requests = LogRequests(
            url, timeout=timeout, connections=connections, access=access, pause=_FIRST_PAUSE
        )
        self.url = self._requests.url
        self.pauses = tuple(CATCH_UP_PAUSES if pauses is None else pauses)
        self._tiles = ServedTiles(self.url, self._requests.read, self.pauses)

    async def __aenter__(self) -> Self:
        self._requests.open()
        return self

    @property
    def is_local(self) -> bool:
        """Whether whoever answers is on this machine."""
        return self._requests.is_local

    @property
    def connections(self) -> int:
        """Most connections that are open at the same time, for each way of asking."""
        return self._requests.connections

    def limit_connections(self, most: int) -> None:
        """Opens no more connections than that, from the first request on."""
        self._requests.limit_connections(most)

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections; safe to call twice."""
        await self._requests.close()

    # Reads (C2SP tlog-tiles)

    async def checkpoint(self) -> bytes:
        """Reads ``/checkpoint``: the newest published checkpoint, a signed note, unverified.

        Where there is none, ``/latest``: Go's checksum database has the same under other paths.
        """
        data = await self._latest() if self._tiles.is_sumdb else await self._checkpoint()
        self._tiles.show(data)
        return data

    async def _checkpoint(self) -> bytes:
        try:
            return await self._requests.read("/checkpoint", limit=MAX_NOTE_SIZE)
        except Refused as refusal:
            if refusal.problem.status != 404 or refusal.problem.is_own:
                raise
            with suppress(MunimentError):
                data = await self._requests.once(f"/{sumdb.LATEST}", limit=MAX_NOTE_SIZE)
                if sumdb.is_latest(data):
                    self._tiles.is_sumdb = True
                    return data
            raise

    async def _latest(self) -> bytes:
        return await self._requests.read(f"/{sumdb.LATEST}", limit=MAX_NOTE_SIZE)

    async def cosigned_checkpoint(self) -> bytes | None:
        """Reads ``/checkpoint.cosigned``: the newest that rated witnesses cosigned, unverified.

        None when the log has none: no such witnesses, or it is none of ours.
        """
        return await self._if_there(COSIGNED)

    async def newest_mirrored(self) -> bytes | None:
        """Reads ``/checkpoint.mirrored``: the newest whose leaves mirrors hold, unverified.

        None when the log has none: no mirrors, or it is none of ours.
        """
        return await self._if_there(MIRRORED)

    async def _if_there(self, path: str) -> bytes | None:
        try:
            return await self._requests.read(f"/{path}", limit=MAX_NOTE_SIZE)
        except Refused as refusal:
            if refusal.problem.status != 404:
                raise
            return None

    async def mirrored_checkpoint(self, size: int, seconds: float) -> bytes:
        """As `newest_mirrored`, once, of a tree of at least `size` leaves.

        A log waits up to `seconds` for it, and refuses with 503 if there is none then; a copy of
        static files gives what is there.
        """
        data = await self._requests.once(
            f"/{MIRRORED}?size={size}&timeout={seconds:.3f}",
            limit=MAX_NOTE_SIZE,
            timeout=self._requests.timeout + seconds,
        )
        self._tiles.show(data)
        return data

    async def tile(self, tile: Tile) -> bytes:
        """Reads a hash tile (32 bytes a hash) or an entry bundle; see `ServedTiles.read`."""
        return await self._tiles.read(tile)

    @property
    def asks_in_turn(self) -> bool:
        """Whether ``tiles_in_turn`` asks for anything: of logs on this machine, by usual paths."""
        return self.is_local and self._tiles.has_usual_paths and self._requests.takes_several

    def ask_one_by_one(self) -> None:
        """Asks for nothing in turn any more."""
        self._requests.takes_several = False

    async def tiles_in_turn(self, tiles: Sequence[Tile]) -> list[bytes | None]:
        """Reads tiles as ``tile`` does, over each connection several in turn, where that is likely.

        That is on this machine: elsewhere somebody between may confuse the answers. Here, too, if
        it is a tunnel or a proxy: what turns out wrong is to be read again by ``tile``, which has
        other connections. So is what did not come, for which None stands.
        """
        if not self.asks_in_turn:
            return [None] * len(tiles)
        step = -(-len(tiles) // self.connections)
        parts = [tiles[at : at + step] for at in range(0, len(tiles), step)]
        read = await asyncio.gather(
            *[self._requests.in_turn([*map(self._tiles.request, part)]) for part in parts]
        )
        found = zip(tiles, chain.from_iterable(read), strict=True)
        return [
            data if data is not None and self._tiles.fits(tile, data) else None
            for tile, data in found
        ]

    # The service API

    async def stream(self, key_name: str, label: str) -> StreamHead:
        """Reads where a stream stands; ``Refused`` if the log does not know the gateway."""
        path = f"/v1/streams/{quote(key_name, safe='')}/{quote(label, safe='')}"
        head = decode_answer(
            await self._requests.read(path, limit=_MAX_JSON), StreamHead, "stream head"
        )
        try:
            _ = head.previous
        except FormatError as error:
            raise BadAnswer(str(error)) from None
        if head.next < 0:
            raise BadAnswer("stream head: next is negative")
        return head

    async def knows(self, kind: Literal["decision", "execution", "key"], id_: str) -> bool | None:
        """Asks the log's index whether it has something on a decision or run, or signed by a key.

        None when it cannot tell: an index that an older version began does not know all keys.
        ``Refused`` if the log keeps no index, or it cannot be asked now.
        """
        name = quote(id_, safe="")
        if kind == "key":
            seen = decode_answer(
                await self._requests.read(f"/v1/keys/{name}", limit=_MAX_JSON), KeySeen, "key"
            )
            return True if seen.index is not None else None if seen.first else False
        path = f"/v1/{kind}s/{name}?limit=1"
        return bool(
            decode_answer(
                await self._requests.read(path, limit=_MAX_FOUND), FoundRecords, kind
            ).records
        )

    async def find(self, **parameters: str | int) -> FoundRecords:
        """Asks the log's index for decisions, by the parameters of ``GET /v1/decisions``."""
        path = f"/v1/decisions?{urlencode(parameters)}"
        return decode_answer(
            await self._requests.read(path, limit=_MAX_FOUND), FoundRecords, "decisions"
        )

    async def submit_batch(
        self,
        body: bytes,
        *,
        addenda: Iterable[bytes] = (),
        published: float | None = None,
        timeout: float = DEFAULT_TIMEOUT,  # noqa: ASYNC109 - handed on
    ) -> LogReceipt:
        """Posts a batch of ``build_batch``, once. Repeating it with the same bytes is always safe.

        The log keeps the `addenda`, each of which a record of the batch names; they may be left out
        when the batch is repeated. With ``published`` it waits so many seconds for the cosigned
        checkpoint that covers the batch.

        Raises:
            FormatError: If the addenda are too many or too long; nothing was sent.
            Unreachable: If no whole answer came; the batch may be logged all the same.
            Refused: If the log answered with an error. A problem ``not-published`` carries the
                receipt of the durable batch in its member ``receipt``.
            BadAnswer: If the answer is not a receipt.
        """
        query = "" if published is None else f"?wait=published&timeout={published:g}"
        data = await self._requests.once(
            f"/v1/batches{query}",
            limit=_MAX_JSON if published is None else _MAX_PUBLISHED,
            body=join_body(body, addenda),
            timeout=timeout,
        )
        return decode_answer(data, LogReceipt, "receipt")

    async def addendum(self, digest: str) -> bytes:
        """Reads the addendum that a record names by its SHA-256, 64 lower-case hexadecimal digits.

        Its digest is verified; that a record names it is for the caller to know.

        Raises:
            FormatError: If the digest is none.
            Refused: If the log does not have it (404), has erased it (410), or its read token may
                not read addenda (403).
            BadAnswer: If what came has another digest.
        """
        path = f"/{addendum_path(digest)}"
        data = await self._requests.read(path, limit=MAX_ADDENDUM)
        if sha256(data).hexdigest() != digest:
            raise BadAnswer(f"{path}: other bytes than those of this digest")
        return data

    async def entry(self, index: int) -> bytes:
        """Reads the leaf at an index, unverified."""
        return await self._requests.read(f"/v1/entries/{index}", limit=_MAX_ENTRY_ANSWER)

    async def inclusion_proof(self, index: int) -> bytes:
        """Reads a leaf's tlog-proof against the published checkpoint, unverified."""
        return await self._requests.read(
            f"/v1/proofs/inclusion?index={index}", limit=_MAX_PROOF_ANSWER
        )

    async def consistency_proof(self, old: int, new: int) -> tuple[bytes, ...]:
        """Reads the consistency proof between two published sizes, unverified."""
        path = f"/v1/proofs/consistency?from={old}&to={new}"
        answer = decode_answer(
            await self._requests.read(path, limit=_MAX_JSON), ConsistencyAnswer, "consistency proof"
        )
        return decode_hashes(answer.proof, "consistency proof")

    async def index_proof(
        self,
        keys: Sequence[str],
        *,
        size: int = 0,
        records: bool = False,
        limit: int | None = None,
    ) -> bytes:
        """Reads the completeness proof of some keys (``complete.Key.text``), unverified.

        An index log that is behind is waited for a little. ``Refused`` if the log keeps none, it
        stays behind or is lost, or it takes no such key.

        Args:
            keys: The keys, at least one.
            size: How many leaves the proof must be about, at least.
            records: Whether to take the leaves along that it names.
            limit: Most leaves that it names of a key.
        """
        asked = [("key", key) for key in keys]
        asked += [("size", str(size))] if size else []
        asked += [("records", "1")] if records else []
        asked += [] if limit is None else [("limit", str(limit))]
        query = urlencode(asked)
        is_long = len(query) > _MAX_QUERY
        path = "/v1/index/proof" if is_long else f"/v1/index/proof?{query}"
        for pause in (*self.pauses, None):
            try:
                return await self._requests.read(
                    path, limit=_MAX_INDEX_PROOF, body=query.encode("ascii") if is_long else None
                )
            except Refused as refusal:
                if pause is None or refusal.problem.slug != "not-indexed-yet":
                    raise
            await asyncio.sleep(pause)
        raise AssertionError("the loop returns or raises")
