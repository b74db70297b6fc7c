"""The origin of a log that the gateway was not told, as its first checkpoint names it."""

import asyncio
from typing import Final

from muniment.errors import BadAnswer, FormatError, Refused
from muniment.http.logclient import LogClient
from muniment.tlog.checkpoint import parse_signed_checkpoint

_FIRST_LOOK: Final = 0.05
"""Seconds until a new log is asked again for its first checkpoint; doubled up to one second."""


async def published_origin(client: LogClient, seconds: float) -> str:
    """Waits for the first checkpoint of a new log, and returns the origin that it names.

    Raises:
        Refused: If the log has published none within these seconds.
        BadAnswer: If the checkpoint is malformed.
    """
    pause = _FIRST_LOOK
    end = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            return parse_signed_checkpoint(await client.checkpoint()).checkpoint.origin
        except FormatError as error:
            raise BadAnswer(f"checkpoint: {error}") from None
        except Refused as refusal:
            late = asyncio.get_running_loop().time() > end
            if refusal.problem.slug != "not-published-yet" or late:
                raise
        await asyncio.sleep(pause)
        pause = min(2 * pause, 1.0)
