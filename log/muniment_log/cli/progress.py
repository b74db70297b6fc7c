"""Progress of long commands: a line on stderr now and then, on a terminal or when asked for."""

from __future__ import annotations

import sys
from time import monotonic
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from collections.abc import Callable

LINE_SECONDS: Final = 5.0
"""Between two lines; the first one comes at once, and says where the command goes on."""

PROGRESS: Final = click.option(
    "--progress/--no-progress",
    default=None,
    help="Say every few seconds how far it is; the default does on a terminal.",
)


class Progress:
    """Called with what is done and what there is to do, in leaves."""

    def __init__(self, is_shown: bool | None, clock: Callable[[], float] = monotonic) -> None:  # noqa: FBT001  # click's way
        """Shows lines, or not; None where stderr is a terminal."""
        self._is_shown = sys.stderr.isatty() if is_shown is None else is_shown
        self._clock = clock
        self._last: float | None = None
        self._began = (0.0, 0)

    def __call__(self, done: int, total: int) -> None:
        """Tells how far it is."""
        now = self._clock()
        if not self._is_shown or (self._last is not None and now - self._last < LINE_SECONDS):
            return
        line = f"{done:,} of {total:,} leaves"
        if self._last is None:
            self._began = now, done
        else:
            rate = (done - self._began[1]) / (now - self._began[0])
            line += f", {rate:,.0f} a second"
            if rate:
                line += f", {_duration((total - done) / rate)} left"
        self._last = now
        click.echo(line, err=True)


def _duration(seconds: float) -> str:
    """A duration in the two largest units that say something."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
