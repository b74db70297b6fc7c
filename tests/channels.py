"""Both ends of a channel between two processes, in one process."""

import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Self

from muniment_log.workers.channel import Channel, open_channel

Answers = Mapping[str, Callable[[Any], Awaitable[Any]]]


class Pair:
    """Both ends in one process; `asking` asks, and the other end answers."""

    def __init__(
        self, answers: Answers, told: Mapping[str, Callable[[Any], object]] | None = None
    ) -> None:
        self._answers = answers
        self._told = told or {}

    async def __aenter__(self) -> Self:
        one, other = socket.socketpair()
        self.asking: Channel = await open_channel(one, {}, {})
        self.answering: Channel = await open_channel(other, self._answers, self._told)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.asking.close()
        await self.answering.close()
