"""Notice a database that was rolled back (C2SP tlog-witness, "Monitor a log", "add-checkpoint").

A database restored from an old copy looks sound in itself. Only somebody outside remembers more:
the witnesses. Before the log takes anything it asks each of them for the newest checkpoint that
they hold of it, and it asks again whenever one refuses a head as if it knew more. One that the
log's key signed, and that the tree on disk does not contain, means that going on would fork the
log. What a witness only says, without such a checkpoint, is for `Doubts` to weigh.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from muniment.local.logs import event
from muniment.tlog.addcheckpoint import WitnessError
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.encoding import MunimentError
from muniment.tlog.treereader import read_root
from muniment_log.errors import DamagedTileError, RolledBackError, StorageError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from muniment.tlog.checkpoint import Checkpoint, SignedCheckpoint
    from muniment.tlog.heads import Head
    from muniment.tlog.note import Verifier
    from muniment_log.core.ports import TileSource
    from muniment_log.publish.cosigners import CosignerSet
    from muniment_log.publish.witness import WitnessClient

_LOGGER = logging.getLogger(__name__)


async def _nothing() -> None:
    """Nobody else writes the tree."""


@dataclass(kw_only=True, eq=False)
class PastCheck:
    """Compares the tree with what witnesses remember of the log.

    What none of the keys signed proves nothing.

    Attributes:
        head: gives that of the tree on disk, which `tiles` are of.
        still_leads: raises an error of its own when another process writes the tree now: what a
            witness has seen then is that process's.
    """

    origin: str
    keys: Sequence[Verifier]
    tiles: TileSource
    head: Callable[[], Head]
    still_leads: Callable[[], Awaitable[None]] = _nothing

    @property
    def size(self) -> int:
        """Leaves in the tree, now."""
        return self.head().size

    async def at_start(
        self, witnesses: Sequence[WitnessClient], seconds: float
    ) -> list[WitnessClient]:
        """Asks all witnesses at the same time, for `seconds`, and notes the sizes they tell.

        One that cannot be asked only causes a warning: it may be down, and later rounds with it
        would fail anyway. Raises RolledBackError if a witness knows a head of this log that the
        tree does not contain.

        Returns:
            The witnesses that answered and show no checkpoint of this log: they have none, or have
            no monitoring endpoint, and then only their answer to add-checkpoint can tell.
        """

        async def ask(witness: WitnessClient) -> tuple[bool, SignedCheckpoint | None]:
            try:
                async with asyncio.timeout(seconds):
                    return True, await witness.latest(self.origin, self.keys)
            except (WitnessError, TimeoutError) as error:
                event(
                    _LOGGER,
                    logging.WARNING,
                    "a witness cannot be asked for its latest head",
                    witness=witness.label,
                    error=str(error) or "no answer in time",
                )
                return False, None

        answers = await asyncio.gather(*map(ask, witnesses))
        silent: list[WitnessClient] = []
        for witness, (answered, signed) in zip(witnesses, answers, strict=True):
            if signed is not None:
                await self._compare(witness, signed.checkpoint)
            elif answered:
                silent.append(witness)
        return silent

    async def of(self, witness: WitnessClient) -> None:
        """Asks one witness, while the log runs.

        Raises:
            RolledBackError: it knows a head of this log that the tree does not contain.
            LogError: another process writes the tree.
        """
        try:
            signed = await witness.latest(self.origin, self.keys)
        except WitnessError:
            return
        if signed is None:
            return
        await self.still_leads()
        try:
            await self._compare(witness, signed.checkpoint)
        except DamagedTileError as error:
            event(
                _LOGGER, logging.ERROR, "a witness's checkpoint cannot be compared",
                witness=witness.label, error=str(error),
            )  # fmt: skip

    async def _compare(self, witness: WitnessClient, known: Checkpoint) -> None:
        if known.size > self.size:
            raise RolledBackError(
                f"the database was rolled back: it holds {self.size} leaves, but the witness "
                f"{witness.label} has a checkpoint of {known.size} that this log signed"
            )
        if await read_root(self.tiles, known.size) != known.root:
            raise RolledBackError(
                f"the database holds another history: at size {known.size} its root is not the "
                f"one that this log signed and the witness {witness.label} has seen"
            )
        witness.size = known.size


EMPTY: Final = "this log is empty"
COPY: Final = (
    "this log's database is a copy that `backup` or a restore made, to which nothing was added"
)
"""Why a tree may not be all that there is."""


class Doubts:
    """Whether records may be taken, when witnesses say that they know more than the log.

    Their word is signed by nobody, so it never ends the log; but a log that goes on after a
    rollback forks. Two rules keep one liar from stopping the log, and a rolled-back log from
    acknowledging anything:

    - when those who say so are needed for the quorum, nothing is taken;
    - before a quorum has cosigned a head of this process, nothing is taken while any says so, nor
      before those have answered who show no checkpoint, or had `seconds` for it. A head that was
      published once has a quorum that remembers it, and two quorums have a witness in common.

    An empty tree contradicts nothing and proves nothing: the database may be a new one under keys
    that have a past. Nor does the tree of a backup's copy, to which the original may have added. It
    takes nothing until a quorum has cosigned it, and those who have not are too few to be the
    quorum of a head that it lacks.
    """

    def __init__(
        self,
        *,
        check: PastCheck,
        cosigners: CosignerSet,
        silent: Iterable[WitnessClient],
        seconds: float,
        unproven: str,
    ) -> None:
        """Begins with what is known at the start.

        Those of the quorum's witnesses that are `silent`, who show no checkpoint of this log, have
        `seconds` to answer the first head. `unproven` says why this tree may not be all that there
        is; empty when nothing gives a reason to think so.
        """
        self._check = check
        self._policy = cosigners.policy
        self._witnesses = tuple(cosigners.witnesses)
        self._silent = {each for each in silent if each in self._witnesses}
        self._seconds = seconds
        self._until = asyncio.get_running_loop().time() + seconds
        self._saying: dict[WitnessClient, str] = {}
        self._confirmed = False
        self._news = asyncio.Event()
        # Whoever has not said that an unproven tree is all that there ever was.
        needs_any = self._policy is not None and not self._policy.is_met(set())
        self._unproven = unproven
        self._unheard = set(self._witnesses) if unproven and needs_any else set()
        self._is_clear = not (self._silent or self._unheard)

    def use(self, cosigners: CosignerSet) -> None:
        """Another policy is in force; what its witnesses have said still counts."""
        known = {witness.url for witness in self._witnesses}
        self._witnesses = tuple(cosigners.witnesses)
        self._policy = policy = cosigners.policy
        by_url = {witness.url: witness for witness in self._witnesses}
        asked = {witness.url for witness in self._silent}
        said = {witness.url: what for witness, what in self._saying.items()}
        self._saying = {by_url[url]: what for url, what in said.items() if url in by_url}
        self._silent = {by_url[url] for url in asked if url in by_url}
        if self._unheard:
            heard = known - {witness.url for witness in self._unheard}
            self._unheard = {each for each in self._witnesses if each.url not in heard}
            if policy is None or policy.is_met(set()):
                self._unheard.clear()
        if not self._confirmed:
            # Those that are new have not been asked for a checkpoint: as if they showed none.
            self._silent |= {each for each in self._witnesses if each.url not in known}
            self._until = asyncio.get_running_loop().time() + self._seconds
        self._look()

    @property
    def reason(self) -> str:
        """Why no records are taken; empty when they are, or nobody says anything."""
        late = asyncio.get_running_loop().time() >= self._until
        return self._said or (self._unheard_of if late else "")

    @property
    def hold(self) -> str:
        """Why no records are to be taken now, also while there is time to hear the witnesses."""
        return self._said or self._unheard_of

    @property
    def _said(self) -> str:
        if not self._saying or (self._confirmed and not self._are_needed):
            return ""
        said = "; ".join(f"{each.label}: {what}" for each, what in self._saying.items())
        return (
            f"witnesses say that they know more than this log, and no quorum speaks for it ({said})"
            ": was the database restored from an old copy? Then put the newest one back; otherwise "
            "take these witnesses out of the policy"
        )

    @property
    def _unheard_of(self) -> str:
        if not self._unheard:
            return ""
        names = ", ".join(sorted(witness.label for witness in self._unheard))
        return (
            f"{self._unproven}, and these witnesses have not cosigned that: {names}; if it has "
            "logged more before, its database is not the right one; otherwise start them, or take "
            "those that are gone out of the policy"
        )

    @property
    def _are_needed(self) -> bool:
        """Whether there is no quorum without those who say that they know more."""
        if not self._saying or self._policy is None:
            return False
        return not self._could_be_a_quorum(w for w in self._witnesses if w not in self._saying)

    def _could_be_a_quorum(self, witnesses: Iterable[WitnessClient]) -> bool:
        names: set[str] = set()
        for witness in witnesses:
            names |= witness.names
        return self._policy is None or self._policy.is_met(names)

    async def cleared(self) -> None:
        """Waits until it is known whether records may be taken; most of the time at once.

        Raises UnavailableError if they may not; the message says why.
        """
        while not self._is_clear:
            self._news.clear()
            try:
                if self._are_needed:
                    raise UnavailableError(self.reason)
                async with asyncio.timeout_at(self._until):
                    await self._news.wait()
            except TimeoutError:
                self._silent.clear()
                self._look()
                if reason := self.reason:
                    raise UnavailableError(reason) from None

    def cosigned(self, witness: WitnessClient) -> None:
        """A witness has cosigned a head of this process."""
        if witness in self._saying or witness in self._silent or witness in self._unheard:
            self._saying.pop(witness, None)
            self._silent.discard(witness)
            self._unheard.discard(witness)
            self._look()

    def failed(self, witness: WitnessClient) -> None:
        """A witness has not cosigned, and says nothing of this log's past."""
        if witness in self._silent:
            self._silent.discard(witness)
            self._look()

    def confirmed(self) -> None:
        """A quorum has cosigned a head of this process."""
        if not self._confirmed:
            self._confirmed = True
            self._silent.clear()
            self._look()

    async def weigh(self, witness: WitnessClient, what: str, beyond: int | None) -> None:
        """A witness says that it has cosigned what the tree does not contain.

        `beyond` is the size that it names; None when it says that a root differs.

        Raises:
            RolledBackError: it has a checkpoint that proves it.
            LogError: another process writes the tree.
        """
        if beyond is not None and beyond <= self._check.size:
            self.failed(witness)  # somebody else has fed it a newer head of this log
            return
        if witness not in self._saying:
            event(
                _LOGGER, logging.ERROR, "a witness says that it knows more than this log",
                witness=witness.label, answer=what,
            )  # fmt: skip
        self._saying[witness] = what
        self._silent.discard(witness)
        self._look()
        await self._check.of(witness)

    def _look(self) -> None:
        if self._unheard and self._confirmed and not self._could_be_a_quorum(self._unheard):
            self._unheard.clear()
        undecided = not self._confirmed and (self._saying or self._silent)
        self._is_clear = not (undecided or self._are_needed or self._unheard)
        self._news.set()


async def check_note(note: bytes, origin: str, tiles: TileSource, head: Head) -> None:
    """Compares a stored checkpoint with the tree: what was shown once must still be true.

    Raises StorageError if the note is damaged, or the tree does not contain its head.
    """
    try:
        known = parse_signed_checkpoint(note).checkpoint
    except MunimentError as error:
        raise StorageError(f"a stored checkpoint is damaged: {error}") from error
    if known.origin != origin or known.size > head.size:
        raise StorageError(
            f"the database holds {head.size} leaves, but a signed checkpoint of {known.size}"
        )
    if await read_root(tiles, known.size) != known.root:
        raise StorageError(f"the tree is not the one whose head of size {known.size} was signed")
