"""What can go wrong between a client and a log, as types (HTTP problems: RFC 9457).

The split that callers need is *why*: nobody answered (``Unreachable``: try again), the log said
no (``Refused``: the problem says why), the log said something that the protocol does not allow
(``BadAnswer``: do not believe it), or this process would have to break a promise to go on
(``StreamError``). What does not verify is ``tlog.encoding.VerificationError``, as everywhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from muniment.tlog.encoding import FormatError, MunimentError, VerificationError

if TYPE_CHECKING:
    from muniment.records.members import DenialCode

__all__ = [
    "BadAnswer",
    "Denied",
    "FormatError",
    "GatewayClosed",
    "InputError",
    "MunimentError",
    "NotMirrored",
    "NotPublished",
    "PartlyDone",
    "Problem",
    "RecordRefused",
    "Refused",
    "SpoolFull",
    "StreamConflict",
    "StreamError",
    "StreamGap",
    "Undelivered",
    "Unreachable",
    "VerificationError",
    "WrongLoop",
]

PROBLEM_PREFIX = "urn:muniment:problem:"

_DAMAGES = frozenset({"damaged-tile", "damaged-addendum"})

# Answers that mean "not now": the same request may succeed later. 500 is among them because
# a log that stops on an I/O error is restarted by its supervisor and recovers from disk.
RETRIABLE = frozenset({408, 425, 429, 500, 502, 503, 504})


class InputError(MunimentError):
    """A file or line that the user gave cannot be used; the message names it."""


class PartlyDone(MunimentError):  # noqa: N818 - says what happened
    """Something failed, which is its ``error``, after a part was done."""

    def __init__(self, error: MunimentError, done: str) -> None:
        super().__init__(f"{error}; {done}")
        self.error = error


@dataclass(frozen=True, slots=True)
class Problem:
    """A refusal as the log worded it (RFC 9457 problem details).

    Attributes:
        status: The HTTP status code.
        type: The problem type; ``urn:muniment:problem:<slug>`` for the log's own.
        title: One short sentence, the same for every problem of the type.
        detail: What is special about this one.
        members: Further members, e.g. ``expected`` of a stream gap.
    """

    status: int
    type: str = "about:blank"
    title: str = ""
    detail: str = ""
    members: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def slug(self) -> str:
        """The problem's short name, or "" when its type is not one of Muniment's."""
        return self.type.removeprefix(PROBLEM_PREFIX) if self.is_own else ""

    @property
    def is_own(self) -> bool:
        """Whether the type is one of Muniment's."""
        return self.type.startswith(PROBLEM_PREFIX)

    def integer(self, member: str) -> int | None:
        """A non-negative integer member, or None when it is absent or something else."""
        value = self.members.get(member)
        return value if type(value) is int and value >= 0 else None

    def __str__(self) -> str:
        words = self.detail or self.title or "no reason given"
        return f"{words} (HTTP {self.status}{', ' + self.slug if self.slug else ''})"


class Unreachable(MunimentError):  # noqa: N818 - says what happened
    """No whole answer came: no connection, a broken one, or the deadline passed."""


class BadAnswer(MunimentError):  # noqa: N818 - says what happened
    """An answer came that the protocol does not allow: wrong form, too long, a redirect."""


class Refused(MunimentError):  # noqa: N818 - says what happened
    """The log answered with an error; it asked to wait ``retry_after`` seconds, or None."""

    def __init__(self, problem: Problem, retry_after: float | None = None) -> None:
        super().__init__(str(problem))
        self.problem = problem
        self.retry_after = retry_after

    @property
    def is_retriable(self) -> bool:
        """Whether the same request may succeed later."""
        return self.problem.status in RETRIABLE

    @property
    def is_damage(self) -> bool:
        """Whether the log says that what it holds is damaged: then it was reached, and is wrong."""
        return self.problem.slug in _DAMAGES


class RecordRefused(Refused):
    """The log will never take one of the records: that at ``position``, from 0, of the caller's."""

    def __init__(self, problem: Problem, position: int) -> None:
        super().__init__(problem)
        self.position = position


class NotPublished(MunimentError):  # noqa: N818 - says what happened
    """The records are durable and have their indices, but no quorum cosigned them in time."""


class NotMirrored(NotPublished):
    """The records are durable and cosigned, but mirrors did not come to hold them in time."""


class Undelivered(Unreachable):
    """The caller's deadline passed first. The records may be logged already or be logged later.

    The gateway goes on trying the same batch, so they are never logged twice.
    """


class GatewayClosed(MunimentError):  # noqa: N818 - says what happened
    """The gateway was closed before the records were accepted."""


class WrongLoop(MunimentError, RuntimeError):  # noqa: N818 - says what happened
    """The call was made from an event loop, or a thread, in which it could only wait for ever."""


class Denied(MunimentError):  # noqa: N818 - the word that callers know
    """The action must not run: nothing proves that it is authorised.

    Attributes:
        codes: At least one denial code of the design's closed set.
        reasons: In words, what was missing.
        index: The decision's leaf index, when it is known to be logged.
    """

    def __init__(
        self,
        codes: "Sequence[DenialCode]",
        reasons: Sequence[str],
        *,
        index: int | None = None,
    ) -> None:
        self.codes: tuple[DenialCode, ...] = tuple(codes) or ("authorization_discontinuity",)
        self.reasons = tuple(reasons)
        self.index = index
        super().__init__(f"{', '.join(self.codes)}: {'; '.join(self.reasons)}")


class SpoolFull(MunimentError):  # noqa: N818 - says what happened
    """The spool holds as much as it may; the records were not taken."""


class StreamError(MunimentError):
    """The stream at the log is not where this gateway left it; the gateway takes no more."""


class StreamGap(StreamError):  # noqa: N818 - says what happened
    """The log expects an earlier record than the next one: it has lost what it acknowledged."""

    def __init__(self, message: str, *, expected: int, sequence: int) -> None:
        super().__init__(message)
        self.expected = expected
        self.sequence = sequence


class StreamConflict(StreamError):  # noqa: N818 - says what happened
    """The log holds other records at this place of the stream: two writers, or a forked one.

    ``batch`` is the refused batch's bytes, as evidence.
    """

    def __init__(self, message: str, *, problem: Problem | None, batch: bytes = b"") -> None:
        super().__init__(message)
        self.problem = problem
        self.batch = batch
