"""The streams that a sequencer remembers: those in use, and of the others the newest."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from muniment_log.core.streams import Stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from muniment_log.core.ports import StreamKey, StreamState


class StreamTable:
    """Streams by key, bounded by `most`; those in use do not count."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._streams: OrderedDict[StreamKey, Stream] = OrderedDict()

    def __len__(self) -> int:
        return len(self._streams)

    def __iter__(self) -> Iterator[Stream]:
        return iter(self._streams.values())

    def __getitem__(self, key: StreamKey) -> Stream:
        return self._streams[key]

    def get(self, key: StreamKey) -> Stream | None:
        """A stream that is remembered; None if it is not."""
        return self._streams.get(key)

    def add(self, key: StreamKey, state: StreamState) -> Stream:
        """Remembers where a stream continues, unless somebody else has loaded it meanwhile.

        That one may already have moved it.
        """
        return self._streams.setdefault(key, Stream(key, state, state))

    def hold(self, stream: Stream) -> None:
        """Keeps a stream in memory until `let_go`; each caller counts."""
        self._streams.move_to_end(stream.key)
        stream.users += 1

    def let_go(self, stream: Stream) -> None:
        """Ends what `hold` began, and forgets the oldest idle streams when they are too many."""
        stream.users -= 1
        # A few looks a time keep this O(1).
        for _ in range(2):
            if len(self._streams) <= self._most:
                return
            key, oldest = next(iter(self._streams.items()))
            if oldest.is_idle:
                del self._streams[key]
            else:
                self._streams.move_to_end(key)

    def clear(self) -> None:
        """Forgets all streams."""
        self._streams.clear()
