"""C2SP tlog-witness, "add-checkpoint", as a client: feeds a witness from a log.

Neither has to be ours: the log needs its checkpoint and tiles (tlog-tiles), the witness its
add-checkpoint. A log that does not know a witness is witnessed this way by whoever cares to.
"""

from typing import Final, NamedTuple

from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.encoding import MunimentError
from muniment.tlog.note import SignatureLine, Verifier
from muniment.tlog.witnesswire import (
    SIZE_CONTENT_TYPE,
    AddCheckpoint,
    parse_cosignatures,
    parse_size,
)
from muniment_witness.gossip.net import Transport, UnreachableError
from muniment_witness.gossip.tiles import TileCache, TileReader
from muniment_witness.judge.decide import Log
from muniment_witness.judge.relation import authentic

ATTEMPTS: Final = 4
"""Requests for one checkpoint: each conflict tells the size to start from."""


class RefusedError(MunimentError):
    """The witness does not take the checkpoint; one line says why."""


class FeedResult(NamedTuple):
    """What came of feeding a checkpoint.

    Attributes:
        note: The checkpoint with the log's signatures.
        size: Its size.
        old: The size that the witness had.
        lines: The witness's cosignatures, unverified: the feeder may not know its keys.
    """

    note: bytes
    size: int
    old: int
    lines: tuple[SignatureLine, ...]


class Feeder:
    """Feeds one witness from one log."""

    def __init__(
        self,
        transport: Transport,
        log_url: str,
        verifiers: tuple[Verifier, ...],
        witness_url: str,
    ) -> None:
        """Takes the addresses, without final slashes, and the log's keys, of one name."""
        self._transport = transport
        self._log = Log(verifiers[0].vkey.name, verifiers)
        self._log_url = log_url
        self._witness_url = witness_url
        self._reader = TileReader(transport, TileCache())
        self._size = 0

    async def feed(self) -> FeedResult:
        """Feeds the log's present checkpoint.

        Raises:
            UnreachableError: If the log or the witness does not answer.
            UnresolvedError: If the log does not give the tiles of its checkpoint.
            VerificationError: If the checkpoint is not signed by the log.
            RefusedError: If the witness refuses it, or knows a larger tree.
        """
        answer = await self._transport.get(f"{self._log_url}/checkpoint")
        if answer.status != 200:
            raise UnreachableError(f"the log's checkpoint: status {answer.status}")
        seen = authentic(self._log, parse_signed_checkpoint(answer.body))
        new = seen.head
        for _ in range(ATTEMPTS):
            old = min(self._size, new.size)
            proof: tuple[bytes, ...] = ()
            if 0 < old < new.size:
                prefix, tiles = await self._reader.prefix(
                    self._log.origin, old, new, [self._log_url]
                )
                self._reader.cache.put(self._log.origin, tiles)
                proof = prefix.proof
            request = AddCheckpoint(old, proof, seen.signed)
            told = await self._transport.post(
                f"{self._witness_url}/add-checkpoint", request.encode()
            )
            if told.status == 200:
                self._size = new.size
                return FeedResult(
                    seen.signed.encode(), new.size, old, parse_cosignatures(told.body)
                )
            if told.status != 409 or told.content_type != SIZE_CONTENT_TYPE:
                excerpt = told.body[:200].decode("utf-8", "replace")
                raise RefusedError(f"the witness answered {told.status}: {excerpt!r}")
            self._size = parse_size(told.body)
            if self._size > new.size:
                raise RefusedError(
                    f"the witness has cosigned size {self._size}, the log shows {new.size}"
                )
        raise RefusedError(f"{ATTEMPTS} conflicts in a row")
