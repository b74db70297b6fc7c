"""Errors of SQLite as errors of the log's storage, which say what was being done."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from muniment.local.sqlitefile import FatalDatabaseError, UnwritableError
from muniment_log.errors import StorageError, UnwritableStorageError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def reported(what: str) -> Iterator[None]:
    """Raises StorageError, with `what`, for errors of SQLite."""
    try:
        yield
    except UnwritableError as error:
        raise UnwritableStorageError(f"{what}: {error}") from error
    except (FatalDatabaseError, sqlite3.Error) as error:
        raise StorageError(f"{what}: {error}") from error
