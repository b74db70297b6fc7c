"""Signing heads (C2SP tlog-checkpoint): never one that contradicts a head signed before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from muniment.formats.checkpoint import Checkpoint, parse_signed_checkpoint, sign_checkpoint
from muniment_log.errors import StorageError
from muniment_log.storage.port import Head

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from muniment.formats.note import Signer


class HeadSigner:
    """Signs the log's heads, in growing order.

    The tree under it only ever grows (the store's guarded update), so of two heads signed here one
    is a prefix of the other; what is left to check is that sizes never go back and that one size
    never gets two roots.
    """

    def __init__(
        self, origin: str, signers: Sequence[Signer], now: Callable[[], int], last: bytes | None
    ) -> None:
        """Starts after the newest head ever signed.

        Args:
            origin: the log's origin.
            signers: the log's keys, the Ed25519 one first.
            now: Unix seconds.
            last: the newest signed checkpoint as stored.
        """
        self._origin = origin
        self._signers = signers
        self._now = now
        self._last: Head | None = None
        if last is not None:
            checkpoint = parse_signed_checkpoint(last).checkpoint
            self._last = Head(checkpoint.size, checkpoint.root)

    @property
    def last(self) -> Head | None:
        """The newest head signed."""
        return self._last

    def sign(self, head: Head) -> bytes:
        """Signs a head with all keys; about a millisecond, most of it outside the interpreter lock.

        The note must be stored before anybody sees it.

        Raises:
            StorageError: the head contradicts one signed before.
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
        return sign_checkpoint(checkpoint, self._signers, self._now()).encode()
