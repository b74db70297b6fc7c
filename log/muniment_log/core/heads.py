"""Signing heads (C2SP tlog-checkpoint): never one that contradicts a head signed before."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from muniment.local.logs import event
from muniment.tlog.checkpoint import (
    Checkpoint,
    SignedCheckpoint,
    parse_checkpoint,
    parse_signed_checkpoint,
    sign_checkpoint,
)
from muniment.tlog.cosignature import verifier_for
from muniment.tlog.encoding import MunimentError, VerificationError
from muniment.tlog.note import parse_note, verify_note
from muniment_log.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from muniment.tlog.heads import Head
    from muniment.tlog.note import Signer, Verifier


_LOGGER: Final = logging.getLogger(__name__)


def read_own_checkpoint(
    note: bytes, what: str, origin: str, keys: Sequence[Verifier]
) -> Checkpoint:
    """Reads a stored checkpoint that one key of this log at least must have signed.

    Errors call it `what`. Raises StorageError if it is damaged, of another log, or signed by none
    of the keys.
    """
    try:
        checkpoint = parse_checkpoint(verify_note(parse_note(note), keys).text)
    except MunimentError as error:
        raise StorageError(f"{what}: {error}") from error
    if checkpoint.origin != origin:
        raise StorageError(f"{what} is of the log {checkpoint.origin}")
    return checkpoint


class HeadSigner:
    """Signs the log's heads, in growing order.

    The tree under it only ever grows (the store's guarded update), so of two heads signed here one
    is a prefix of the other; what is left to check is that sizes never go back and that one size
    never gets two roots.

    Times never go back either, whatever the clock does and whichever machine signs: while the clock
    is behind the newest head, that head's time is signed again. An ML-DSA-44 signature carries it.
    """

    def __init__(
        self, origin: str, signers: Sequence[Signer], now: Callable[[], int], last: bytes | None
    ) -> None:
        """Starts after `last`, the newest signed checkpoint; the Ed25519 signer comes first."""
        self._origin = origin
        self._signers = signers
        self._now = now
        self._last: Head | None = None
        self._time = 0
        self._is_behind = False
        self._made: tuple[bytes, SignedCheckpoint] | None = None
        if last is not None:
            signed = parse_signed_checkpoint(last)
            self._last = signed.checkpoint.head
            own = [verifier_for(signer.vkey) for signer in signers]
            # By none of them when the keys were replaced; times of the old ones bind nobody here.
            with suppress(VerificationError):
                self._time = max(
                    each.timestamp or 0 for each in verify_note(signed.note, own).signatures
                )

    @property
    def last(self) -> Head | None:
        """The newest head signed."""
        return self._last

    def has_signed(self, note: bytes) -> bool:
        """Whether a stored checkpoint of this log carries a signature of each of the keys."""
        lines = parse_signed_checkpoint(note).note.signatures
        found = {(line.name, line.key_id) for line in lines}
        return found >= {(signer.vkey.name, signer.vkey.key_id) for signer in self._signers}

    def sign(self, head: Head) -> bytes:
        """Signs a head with all keys; about a millisecond, most of it outside the interpreter lock.

        The note must be stored before anybody sees it. Raises StorageError if the head contradicts
        one signed before.
        """
        last = self._last
        if last is not None and (
            head.size < last.size or (head.size == last.size and head.root != last.root)
        ):
            raise StorageError(
                f"the tree of size {head.size} contradicts the head of size {last.size} that was "
                "signed already"
            )
        self._last = head
        checkpoint = Checkpoint(self._origin, head.size, head.root)
        signed = sign_checkpoint(checkpoint, self._signers, self._next_time())
        note = signed.encode()
        self._made = note, signed
        return note

    def read(self, note: bytes) -> SignedCheckpoint:
        """A signed checkpoint; the one just made is not parsed again.

        Raises FormatError if it is none.
        """
        made = self._made
        if made is not None and made[0] is note:
            return made[1]
        return parse_signed_checkpoint(note)

    def _next_time(self) -> int:
        now = self._now()
        behind = now < self._time
        if behind and not self._is_behind:
            event(
                _LOGGER,
                logging.ERROR,
                "the clock is behind the newest head; that head's time is signed meanwhile",
                now=now,
                signed=self._time,
            )
        self._is_behind = behind
        self._time = max(now, self._time)
        return self._time
