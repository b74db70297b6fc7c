"""What a caller waits for: that its records are durable, published, or held by mirrors.

Addenda that stay here are on disk before their records leave. A log that does not take records in
time, or does not publish them, is away for the breaker.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

from muniment.errors import NotPublished, Undelivered
from muniment.gateway.breaker import ENOUGH, Breaker
from muniment.gateway.logstream import LogStream
from muniment.gateway.mirrored import mirrored_receipts, naming_mirrors
from muniment.gateway.receipts import Receipt
from muniment.gateway.spool import Spool
from muniment.gateway.submissions import Passage
from muniment.gateway.withholding import NO_ADDENDA, Addenda
from muniment.tlog.policy import Policy


class Sender:
    """Sends records of one gateway, each call with its own deadline."""

    def __init__(
        self,
        log: LogStream,
        policy: Policy | None,
        *,
        breaker: Callable[[], Breaker],
        keeper: Callable[[], Spool] | None,
    ) -> None:
        """Sends on the stream; by the policy it judges what mirrors have cosigned.

        `breaker` and `keeper` give those of then: what tells calls that the log is away, and the
        spool that keeps addenda; without a keeper the log does.
        """
        self._log = log
        self._policy = policy
        self._breaker = breaker
        self._keeper = keeper

    async def send(
        self,
        entries: Sequence[bytes],
        *,
        published: bool,
        mirrored: bool,
        seconds: float,
        passage: Passage | None,
        addenda: Addenda,
    ) -> list[Receipt]:
        """See ``Gateway.submit_encoded``; `seconds` are all that the caller waits.

        Raises as ``Gateway.submit``, and ValueError if the policy names no mirrors to wait for.
        """
        mirroring = naming_mirrors(self._policy) if mirrored else None
        clock = asyncio.get_running_loop().time
        until = clock() + seconds
        if addenda and self._keeper is not None:
            await _keep(self._keeper(), entries, addenda, seconds)
            addenda = NO_ADDENDA
        try:
            receipts = await self._log.submit_encoded(
                entries,
                timeout=until - clock(),
                published=published or mirrored,
                passage=passage,
                addenda=addenda,
            )
        except Undelivered:
            if seconds >= ENOUGH:
                self._breaker().failed(self._log.last_error)
            raise
        except NotPublished as error:
            self._breaker().failed(str(error))
            raise
        if mirroring is None:
            return receipts
        return await mirrored_receipts(
            self._log.client,
            receipts,
            origin=self._log.origin,
            policy=mirroring.at(int(time.time())),
            seconds=until - clock(),
        )


async def _keep(spool: Spool, entries: Sequence[bytes], addenda: Addenda, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await spool.keep_addenda(entries, addenda)
    except TimeoutError:
        raise Undelivered(
            f"{spool.path}: addenda not kept within {seconds:g} s; nothing was sent"
        ) from None
