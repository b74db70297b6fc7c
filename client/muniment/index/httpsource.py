"""A log over HTTP as a follower reads it (C2SP tlog-tiles): checkpoint by policy, bundles, proofs.

Partial bundles are asked for only as a verified checkpoint requires them, at exactly its width, and
once for each checkpoint; `LogClient.tile` falls back to the full bundle when the log has dropped
the partial one (tlog-tiles, "Partial Tiles").
"""

from typing import NoReturn

from muniment.errors import Refused, VerificationError
from muniment.http.logclient import LogClient
from muniment.http.logtiles import log_tiles
from muniment.tlog.heads import Head, Prefix
from muniment.tlog.policy import CosignedCheckpoint, Policy
from muniment.tlog.tiles import Tile
from muniment.tlog.treereader import read_prefix


class HttpSource:
    """A `follower.Source` over HTTP."""

    def __init__(self, client: LogClient, policy: Policy, origin: str | None = None) -> None:
        """Takes an open client; without an origin, any log of the policy will do."""
        self._client = client
        self._policy = policy
        self._origin = origin

    async def head(self) -> CosignedCheckpoint:
        """The log's newest checkpoint, verified by the policy."""
        try:
            data = await self._client.checkpoint()
        except Refused as refusal:
            _judge(refusal, "the log shows no checkpoint")
        return self._policy.verify(data, origin=self._origin)

    async def bundle(self, tile: Tile) -> bytes:
        """An entry bundle, unverified."""
        try:
            return await self._client.tile(tile)
        except Refused as refusal:
            _judge(refusal, f"the log does not serve {tile.path}")

    async def prefix(self, old: int, head: Head) -> Prefix:
        """What the tree of a head has at an older size, by the log's tiles."""
        return await read_prefix(log_tiles(self._client, head), old, head.size)


def _judge(refusal: Refused, what: str) -> NoReturn:
    """A log that says "not now" cannot be reached; one that lacks a part cannot be verified."""
    if refusal.is_retriable and not refusal.is_damage:
        raise refusal
    raise VerificationError(f"{what}: {refusal}") from None
