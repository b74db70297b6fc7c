"""Handlers that are imported and made when the first request for one of them comes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from muniment_service.http import Handler, Request, Response

_T = TypeVar("_T")


class Deferred(Generic[_T]):
    """What makes some handlers, and they once they are made.

    For what many logs are never asked: they start sooner without it, and are smaller.
    """

    def __init__(self, make: Callable[[], _T]) -> None:
        """Takes what imports and makes them, once and on a thread: other requests go on."""
        self._make: Final = make
        self._made: _T | None = None
        self._lock: Final = asyncio.Lock()

    def handler(self, pick: Callable[[_T], Handler]) -> Handler:
        """A handler that takes the real one from what was made."""

        async def handle(request: Request) -> Response:
            made = self._made
            if made is None:
                async with self._lock:
                    if self._made is None:
                        self._made = await asyncio.to_thread(self._make)
                    made = self._made
            return await pick(made)(request)

        return handle
