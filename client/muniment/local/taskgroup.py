"""Groups of tasks that do not forget that they were cancelled."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

__all__ = ["TaskGroup"]

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

if sys.version_info >= (3, 13):
    TaskGroup = asyncio.TaskGroup
else:

    class TaskGroup(asyncio.TaskGroup):
        """asyncio's, but a cancellation counts also in the moment in which one of the tasks fails.

        asyncio before Python 3.13 raises the failure then and forgets the cancellation: a loop that
        survives failures goes on, and whoever cancelled it waits for it forever.
        """

        _before: int
        # asyncio's own: whether it has cancelled the task that holds the group.
        _parent_cancel_requested: bool

        async def __aenter__(self) -> Self:
            self._before = _current().cancelling()
            return await super().__aenter__()

        async def __aexit__(
            self,
            kind: type[BaseException] | None,
            error: BaseException | None,
            traceback: TracebackType | None,
        ) -> None:
            is_counted = self._parent_cancel_requested
            try:
                await super().__aexit__(kind, error, traceback)
            except BaseExceptionGroup as group:
                task = _current()
                if self._parent_cancel_requested and not is_counted:
                    # Of a failure after the body, asyncio does not take its cancellation back.
                    task.uncancel()
                if task.cancelling() > self._before:
                    raise asyncio.CancelledError from group
                raise

    def _current() -> asyncio.Task[object]:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio's own group needs one
        return task
