"""Parts of records, as those read them who only look up what a record speaks of.

Reading so little takes a fraction of the time. What they do not name may be of any type: a record
that the log has taken must be found, whatever else is in it.
"""

from msgspec import Struct


class End(Struct, gc=False):
    """A thing at an end of an edge; without an origin it is of the log that has the edge."""

    type: str
    id: str
    origin: str | None = None


class NarrowTarget(Struct, gc=False):
    """What a revocation revokes."""

    decision: str | None = None
    execution: str | None = None
    key: str | None = None


class NarrowEntity(Struct, gc=False):
    """A subject or resource of a request.

    It is no `End`: what else a request says of it is anybody's, an `origin` of whatever type, too.
    """

    type: str
    id: str
