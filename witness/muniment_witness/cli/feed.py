"""C2SP tlog-witness, "add-checkpoint", as a client: feeds a witness from a log.

Neither has to be ours: the log needs its checkpoint and tiles (tlog-tiles), the witness its
add-checkpoint. A log that does not know a witness is witnessed this way by whoever cares to.
"""

from typing import NamedTuple

from muniment.tlog import sumdb
from muniment.tlog.addcheckpoint import AheadError, Exchange, Reply, WitnessError
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.encoding import FormatError, MunimentError
from muniment.tlog.note import SignatureLine
from muniment.tlog.witnesswire import parse_cosignatures
from muniment_witness.gossip.net import Transport, UnreachableError, get_first
from muniment_witness.gossip.tiles import TileCache, TileReader
from muniment_witness.judge.decide import KnownLog
from muniment_witness.judge.relation import authentic


class FeedRefusedError(MunimentError):
    """The witness does not take the checkpoint; one line says why."""


class FeedResult(NamedTuple):
    """What came of feeding a checkpoint: the log-signed note, its size, the witness's old size.

    The cosignature lines are unverified: the feeder may not know the witness's keys.
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
        log: KnownLog,
        witness_url: str,
    ) -> None:
        """Takes the addresses, without final slashes, and the log."""
        self._transport = transport
        self._log = log
        self._log_url = log_url
        self._witness_url = witness_url
        self._reader = TileReader(transport, TileCache())
        self._exchange = Exchange()

    async def feed(self) -> FeedResult:
        """Feeds the log's present checkpoint.

        Raises:
            UnreachableError: If the log or the witness does not answer.
            UnresolvedError: If the log does not give the tiles of its checkpoint.
            VerificationError: If the checkpoint is not signed by the log.
            FeedRefusedError: If the witness refuses it, or knows a larger tree.
        """
        paths = sumdb.checkpoint_paths(self._log.origin)
        answer = await get_first(self._transport, self._log_url, paths)
        if answer.status != 200:
            raise UnreachableError(f"the log's checkpoint: status {answer.status}")
        signed_head = authentic(self._log, parse_signed_checkpoint(answer.body))
        new = signed_head.head

        async def prove(old: int, _new: int) -> tuple[bytes, ...]:
            if not 0 < old < new.size:
                return ()
            prefix, tiles = await self._reader.prefix(self._log.origin, old, new, [self._log_url])
            self._reader.cache.put(self._log.origin, tiles)
            return prefix.proof

        try:
            added = await self._exchange.add(
                signed_head.signed, prove, self._post, parse_cosignatures
            )
        except WitnessError as error:
            if isinstance(error.__cause__, FormatError) and not isinstance(error, AheadError):
                raise  # it does not speak the protocol: that is no refusal
            raise FeedRefusedError(f"the witness does not sign: {error}") from error
        return FeedResult(signed_head.signed.encode(), new.size, added.old, added.cosigned)

    async def _post(self, request: bytes) -> Reply:
        answer = await self._transport.post(f"{self._witness_url}/add-checkpoint", request)
        return Reply(answer.status, answer.content_type, answer.body)
