"""Publication rounds (C2SP tlog-witness): a signed head, its proofs, and who has cosigned it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

from muniment.tlog.addcheckpoint import WitnessError
from muniment.tlog.encoding import FormatError
from muniment.tlog.treereader import read_consistency
from muniment_log.errors import DamagedTileError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from muniment.tlog.checkpoint import SignedCheckpoint
    from muniment_log.core.ports import TileSource
    from muniment_log.publish.witness import Cosigned, WitnessClient


class Stage(Enum):
    """How far a round is; it only ever goes on to the next.

    Attributes:
        SIGNED: the head is signed and stored, and witnesses are asked.
        MET: the quorum has cosigned it; those who wait have it, and it is being stored.
        STORED: it is stored with its cosignatures, and served.
    """

    SIGNED = auto()
    MET = auto()
    STORED = auto()


@dataclass(slots=True, eq=False)
class Round:
    """One signed head on its way to its quorum.

    Attributes:
        own: the checkpoint with the log's own signatures, which is what witnesses are sent: with
            those of the others a request grows beyond what some of them take.
        signed: the same with the cosignatures that have come.
        started: when the round began, by the publisher's clock.
        names: the policy's names of the witnesses that have cosigned.
        answered: the clients that need not be asked any more.
        stage: how far it is.
    """

    own: SignedCheckpoint
    started: float
    signed: SignedCheckpoint = field(init=False)
    names: set[str] = field(default_factory=set)
    answered: set[WitnessClient] = field(default_factory=set)
    stage: Stage = Stage.SIGNED

    def __post_init__(self) -> None:
        self.signed = self.own

    @property
    def size(self) -> int:
        """Leaves in the tree."""
        return self.own.checkpoint.size

    @property
    def is_stored(self) -> bool:
        """Whether the head is served."""
        return self.stage is Stage.STORED

    def add(self, client: WitnessClient, cosigned: Cosigned) -> None:
        """Adds a witness's cosignatures; WitnessError if the checkpoint has no room for them."""
        try:
            self.signed = self.signed.with_signatures(cosigned.lines)
        except FormatError as error:
            raise WitnessError(f"its answer: {error}") from error
        self.names |= cosigned.names
        self.answered.add(client)


class ConsistencyProofs:
    """Makes the proofs that cosigners ask for; most ask for the same one, so the last is kept."""

    def __init__(self, tiles: TileSource) -> None:
        """Reads the log's own tiles."""
        self._tiles = tiles
        self._last: tuple[tuple[int, int], Sequence[bytes]] | None = None

    async def prove(self, old: int, new: int) -> Sequence[bytes]:
        """The consistency proof between two sizes.

        Raises WitnessError if a tile that it needs is damaged.
        """
        if self._last is None or self._last[0] != (old, new):
            try:
                made = await read_consistency(self._tiles, old, new)
            except DamagedTileError as error:
                # Other witnesses know a newer head, which is proved from other tiles.
                raise WitnessError(f"it could not be asked: {error}") from error
            self._last = (old, new), made
        return self._last[1]
