"""C2SP tlog-mirror, "add-entries": one upload, read package by package as it comes.

What was verified stays, however the upload ends: the client goes on from there.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from msgspec import Struct

from muniment.tlog.checkpoint import SignedCheckpoint
from muniment.tlog.encoding import FormatError, VerificationError
from muniment.tlog.mirrorwire import MirrorInfo, Package, Upload, UploadReader
from muniment.tlog.note import SignatureLine
from muniment_service.http import Problem
from muniment_service.limits import Budget
from muniment_witness.judge.mirroring import is_in_place
from muniment_witness.mirror.copies import LogCopy
from muniment_witness.mirror.mirror import Mirror


class UploadCosigned(Struct, frozen=True):
    """All entries are here, and the checkpoint of the upload's end is the mirror's."""

    copy: LogCopy
    lines: tuple[SignatureLine, ...]


class GoOn(Struct, frozen=True):
    """A 202 (some of the entries are here) or a 409 (the upload begins or ends elsewhere)."""

    copy: LogCopy
    status: int
    info: MirrorInfo


Outcome = UploadCosigned | GoOn


class Receiver:
    """Receives uploads, any number at a time, within a budget of bytes."""

    def __init__(self, mirror: Mirror, most: int, seconds: float) -> None:
        """Holds at most so many bytes that are not parsed yet, and reads an upload for so long."""
        self._mirror = mirror
        self._budget: Final = Budget(most)
        self._seconds: Final = seconds

    async def receive(
        self, pieces: AsyncIterator[bytes], about: frozenset[str] | None = None
    ) -> Outcome:
        """Receives an upload, given its bytes as they come; of a log in `about`, or of any.

        Raises Problem: 404 for a log that is not mirrored, 422 without a pending checkpoint or for
        a proof that does not hold, 400 when it ends before its first package, or 503, when the
        budget is spent.
        """
        reader = UploadReader()
        body = _Body(pieces, reader, self._budget, self._seconds)
        try:
            upload = await body.header()
            copy, tree = await self._admit(upload, about)
            if isinstance(tree, GoOn):
                return tree
            taken = await self._take(body, copy, tree)
        finally:
            body.release()
        if reader.complete:
            lines = await copy.cosign(tree, self._mirror.signers, self._mirror.clock)
            return self._go_on(409, copy, None) if lines is None else UploadCosigned(copy, lines)
        if not taken:
            raise body.refusal()
        return self._go_on(202, copy, tree)

    async def _admit(
        self, upload: Upload, about: frozenset[str] | None
    ) -> tuple[LogCopy, SignedCheckpoint | GoOn]:
        mirror, origin = self._mirror, upload.origin
        if origin not in mirror.logs or (about is not None and origin not in about):
            raise Problem(
                404, "unknown-origin", "this mirror does not mirror the log of the upload"
            )
        copy = mirror.copies[origin]
        if mirror.pending(origin) is None:
            raise Problem(422, "no-checkpoint", "no checkpoint of this log is pending: add one")
        tree = await mirror.pending_at(origin, upload.end, upload.ticket)
        in_place = is_in_place(
            upload,
            known=tree is not None,
            mirrored=copy.mirrored,
            next_entry=copy.next_entry,
        )
        if tree is None or not in_place:
            return copy, self._go_on(409, copy, tree)
        return copy, tree

    async def _take(self, body: "_Body", copy: LogCopy, tree: SignedCheckpoint) -> int:
        """Takes the packages that come, and returns how many; they are saved."""
        taken = 0
        try:
            async for package in body.packages():
                await copy.take(package, tree)
                taken += 1
                await asyncio.sleep(0)  # hashing keeps everybody else waiting
        except VerificationError as error:
            raise Problem(422, "bad-proof", str(error)) from error
        finally:
            if taken:
                await copy.save()
        return taken

    def _go_on(self, status: int, copy: LogCopy, tree: SignedCheckpoint | None) -> GoOn:
        """Tells to go on with the upload's own checkpoint, as long as it lacks entries."""
        if tree is None or not copy.next_entry <= tree.checkpoint.size >= copy.mirrored:
            tree = self._mirror.pending(copy.origin)
        assert tree is not None  # noqa: S101 - `_admit` has seen one
        info = MirrorInfo(tree.checkpoint.size, copy.next_entry, self._mirror.ticket(tree))
        return GoOn(copy, status, info)


class _Body:
    """The bytes of an upload as they come: it ends where they do, or can no more be parsed."""

    def __init__(
        self, pieces: AsyncIterator[bytes], reader: UploadReader, budget: Budget, seconds: float
    ) -> None:
        self._pieces = pieces
        self._reader = reader
        self._budget = budget
        self._held = 0
        self.busy: Problem | None = None
        self._until = asyncio.get_running_loop().time() + seconds

    async def header(self) -> Upload:
        """What it begins with; Problem 400 or FormatError when it does not."""
        while (upload := self._reader.header()) is None:
            if not await self._more():
                raise self.refusal()
        return upload

    def refusal(self) -> Problem:
        """Why it is refused when it ended before its first package."""
        ended = Problem(400, "incomplete-body", "the body ended before its first package did")
        return self.busy or ended

    async def packages(self) -> AsyncIterator[Package]:
        """The packages, until there are no more."""
        reader = self._reader
        while not reader.complete:
            try:
                package = reader.package()
            except FormatError:
                return
            self._count()
            if package is not None:
                yield package
            elif not await self._more():
                return

    async def _more(self) -> bool:
        """Reads on; says whether more has come."""
        try:
            async with asyncio.timeout_at(self._until):
                piece = await anext(self._pieces, None)
        except (TimeoutError, Problem, FormatError):
            return False  # whatever it was: nothing more can be read
        if piece is None:
            return False
        try:
            self._budget.take(len(piece))
        except Problem as problem:
            self.busy = problem
            return False
        self._held += len(piece)
        self._reader.feed(piece)
        return True

    def _count(self) -> None:
        held = self._reader.held
        self._budget.give(self._held - held)
        self._held = held

    def release(self) -> None:
        """Gives back what is held."""
        self._budget.give(self._held)
        self._held = 0
