"""Signing heads (C2SP tlog-checkpoint): never one that contradicts a head signed before.

ML-DSA-44 takes half a millisecond, about as long as a sync. So `begin` has these keys sign in a
thread while the note with the other signatures becomes durable, and `complete` waits for both: what
leaves the process always has the signatures of all keys. After a crash in between, the stored note
lacks some, and the restart signs the same head again (`has_signed`).
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from muniment.local.logs import event
from muniment.tlog.checkpoint import (
    Checkpoint,
    SignedCheckpoint,
    parse_checkpoint,
    parse_signed_checkpoint,
    sign_checkpoint,
)
from muniment.tlog.cosignature import MLDSA44Cosigner, verifier_for
from muniment.tlog.encoding import MunimentError, VerificationError
from muniment.tlog.note import SignatureLine, parse_note, verify_note
from muniment_log.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from muniment.tlog.heads import Head
    from muniment.tlog.note import Signer, Verifier


_LOGGER: Final = logging.getLogger(__name__)

_TIME_KEY: Final = int.from_bytes(sha256(b"muniment-log: time of a head\n").digest()[:4], "big")
"""The key ID of a line that states the time of signatures which are still being made. Nobody has a
key of it, so that every reader ignores the line; it is only in the database."""

_TIME_SIZE: Final = 8  # bytes


class _Begun(NamedTuple):
    """A head that some keys have signed: the note as it is stored, and the others' signatures."""

    note: bytes
    signed: SignedCheckpoint
    others: Future[tuple[SignatureLine, ...]]


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
        slow = [signer for signer in signers if isinstance(signer, MLDSA44Cosigner)]
        # What is stored needs a signature.
        self._slow = slow if len(slow) < len(signers) else []
        self._quick = [signer for signer in signers if signer not in self._slow]
        self._thread = ThreadPoolExecutor(1, "head-signer") if self._slow else None
        self._begun: _Begun | None = None
        if last is not None:
            signed = parse_signed_checkpoint(last)
            self._last = signed.checkpoint.head
            own = [verifier_for(signer.vkey) for signer in signers]
            # By none of them when the keys were replaced; times of the old ones bind nobody here.
            with suppress(VerificationError):
                self._time = max(
                    each.timestamp or 0 for each in verify_note(signed.note, own).signatures
                )
                self._time = max(self._time, *map(_time_of, signed.note.signatures))

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
        checkpoint, now = self._next(head)
        signed = sign_checkpoint(checkpoint, self._signers, now)
        note = signed.encode()
        self._made = note, signed
        return note

    def begin(self, head: Head) -> bytes:
        """As `sign`, but the slow keys only begin to sign; see `complete`.

        What is returned is to be stored, and shown to nobody. In any thread.
        """
        if self._thread is None:
            return self.sign(head)
        checkpoint, now = self._next(head)
        text = checkpoint.text
        others = self._thread.submit(lambda: tuple(one.sign(text, now) for one in self._slow))
        signed = sign_checkpoint(checkpoint, self._quick, now)
        note = signed.with_signatures([_time_line(self._origin, now)]).encode()
        self._begun = _Begun(note, signed, others)
        return note

    def completed(self, note: bytes) -> SignedCheckpoint | None:
        """The checkpoint of a stored note, with all signatures; None while one is being made."""
        begun = self._begun_as(note)
        if begun is None:
            return self.read(note)
        if not begun.others.done():
            return None
        return begun.signed.with_signatures(begun.others.result())

    async def complete(self, note: bytes) -> SignedCheckpoint:
        """The checkpoint of a stored note, when all its signatures are there."""
        begun = self._begun_as(note)
        if begun is None:
            return self.read(note)
        others = await asyncio.wrap_future(begun.others)
        return begun.signed.with_signatures(others)

    def _begun_as(self, note: bytes) -> _Begun | None:
        begun = self._begun
        return begun if begun is not None and begun.note == note else None

    def _next(self, head: Head) -> tuple[Checkpoint, int]:
        """The checkpoint of the next head, and the time of its signatures."""
        last = self._last
        if last is not None and (
            head.size < last.size or (head.size == last.size and head.root != last.root)
        ):
            raise StorageError(
                f"the tree of size {head.size} contradicts the head of size {last.size} that was "
                "signed already"
            )
        self._last = head
        return Checkpoint(self._origin, head.size, head.root), self._next_time()

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


def _time_line(origin: str, now: int) -> SignatureLine:
    return SignatureLine(origin, _TIME_KEY, now.to_bytes(_TIME_SIZE, "big"))


def _time_of(line: SignatureLine) -> int:
    """The time that a line states in the place of a signature; 0 for others."""
    if line.key_id != _TIME_KEY or len(line.signature) != _TIME_SIZE:
        return 0
    return int.from_bytes(line.signature, "big")
