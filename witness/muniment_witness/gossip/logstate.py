"""The state of reading the logs."""

from msgspec import Struct


class LogState(Struct):
    """The state of reading one log.

    Attributes:
        reached: When it last gave a checkpoint that its key signed, Unix seconds; 0 for never.
        error: Why the last attempt failed; empty when it did not.
        size: Size of the checkpoint that it last gave.
        finding: What came of comparing that; empty before the first.
        behind: Since when it has not shown `target`, Unix seconds; 0 when it shows all we know.
        target: A size that we knew of, larger than what it showed.
        etag: Entity tag of the checkpoint that was dealt with.
    """

    reached: int = 0
    error: str = ""
    size: int = 0
    finding: str = ""
    behind: int = 0
    target: int = 0
    etag: str = ""
