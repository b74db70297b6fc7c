"""C2SP tlog-witness "add-checkpoint", the client's side: one exchange with one witness. No I/O.

The caller says how to post a request, how to prove that one tree extends another, and how to check
the cosignatures; from which size to start, what a refusal means and when to ask again is decided
here, for the log that is witnessed and for whoever feeds a witness from somebody else's log.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from muniment.tlog.checkpoint import SignedCheckpoint
from muniment.tlog.encoding import MunimentError
from muniment.tlog.witnesswire import SIZE_CONTENT_TYPE, AddCheckpoint, parse_size

MAX_ATTEMPTS: Final = 4
"""Requests for one cosignature: each 409 tells the size to start from, and a witness asked by
several processes at once may move between two of them."""

_ACCUSED: Final = b"urn:muniment:problem:misbehaviour-proven"

T = TypeVar("T")


class WitnessError(MunimentError):
    """A witness did not answer, or not with what the protocol demands.

    `retry_after` is for how many seconds it asked not to be asked again.
    """

    def __init__(self, what: str, *, retry_after: float = 0.0) -> None:
        super().__init__(what)
        self.retry_after = retry_after


class AccusedError(WitnessError):
    """The witness holds evidence that this log's key signed two histories; it signs no more."""


class ConflictError(WitnessError):
    """The witness has only told, with a 409, the size to start from; see `Exchange.size`."""


class AheadError(WitnessError):
    """The witness says that it has cosigned what the checkpoint's tree does not contain.

    Only its word: the answer is signed by nobody. `beyond` is the size that it names beyond the
    checkpoint's; None when it has cosigned another tree at a size that the checkpoint's tree has.
    """

    def __init__(self, what: str, beyond: int | None = None) -> None:
        super().__init__(what)
        self.beyond = beyond


class Reply(NamedTuple):
    """A witness's HTTP answer; the media type is without parameters.

    `retry_after` is what its header asks for, in seconds.
    """

    status: int
    media_type: str
    body: bytes
    retry_after: float = 0.0


class Added(NamedTuple, Generic[T]):
    """The size that the witness had cosigned before, and what the check of its answer returned."""

    old: int
    cosigned: T


class Exchange:
    """Adds checkpoints of one log to one witness, last believed to have cosigned tree `size`."""

    def __init__(self) -> None:
        self.size = 0

    async def add(
        self,
        signed: SignedCheckpoint,
        prove: Callable[[int, int], Awaitable[Sequence[bytes]]],
        post: Callable[[bytes], Awaitable[Reply]],
        check: Callable[[bytes], T],
        *,
        attempts: int = MAX_ATTEMPTS,
    ) -> Added[T]:
        """Asks for cosignatures of a checkpoint; WitnessError, which says why, if none came.

        `prove` makes the consistency proof between two sizes, of which the older may be 0; `post`
        sends the body of a request; `check` takes the body of a 200, verifies as much as the caller
        can, and raises `WitnessError` for what it does not accept. At most `attempts` requests are
        sent; a `ConflictError` says that each was answered with a size.
        """
        new = signed.checkpoint.size
        for _ in range(attempts):
            # A size beyond ours is asked about again: it is only what somebody's answer said.
            old = min(self.size, new)
            proof = tuple(await prove(old, new))
            reply = await post(AddCheckpoint(old, proof, signed).encode())
            if reply.status == 200:
                added = Added(old, check(reply.body))
                self.size = new
                return added
            self.size = _size_of_conflict(reply, old, new)
            if self.size > new:
                raise AheadError(f"it has cosigned size {self.size}, beyond {new}", self.size)
        raise ConflictError(f"{attempts} conflicts in a row")


def excerpt(body: bytes) -> str:
    """The beginning of an answer, for an error message."""
    return repr(body[:200].decode("utf-8", "replace"))


def _size_of_conflict(reply: Reply, old: int, new: int) -> int:
    """The size that a 409 tells to start from; for any other answer a WitnessError."""
    status, body = reply.status, reply.body
    if status == 403 and _ACCUSED in body:
        raise AccusedError(f"it holds evidence against this log: {excerpt(body)}")
    # It compared the checkpoint with what it holds at a size that it has named itself.
    differs = AheadError(f"it has cosigned another tree: status {status}: {excerpt(body)}")
    if status == 422 and old > 0:
        raise differs
    if status != 409 or (reply.media_type != SIZE_CONTENT_TYPE and old < new):
        raise WitnessError(f"status {status}: {excerpt(body)}", retry_after=reply.retry_after)
    try:
        size = parse_size(body)
    except MunimentError as error:
        if old == new > 0:
            raise differs from error
        raise WitnessError(f"a conflict without a size: {error}") from error
    if size == old == new > 0:
        raise differs
    return size
