"""Has a log go by the versions of its policy as their windows begin and end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from muniment.tlog.policy import PolicyChain
from muniment_log.app.serving import BackgroundTask
from muniment_service.http import Problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from muniment_log.config import LogConfig
    from muniment_log.http.admin import Admin

LOOK_SECONDS: Final = 20.0
"""The longest time between two looks at the clock: it may be set, and a machine may sleep."""


def turning(admin: Admin) -> BackgroundTask:
    """The task that reloads what is in force when other versions of its policy are."""
    return BackgroundTask(
        "policy", lambda: turn_with_time(lambda: admin.config, admin.reload, admin.clock)
    )


async def turn_with_time(
    in_force: Callable[[], LogConfig],
    reload: Callable[[], Awaitable[object]],
    clock: Callable[[], int],
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> None:
    """Reloads the configuration in force whenever a window of its policy begins or ends.

    What does not load is told as any reload's refusal, once, and what was in force stays: the log
    goes on asking those witnesses, and readers deny what they believe no more. `clock` gives Unix
    seconds. Runs until cancelled.
    """
    refused: tuple[int, ...] | None = None
    while True:
        policy, now = in_force().policy, clock()
        pause = LOOK_SECONDS
        if isinstance(policy, PolicyChain):
            numbers = policy.numbers_at(now)
            if numbers != tuple(one.number for one in policy.counted) and numbers != refused:
                refused = None
                try:
                    await reload()
                except Problem:
                    refused = numbers
                continue
            if (change := policy.next_change(now)) is not None:
                pause = min(pause, change - now)
        await sleep(pause)
