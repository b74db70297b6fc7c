"""Domain errors of the log: what a caller of the core can be told.

The HTTP layer turns them into problem details in one table, the command line into exit codes.
"""

from typing import ClassVar

from muniment.local.sqlitefile import UnwritableError
from muniment.tlog.encoding import MunimentError


class LogError(MunimentError):
    """Base of everything the log refuses on purpose."""


class StreamGapError(LogError):
    """A batch is ahead of its stream and the batches before it did not come in time."""

    def __init__(self, expected: int, got: int) -> None:
        super().__init__(f"the stream continues at {expected}, this batch begins at {got}")
        self.expected = expected


class StreamConflictError(LogError):
    """A batch says something else than what the stream already holds at its sequence number."""

    def __init__(self, first: int, reason: str) -> None:
        super().__init__(f"sequence {first}: {reason}")
        self.first = first


class OverloadedError(LogError):
    """More waits than the log accepts at once; the same request may succeed later."""

    retry_after_s: ClassVar = 1


class OverBudgetError(LogError):
    """Whoever sent this has used up what it may send; later the same request may succeed."""

    def __init__(self, what: str, *, retry_after_s: int) -> None:
        super().__init__(what)
        self.retry_after_s = retry_after_s


class UnavailableError(LogError):
    """The log stops or its storage failed: what became of the batch is known after a restart."""


class FolderInUseError(UnavailableError):
    """Another process writes to a folder of static files; nothing was changed."""


class NotOrderedError(UnavailableError):
    """No records are taken for now: nothing of this request was ordered."""


class NotPublishedError(LogError):
    """The published head did not reach a tree size in time; what was accepted stays durable."""

    def __init__(self, wanted: int, published: int) -> None:
        super().__init__(f"the published tree size is {published}, not yet {wanted}")
        self.published = published


class StorageError(LogError):
    """The storage failed or does not hold what it must hold. Fatal to the process."""


class UnwritableStorageError(StorageError, UnwritableError):
    """Nothing can be written now. Fatal to the process, which may be started again."""


class EngineRefusedError(StorageError):
    """A database or object store says no and would again: for its operator to change.

    At a start it ends the process, with what it said. While one runs it ends no more than what was
    asked: what is refused today, for a credential that ended or a quota, is allowed tomorrow.
    """


class DamagedTileError(StorageError):
    """A stored tile or bundle is not the one that the tree was made of; nothing is told from it."""

    def __init__(self, path: str, what: str) -> None:
        super().__init__(f"{path} {what}: see `muniment-log check`")
        self.path = path


class PrunedError(LogError):
    """An entry below the log's minimum index: its bundle is in the archive, its hash is here."""

    def __init__(self, path: str, size: int) -> None:
        super().__init__(
            f"{path}: pruned: the log keeps entries from index {size} on; those before are in its "
            "archive, and what proves them is still served"
        )
        self.size = size


class IndexUnavailableError(LogError):
    """The index cannot answer now; the log itself is not affected."""


class IndexLogUnavailableError(LogError):
    """The index log proves nothing now; the log itself is not affected."""


class IndexLogError(LogError):
    """The index log must not go on: what it has published does not follow from the log's leaves."""


class WrongIdentityError(LogError):
    """The database belongs to another origin or other keys than the configured ones."""


class RolledBackError(LogError):
    """A witness has cosigned a tree that the database does not hold: it is an older copy."""
