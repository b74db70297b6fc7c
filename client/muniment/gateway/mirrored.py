"""Waiting until mirrors hold what was logged (C2SP tlog-mirror), and the proofs that say so.

Records are published first; nobody else's wait grows with this one. Then the log is asked for a
checkpoint that its mirrors have cosigned, of a tree that contains them, and new proofs are made
from its tiles. Which mirrors must have cosigned is for the gateway's own policy to say.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Literal, TypeAlias

from muniment.errors import BadAnswer, NotMirrored, Refused, Unreachable
from muniment.gateway.receipts import Published, Receipt
from muniment.http.logclient import LogClient
from muniment.http.logtiles import log_tiles
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.encoding import FormatError
from muniment.tlog.mirrors import NotHeldError, mirrors_of, needs_mirrors, verify_mirrored
from muniment.tlog.policy import CosignedCheckpoint, Policy
from muniment.tlog.proofs import verify_inclusion
from muniment.tlog.treereader import read_inclusions

Require: TypeAlias = Literal["cosigned", "mirrored"]
"""What a decision must be before there is a permit: cosigned by the policy's quorum, or also held
by the mirrors that the policy asks for."""

PAUSE_SECONDS: Final = 0.2
"""Before a log is asked again that could not be asked, or shows a checkpoint that does not do."""

MOST_SECONDS: Final = 60.0
"""For so long one request waits, which is what a log allows."""


def check_require(require: Require, policy: Policy | None) -> None:
    """Checks that a gateway's policy can tell what is required.

    Raises ValueError if it cannot, or its quorum takes mirrors, which no head has at once.
    """
    if require not in {"cosigned", "mirrored"}:
        raise ValueError(f"require: expected 'cosigned' or 'mirrored', got {require!a}")
    if require == "mirrored":
        naming_mirrors(policy)
    if policy is not None and needs_mirrors(policy):
        raise ValueError(
            "policy: its quorum takes mirrors, and a head has their cosignatures only later: leave "
            "them out of the quorum, and require 'mirrored'"
        )


def naming_mirrors(policy: Policy | None) -> Policy:
    """Returns a policy that names mirrors; ValueError if there is none, or it does not."""
    if policy is None or not mirrors_of(policy):
        raise ValueError("'mirrored' needs a policy with a group of the name mirrors")
    return policy


async def mirrored_receipts(
    client: LogClient,
    receipts: Sequence[Receipt],
    *,
    origin: str,
    policy: Policy,
    seconds: float,
) -> list[Receipt]:
    """Waits until mirrors hold records that are logged; the receipts then have proofs of that.

    Raises:
        NotMirrored: They do not within the time, or the log has no mirrors.
        VerificationError: What the log shows does not verify.
        BadAnswer: It is not of the protocol.
    """
    if not receipts:
        return []
    wait = _Wait(client, origin, policy)
    try:
        async with asyncio.timeout(seconds) as limit:
            size = max(receipt.batch.size for receipt in receipts)
            cosigned = await wait.checkpoint(size, limit.when() or 0.0)
            return await _proven(client, receipts, cosigned)
    except TimeoutError:
        why = f" ({wait.reason})" if wait.reason else ""
        raise NotMirrored(
            f"logged and cosigned, but mirrors do not hold it within {max(seconds, 0):g} s{why}"
        ) from None


class _Wait:
    """Asks for a mirrored checkpoint until there is one that does; `reason` is why not yet."""

    def __init__(self, client: LogClient, origin: str, policy: Policy) -> None:
        self._client = client
        self._origin = origin
        self._policy = policy
        self.reason = ""

    async def checkpoint(self, size: int, until: float) -> CosignedCheckpoint:
        """A verified checkpoint of a tree of at least `size`; `until` is a time of the loop's."""
        while True:
            left = min(max(until - asyncio.get_running_loop().time(), 0.0), MOST_SECONDS)
            try:
                data = await self._client.mirrored_checkpoint(size, left)
            except Unreachable as error:
                self.reason = str(error)
            except Refused as refusal:
                self.reason = str(refusal)
                if not refusal.is_retriable:
                    raise NotMirrored(self.reason) from refusal
            else:
                if (found := self._judge(data, size)) is not None:
                    return found
            await asyncio.sleep(PAUSE_SECONDS)

    def _judge(self, data: bytes, size: int) -> CosignedCheckpoint | None:
        """The checkpoint if it does; None if a later one may. Raises as `mirrored_receipts`."""
        try:
            signed = parse_signed_checkpoint(data)
        except FormatError as error:
            raise BadAnswer(f"mirrored checkpoint: {error}") from None
        if signed.checkpoint.size < size:  # from a copy, which waits for nothing
            self.reason = f"mirrors hold {signed.checkpoint.size} leaves, not yet {size}"
            return None
        in_force = self._policy.at(int(time.time()))
        try:
            return verify_mirrored(in_force, signed, origin=self._origin)
        except NotHeldError as error:  # to the log's own policy fewer may do
            self.reason = str(error)
            return None


async def _proven(
    client: LogClient, receipts: Sequence[Receipt], cosigned: CosignedCheckpoint
) -> list[Receipt]:
    head = cosigned.checkpoint
    first, end = receipts[0].index, receipts[-1].index + 1
    try:
        paths = await read_inclusions(log_tiles(client, head.head), first, end, head.size)
    except FormatError as error:
        raise BadAnswer(str(error)) from None
    found: list[Receipt] = []
    batches = {}
    for receipt in receipts:
        path = paths[receipt.index - first]
        verify_inclusion(receipt.leaf_hash, receipt.index, head.size, path, head.root)
        batch = receipt.batch
        if batch not in batches:
            # Of the batch's other records, which are of other callers, there are no proofs here.
            numbers = range(batch.first, batch.first + batch.count)
            proofs = tuple([paths[n - first] if first <= n < end else () for n in numbers])
            published = Published(cosigned.signed, proofs, cosigned)
            batches[batch] = replace(batch, published=published)
        found.append(receipt._replace(batch=batches[batch]))
    return found
