"""What a caller waits for: that its records are durable, published, or held by mirrors.

Addenda that stay here are on disk before their records leave. A log that does not take records in
time, or does not publish them, is away for the breaker.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from muniment.errors import NotPublished, Undelivered
from muniment.gateway.breaker import ENOUGH
from muniment.gateway.mirrored import mirrored_receipts, naming_mirrors
from muniment.gateway.receipts import Receipt
from muniment.gateway.spool import Spool
from muniment.gateway.submissions import Passage
from muniment.gateway.withholding import NO_ADDENDA, Addenda

if TYPE_CHECKING:
    from muniment.gateway.gateway import Gateway


async def send(
    gateway: "Gateway",
    entries: Sequence[bytes],
    *,
    published: bool,
    mirrored: bool,
    seconds: float,
    passage: Passage | None,
    addenda: Addenda,
    keeper: Spool | None,
) -> list[Receipt]:
    """See ``Gateway.submit_encoded``; `seconds` are all that the caller waits.

    `keeper` keeps the addenda; without one the log does. Raises as ``Gateway.submit``, and
    ValueError if the policy names no mirrors to wait for.
    """
    log = gateway.log
    mirroring = naming_mirrors(gateway.policy) if mirrored else None
    clock = asyncio.get_running_loop().time
    until = clock() + seconds
    if addenda and keeper is not None:
        await _keep(keeper, entries, addenda, seconds)
        addenda = NO_ADDENDA
    try:
        receipts = await log.submit_encoded(
            entries,
            timeout=until - clock(),
            published=published or mirrored,
            passage=passage,
            addenda=addenda,
        )
    except Undelivered:
        if seconds >= ENOUGH:
            gateway.breaker.failed(log.last_error)
        raise
    except NotPublished as error:
        gateway.breaker.failed(str(error))
        raise
    if mirroring is None:
        return receipts
    return await mirrored_receipts(
        log.client,
        receipts,
        origin=log.origin,
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
