"""C2SP tlog-tiles reads and the ``/v1`` calls of one log, over HTTP: thin, bounded, without trust.

Nothing that this module returns is verified beyond its form. Each answer has a size limit and each
request a deadline; redirects are never followed (a log's URL is its owner's word, a redirect is
not); errors come as the types of ``muniment.errors`` and as nothing else.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from hashlib import sha256
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from muniment.errors import BadAnswer, Problem, Refused, Unreachable
from muniment.http.access import Access
from muniment.http.client import Answer, HttpClient, HttpError, TooLongError
from muniment.http.retryafter import retry_after
from muniment.http.servedtiles import ServedTiles
from muniment.http.typedjson import decode_json
from muniment.http.urls import check_url
from muniment.local.backoff import Backoff
from muniment.records.addenda import addendum_path
from muniment.records.batchbody import join_body
from muniment.records.commitments import MAX_ADDENDUM
from muniment.tlog import sumdb
from muniment.tlog.encoding import FormatError, MunimentError, parse_base64
from muniment.tlog.merkle import HASH_SIZE
from muniment.tlog.note import MAX_NOTE_SIZE
from muniment.tlog.proofs import MAX_PROOF
from muniment.tlog.tiles import COSIGNED, MIRRORED, Tile

DEFAULT_TIMEOUT: Final = 30.0
"""Seconds for one request, from the connection to the last byte of the answer."""

READ_ATTEMPTS: Final = 4
"""How often a read is tried; reads are idempotent, and an audit makes thousands of them."""

MAX_RETRY_AFTER: Final = 60.0
"""Seconds; a longer ``Retry-After`` is cut, so that a log cannot park its clients for a day."""

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
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

T = TypeVar("T")


class StreamHead(msgspec.Struct, frozen=True):
    """Where a stream stands at the log; ``origin`` is "" if the log does not say.

    ``manifest`` is base64 of the last manifest's leaf hash; of 32 zero bytes for a new stream.
    """

    next: int
    manifest: str
    origin: str = ""

    @property
    def previous(self) -> bytes:
        """The last manifest's leaf hash; a ``FormatError`` if the log sent something else."""
        return parse_base64(self.manifest, "stream head: manifest", size=HASH_SIZE)


class PublishedPart(msgspec.Struct, frozen=True):
    """The checkpoint that covers a batch, with one inclusion proof a record; unverified."""

    checkpoint: str
    proofs: list[list[str]]


class LogReceipt(msgspec.Struct, frozen=True):
    """The log's answer to a batch; see ``gateway.receipts.BatchReceipt``."""

    first: int
    count: int
    manifest: int
    size: int
    published: PublishedPart | None = None


class _ConsistencyAnswer(msgspec.Struct, frozen=True):
    proof: list[str]


class _KeySeen(msgspec.Struct, frozen=True):
    size: int
    index: int | None
    first: int


class FoundRecord(msgspec.Struct, frozen=True):
    """A record that the log's index has found; nobody has verified it.

    It is ``conflicting`` if its producer used its id for another content as well.
    """

    index: int
    record: dict[str, Any]
    conflicting: bool


class FoundRecords(msgspec.Struct, frozen=True):
    """What the log's index has found, in the order of the log; nobody has verified it.

    ``size`` is the tree size that the answer reflects, ``next`` the `after` of the next page; None
    at the end.
    """

    size: int
    records: list[FoundRecord]
    next: int | None


class LogClient:
    """An HTTP client of one log; use it as an async context manager.

    Its calls raise ``Unreachable`` if no answer came, ``Refused`` if the log answered with an error
    (it does not have what was asked for, say), and ``BadAnswer`` if the answer is not of the
    protocol.

    Args:
        url: The log's base URL (http or https).
        timeout: Seconds for one request.
        connections: Most connections open at the same time.
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
        self.url = check_url(url)
        self.pauses = tuple(CATCH_UP_PAUSES if pauses is None else pauses)
        self._tiles = ServedTiles(self.url, self._get, self.pauses)
        self._access = Access.from_environment() if access is None else access
        self._headers = self._access.headers(self.url)
        self._timeout = timeout
        self._connections = connections
        self._http: HttpClient | None = None

    async def __aenter__(self) -> Self:
        self._http = HttpClient(
            self.url,
            headers={
                "User-Agent": self._access.agent(),
                "Accept-Encoding": self._encodings(),
                **self._headers,
            },
            tls=self._access.ssl(),
            connections=self._connections,
        )
        return self

    def _encodings(self) -> str:
        # Packing and unpacking a bundle takes longer than carrying it to another process here.
        host = urlsplit(self.url).hostname
        return "identity" if host in _LOOPBACK else "gzip, identity"

    def __getstate__(self) -> dict[str, Any]:
        # Pickled for another process, which opens its own connections.
        return {**vars(self), "_http": None}

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections; safe to call twice."""
        http, self._http = self._http, None
        if http is not None:
            await http.close()

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
            return await self._get("/checkpoint", limit=MAX_NOTE_SIZE)
        except Refused as refusal:
            if refusal.problem.status != 404 or refusal.problem.is_own:
                raise
            with suppress(MunimentError):
                data = await self._once("GET", f"/{sumdb.LATEST}", limit=MAX_NOTE_SIZE)
                if sumdb.is_latest(data):
                    self._tiles.is_sumdb = True
                    return data
            raise

    async def _latest(self) -> bytes:
        return await self._get(f"/{sumdb.LATEST}", limit=MAX_NOTE_SIZE)

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
            return await self._get(f"/{path}", limit=MAX_NOTE_SIZE)
        except Refused as refusal:
            if refusal.problem.status != 404:
                raise
            return None

    async def mirrored_checkpoint(self, size: int, seconds: float) -> bytes:
        """As `newest_mirrored`, once, of a tree of at least `size` leaves.

        A log waits up to `seconds` for it, and refuses with 503 if there is none then; a copy of
        static files gives what is there.
        """
        data = await self._once(
            "GET",
            f"/{MIRRORED}?size={size}&timeout={seconds:.3f}",
            limit=MAX_NOTE_SIZE,
            timeout=self._timeout + seconds,
        )
        self._tiles.show(data)
        return data

    async def tile(self, tile: Tile) -> bytes:
        """Reads a hash tile (32 bytes a hash) or an entry bundle; see `ServedTiles.read`."""
        return await self._tiles.read(tile)

    # The service API

    async def stream(self, key_name: str, label: str) -> StreamHead:
        """Reads where a stream stands; ``Refused`` if the log does not know the gateway."""
        path = f"/v1/streams/{quote(key_name, safe='')}/{quote(label, safe='')}"
        head = _decode(await self._get(path, limit=_MAX_JSON), StreamHead, "stream head")
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
            seen = _decode(await self._get(f"/v1/keys/{name}", limit=_MAX_JSON), _KeySeen, "key")
            return True if seen.index is not None else None if seen.first else False
        path = f"/v1/{kind}s/{name}?limit=1"
        return bool(_decode(await self._get(path, limit=_MAX_FOUND), FoundRecords, kind).records)

    async def find(self, **parameters: str | int) -> FoundRecords:
        """Asks the log's index for decisions, by the parameters of ``GET /v1/decisions``."""
        path = f"/v1/decisions?{urlencode(parameters)}"
        return _decode(await self._get(path, limit=_MAX_FOUND), FoundRecords, "decisions")

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
        data = await self._once(
            "POST",
            f"/v1/batches{query}",
            limit=_MAX_JSON if published is None else _MAX_PUBLISHED,
            body=join_body(body, addenda),
            timeout=timeout,
        )
        return _decode(data, LogReceipt, "receipt")

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
        data = await self._get(path, limit=MAX_ADDENDUM)
        if sha256(data).hexdigest() != digest:
            raise BadAnswer(f"{path}: other bytes than those of this digest")
        return data

    async def entry(self, index: int) -> bytes:
        """Reads the leaf at an index, unverified."""
        return await self._get(f"/v1/entries/{index}", limit=_MAX_ENTRY_ANSWER)

    async def inclusion_proof(self, index: int) -> bytes:
        """Reads a leaf's tlog-proof against the published checkpoint, unverified."""
        return await self._get(f"/v1/proofs/inclusion?index={index}", limit=_MAX_PROOF_ANSWER)

    async def consistency_proof(self, old: int, new: int) -> tuple[bytes, ...]:
        """Reads the consistency proof between two published sizes, unverified."""
        path = f"/v1/proofs/consistency?from={old}&to={new}"
        answer = _decode(
            await self._get(path, limit=_MAX_JSON), _ConsistencyAnswer, "consistency proof"
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
        query, path = urlencode(asked), "/v1/index/proof"
        for pause in (*self.pauses, None):
            try:
                if len(query) <= _MAX_QUERY:
                    return await self._get(f"{path}?{query}", limit=_MAX_INDEX_PROOF)
                return await self._read(
                    "POST", path, limit=_MAX_INDEX_PROOF, body=query.encode("ascii")
                )
            except Refused as refusal:
                if pause is None or refusal.problem.slug != "not-indexed-yet":
                    raise
            await asyncio.sleep(pause)
        raise AssertionError("the loop returns or raises")

    # The two ways to ask

    async def _get(self, path: str, *, limit: int) -> bytes:
        return await self._read("GET", path, limit=limit)

    async def _read(
        self, method: str, path: str, *, limit: int, body: bytes | None = None
    ) -> bytes:
        backoff = Backoff(_FIRST_PAUSE, factor=3)
        for attempt in range(1, READ_ATTEMPTS + 1):
            try:
                return await self._once(method, path, limit=limit, body=body)
            except (Unreachable, Refused) as error:
                retry_after = 0.0
                if isinstance(error, Refused):
                    if not error.is_retriable:
                        raise
                    retry_after = error.retry_after or 0.0
                if attempt == READ_ATTEMPTS:
                    raise
                await asyncio.sleep(backoff.next(retry_after))
        raise AssertionError("the loop returns or raises")

    async def _once(
        self,
        method: str,
        path: str,
        *,
        limit: int,
        body: bytes | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - handed on
    ) -> bytes:
        http = self._http
        if http is None:
            raise RuntimeError("LogClient is used outside of its `async with`")
        seconds = self._timeout if timeout is None else timeout
        try:
            answer = await http.ask(method, path, limit=limit, seconds=seconds, body=body)
        except TimeoutError:
            raise Unreachable(f"{self.url}{path}: no answer in time") from None
        except TooLongError as error:
            raise BadAnswer(f"{method} {path}: {error}") from None
        except HttpError as error:
            raise Unreachable(f"{self.url}{path}: {error}") from None
        if answer.status != 200:
            raise refusal_of(answer, path)
        return answer.body


def decode_hashes(hashes: list[str], what: str) -> tuple[bytes, ...]:
    """Decodes base64 hashes; ``BadAnswer`` if there are more than MAX_PROOF, or one is no hash."""
    if len(hashes) > MAX_PROOF:
        raise BadAnswer(f"{what}: more than {MAX_PROOF} hashes")
    try:
        return tuple([parse_base64(text, what, size=HASH_SIZE) for text in hashes])
    except FormatError as error:
        raise BadAnswer(str(error)) from None


def receipt_of(problem: Problem) -> LogReceipt | None:
    """The receipt inside a ``not-published`` problem, or None when there is none."""
    try:
        return msgspec.convert(problem.members.get("receipt"), LogReceipt)
    except msgspec.ValidationError:
        return None


def _decode(data: bytes, kind: type[T], what: str) -> T:
    try:
        return decode_json(data, kind, what)
    except FormatError as error:
        raise BadAnswer(str(error)) from None


def refusal_of(answer: Answer, path: str) -> Refused | BadAnswer:
    """The error that an answer to a request for `path` comes to, which is not the expected one."""
    status = answer.status
    if status < 400:
        return BadAnswer(f"{path}: HTTP {status} where 200 or an error was expected")
    members: dict[str, Any] = {}
    if answer.media_type == "application/problem+json":
        try:
            members = decode_json(answer.body, dict[str, Any], path)
        except FormatError:
            members = {}  # an error that is also malformed is still that error

    def text(name: str) -> str:
        value = members.pop(name, "")
        return value[:1000] if isinstance(value, str) else ""

    problem = Problem(
        status=status,
        type=text("type") or "about:blank",
        title=text("title"),
        detail=text("detail") or ("" if members else path),
        members=members,
    )
    wanted = answer.headers.get("retry-after", "")
    return Refused(problem, retry_after(wanted, time.time(), MAX_RETRY_AFTER))
