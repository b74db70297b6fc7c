"""From domain errors to HTTP (RFC 9457): the one table, and the few problems with members."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from muniment.local.sqlitefile import FatalDatabaseError
from muniment_log.core import ingest
from muniment_log.core.addenda import BadAddendumError, MissingAddendumError, TooManyAddendaError
from muniment_log.core.repeats import BadKeyError, IdConflictError, KeyConflictError
from muniment_log.errors import (
    DamagedTileError,
    EngineRefusedError,
    IndexLogUnavailableError,
    IndexUnavailableError,
    NotOrderedError,
    OverBudgetError,
    OverloadedError,
    PrunedError,
    StorageError,
    StreamConflictError,
    StreamGapError,
    UnavailableError,
)
from muniment_service.http import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

ERRORS: Final[dict[type[Exception], tuple[int, str]]] = {
    ingest.MalformedBatchError: (400, "malformed-batch"),
    ingest.WrongLogError: (403, "wrong-log"),
    ingest.UnknownGatewayError: (403, "unknown-gateway"),
    ingest.BadSignatureError: (403, "bad-signature"),
    ingest.TooManyRecordsError: (413, "too-many-records"),
    ingest.BadRecordError: (422, "bad-record"),
    BadAddendumError: (422, "bad-addendum"),
    MissingAddendumError: (422, "missing-addendum"),
    TooManyAddendaError: (413, "too-many-addenda"),
    StreamGapError: (409, "stream-gap"),
    StreamConflictError: (409, "stream-conflict"),
    IdConflictError: (409, "id-conflict"),
    KeyConflictError: (409, "idempotency-conflict"),
    BadKeyError: (400, "bad-idempotency-key"),
    OverBudgetError: (429, "over-budget"),
    OverloadedError: (503, "overloaded"),
    UnavailableError: (503, "unavailable"),
    NotOrderedError: (503, "unavailable"),
    StorageError: (503, "storage-failed"),
    EngineRefusedError: (503, "storage-failed"),
    DamagedTileError: (500, "damaged-tile"),
    PrunedError: (410, "pruned"),
    IndexUnavailableError: (503, "index-unavailable"),
    IndexLogUnavailableError: (503, "index-log-unavailable"),
    FatalDatabaseError: (503, "storage-failed"),
}
"""Status and slug of each domain error; those with members go through `problem_of`."""

UNAVAILABLE_SECONDS: Final = 5
"""Retry-After while the log restarts."""


def problem_of(error: Exception) -> Problem:
    """The problem of a domain error, with its members and headers.

    Raises KeyError if the error is not in the table.
    """
    status, slug = ERRORS[type(error)]
    members: dict[str, int | str] = {}
    headers: Mapping[str, str] = {}
    match error:
        case StreamGapError():
            members = {"expected": error.expected}
        case StreamConflictError():
            members = {"first": error.first}
        case ingest.BadRecordError() | IdConflictError():
            members = {"entry": error.entry}
        case BadAddendumError():
            members = {"addendum": error.number}
        case MissingAddendumError():
            members = {"entry": error.entry, "digest": error.digest.hex()}
        case OverBudgetError() | OverloadedError():
            headers = {"Retry-After": str(error.retry_after_s)}
        case UnavailableError() | StorageError() | FatalDatabaseError() | IndexUnavailableError():
            headers = {"Retry-After": str(UNAVAILABLE_SECONDS)}
        case IndexLogUnavailableError():
            headers = {"Retry-After": str(UNAVAILABLE_SECONDS)}
        case _:
            pass
    return Problem(status, slug, str(error), members=members, headers=headers)


def not_published_yet(published: int) -> Problem:
    """What is asked for lies beyond the published tree."""
    return Problem(
        404,
        "not-published-yet",
        f"the published tree has {published} leaves",
        members={"published": published},
    )
