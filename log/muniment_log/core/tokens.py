"""Streams of those who cannot sign: the log frames their records itself.

Records submitted with a bearer token go onto one stream per producer, whose manifests are signed by
the log's own Ed25519 key. Such a manifest names the producer, but its signature carries the log's
origin: visibly not the producer's word, but "the log took this from whoever held the token".

All records of a producer that wait for the same commit share one manifest, so many small requests
pay for one signature and one manifest together.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from muniment.records.manifest import (
    MAX_BATCH_BYTES,
    MAX_BATCH_RECORDS,
    Batch,
    build_batch,
    token_stream,
)
from muniment.tlog.note import is_remote
from muniment_log.core.ports import StreamKey

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from muniment.tlog.note import Signer
    from muniment_log.core.ports import StreamState

TOKEN_STREAMS: Final = "token:"  # noqa: S105  # a label, no secret
"""How the labels of these streams begin; no gateway may use such a label."""

_ROOM: Final = 4096
"""Bytes of a batch left for the manifest and for what framing adds to the last record."""


class TokenRequest(Protocol):
    """Records of one request."""

    @property
    def records(self) -> Sequence[bytes]:
        """Canonical records, in order."""
        ...


_W = TypeVar("_W", bound=TokenRequest)


def token_key(producer: str) -> StreamKey:
    """The stream of a producer. Its label is a hash: a key name need not be a label."""
    return StreamKey(producer, token_stream(producer))


class TokenFramer:
    """Builds the batches of the log's own streams."""

    def __init__(self, origin: str, signer: Signer) -> None:
        self._origin = origin
        self._signer = signer
        self._keys: dict[str, StreamKey] = {}  # producers are configured, so they are few
        self._is_remote = is_remote(signer)

    def key(self, producer: str) -> StreamKey:
        """The stream of a producer, see `token_key`."""
        key = self._keys.get(producer)
        if key is None:
            key = self._keys[producer] = token_key(producer)
        return key

    def split(self, waiting: Sequence[_W]) -> Iterator[list[_W]]:
        """Cuts what waits into parts that fit a batch; a request is never divided."""
        part: list[_W] = []
        records = size = 0
        for one in waiting:
            more = sum(map(len, one.records)) + 2 * len(one.records)
            if part and (
                records + len(one.records) > MAX_BATCH_RECORDS
                or size + more > MAX_BATCH_BYTES - _ROOM
            ):
                yield part
                part, records, size = [], 0, 0
            part.append(one)
            records += len(one.records)
            size += more
        if part:
            yield part

    async def frame(self, key: StreamKey, state: StreamState, records: Sequence[bytes]) -> Batch:
        """Makes the next batch of a stream, signed by the log.

        It takes a moment of the event loop, or a thread where somebody else keeps the key. Raises
        SigningError when they have not signed.
        """
        if self._is_remote:
            return await asyncio.to_thread(self._frame, key, state, records)
        return self._frame(key, state, records)

    def _frame(self, key: StreamKey, state: StreamState, records: Sequence[bytes]) -> Batch:
        return build_batch(
            self._origin,
            self._signer,
            key.label,
            state.next,
            state.manifest,
            records,
            producer=key.gateway,
        )
