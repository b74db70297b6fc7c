"""A mirror of some logs: their copies, and which checkpoints of theirs are or were pending."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from hmac import compare_digest, digest
from typing import Final

from muniment.tlog.checkpoint import SignedCheckpoint, parse_signed_checkpoint
from muniment.tlog.encoding import FormatError
from muniment.tlog.note import Signer, UnverifiedNote, lines_of
from muniment_witness.judge.decide import KnownLog
from muniment_witness.mirror.copies import LogCopy
from muniment_witness.store.heads import HeadStore
from muniment_witness.store.mirrordb import MirrorStore

_TAG: Final = sha256().digest_size
_CONTEXT: Final = b"muniment mirror ticket v1\n"


def make_ticket(secret: bytes, pending: SignedCheckpoint) -> bytes:
    """A ticket (C2SP tlog-mirror) for a checkpoint that is or was pending.

    It is the checkpoint as the log signed it, behind an HMAC under a secret of the mirror's: so a
    mirror goes on with what was pending long ago, and believes nobody that something was.
    """
    note = pending.encode()
    return digest(secret, _CONTEXT + note, "sha256") + note


def open_ticket(secret: bytes, ticket: bytes) -> SignedCheckpoint | None:
    """The checkpoint of a ticket that was made with this secret; None for any other bytes."""
    tag, note = ticket[:_TAG], ticket[_TAG:]
    if not compare_digest(tag, digest(secret, _CONTEXT + note, "sha256")):
        return None
    try:
        return parse_signed_checkpoint(note)
    except FormatError:  # made by another version, which took more
        return None


class Mirror:
    """The copies of a mirror; pending checkpoints are the heads that its witness has accepted.

    Attributes:
        copies: What is held of each log, also of those that are mirrored no more, by origin.
        logs: The logs that are mirrored, by origin.
        signers: The mirror's keys.
        clock: Gives Unix seconds.
    """

    def __init__(
        self,
        store: MirrorStore,
        heads: HeadStore,
        signers: Sequence[Signer],
        clock: Callable[[], int],
    ) -> None:
        """Mirrors no log before `follow`."""
        self._store = store
        self._heads = heads
        self.signers: Final = tuple(signers)
        self.clock: Final = clock
        self.copies: Final[dict[str, LogCopy]] = {}
        self.logs: Mapping[str, KnownLog] = {}

    async def follow(self, logs: Mapping[str, KnownLog]) -> None:
        """Mirrors these logs from now on; of others, what is held stays readable.

        Raises DatabaseError if what is stored of one is damaged.
        """
        origins: Iterable[str] = sorted({*logs, *await self._store.origins()})
        for origin in origins:
            if origin not in self.copies:
                held = await self._store.load(origin)
                self.copies[origin] = LogCopy(self._store, origin, held)
        self.logs = logs

    def pending(self, origin: str) -> SignedCheckpoint | None:
        """The pending checkpoint of a mirrored log, with the log's signatures alone."""
        latest = self._heads.latest.get(origin)
        if latest is None:
            return None
        return self._by_log(origin, parse_signed_checkpoint(latest.note))

    async def pending_at(self, origin: str, size: int, ticket: bytes) -> SignedCheckpoint | None:
        """A checkpoint of some size that is or was pending; None when none is known to have been.

        The mirror checkpoint is one; the older ones are those that the witness has kept, and the
        one that the ticket has.
        """
        now = self.pending(origin)
        if now is None or now.checkpoint.size == size:
            return now
        head = self.copies[origin].head
        if head is not None and head.size == size:
            return self._by_log(origin, parse_signed_checkpoint(head.note))
        kept = open_ticket(self._store.secret, ticket) if ticket else None
        if kept is not None and (kept.checkpoint.origin, kept.checkpoint.size) == (origin, size):
            return self._by_log(origin, kept)
        for note in await self._heads.notes_at(origin, size):
            if (found := self._by_log(origin, parse_signed_checkpoint(note))) is not None:
                return found
        return None

    def ticket(self, pending: SignedCheckpoint) -> bytes:
        """A ticket for a checkpoint that is or was pending."""
        return make_ticket(self._store.secret, pending)

    def _by_log(self, origin: str, signed: SignedCheckpoint) -> SignedCheckpoint | None:
        """A checkpoint with the log's signatures alone; None if no key of today has signed it.

        They were verified when it was accepted.
        """
        keys = (key.vkey for key in self.logs[origin].verifiers)
        lines = lines_of(signed.note.signatures, keys)
        if not lines:
            return None
        return SignedCheckpoint(signed.checkpoint, UnverifiedNote(signed.note.text, lines))

    async def run(self) -> None:
        """Waits until the disk fails, and raises that FatalDatabaseError: the process must end."""
        await self._store.watch()

    async def close(self) -> None:
        """Closes the database."""
        await self._store.close()
