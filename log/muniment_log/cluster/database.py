"""PostgreSQL for the cluster (design section 7): one pool, short transactions, bounded patience.

Whatever runs here may run twice: a transaction is repeated after a serialization failure, and also
after a lost connection, when nobody knows whether it was committed. So each one guards what it
changes by what it read before, and recognises its own earlier success. When the database cannot
be reached for longer than the patience allows, the outcome is unknown and the caller says so.

Nothing else of the program knows asyncpg.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import asyncpg  # type: ignore[import-untyped]  # it ships no types; `Connection` says what we use

from muniment.service.database import DatabaseError
from muniment_log.errors import LogError, StorageError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

FIRST_PAUSE: Final = 0.005
MAX_PAUSE: Final = 0.25
"""Seconds between two attempts; doubles from the first to the most."""

COMMAND_SECONDS: Final = 5.0
"""Longest time for one statement. The slowest writes a group of batches, some 16 MiB."""

PATIENCE_SECONDS: Final = 5.0
"""How long a transaction is attempted again, from the first failure on."""

T = TypeVar("T")

_AGAIN: Final = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)

_LOST: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,  # the server shuts down, starts, or cancels
    asyncpg.InsufficientResourcesError,  # too many connections, a full disk
    asyncpg.ReadOnlySQLTransactionError,  # a standby, until it is promoted
    OSError,
    TimeoutError,
)


class Connection(Protocol):
    """What transactions need of asyncpg's connection."""

    async def fetch(self, query: str, *args: Any) -> Sequence[Mapping[str, Any]]:
        """All rows."""
        ...

    async def fetchrow(self, query: str, *args: Any) -> Mapping[str, Any] | None:
        """The first row."""
        ...

    async def fetchval(self, query: str, *args: Any) -> Any:
        """The first column of the first row."""
        ...

    async def execute(self, query: str, *args: Any) -> str:
        """A statement; several at once without arguments."""
        ...


class Database:
    """A pool of connections to one log's database. Use `open`; `close` at the end."""

    def __init__(self, pool: asyncpg.Pool, patience: float) -> None:
        """Takes over a pool; `patience` is in seconds."""
        self._pool = pool
        self._patience = patience

    @classmethod
    async def open(
        cls, url: str, *, connections: int = 4, patience: float = PATIENCE_SECONDS
    ) -> Database:
        """Connects.

        Args:
            url: as libpq takes it, `postgresql://user@host/name`.
            connections: most of them open at a time.
            patience: seconds for which a failed transaction is tried again.

        Raises:
            DatabaseError: the URL cannot be used, or the server does not let us in.
            UnavailableError: nothing answers.
        """

        async def nothing(_: object) -> None:
            """No session state is ever set, so there is none to reset."""

        pool = None
        try:
            pool = asyncpg.create_pool(
                url,
                min_size=0,  # a floor would be kept by a task that writes tracebacks into the log
                max_size=connections,
                command_timeout=COMMAND_SECONDS,
                timeout=COMMAND_SECONDS,
                reset=nothing,
                server_settings={
                    "application_name": "muniment-log",
                    # Who is cut off in the middle of a transaction must not hold its locks until
                    # TCP notices, hours later: nobody else could take the lease over.
                    "idle_in_transaction_session_timeout": f"{COMMAND_SECONDS * 1000:.0f}",
                },
            )
            await pool
            async with pool.acquire(timeout=COMMAND_SECONDS):
                return cls(pool, patience)
        except BaseException as error:
            if pool is not None:
                pool.terminate()
            if isinstance(error, _LOST) and not isinstance(error, ValueError):
                raise UnavailableError(f"PostgreSQL: {_text(error)}") from error
            if isinstance(error, ValueError | asyncpg.PostgresError):
                raise DatabaseError(f"PostgreSQL: {_text(error)}") from error
            raise

    async def close(self) -> None:
        """Closes all connections, at once if they do not end by themselves."""
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                await self._pool.close()
        except (TimeoutError, *_LOST):
            self._pool.terminate()

    async def transact(self, work: Callable[[Connection], Awaitable[T]], what: str) -> T:
        """Runs work in a transaction and commits it; work may run several times.

        Args:
            work: does it; an error that it raises rolls everything back and comes out of here.
            what: says in errors what was done.

        Raises:
            UnavailableError: the database cannot be reached; the outcome is unknown.
            StorageError: the database refuses, and would again.
        """

        async def transaction(connection: Connection) -> T:
            await connection.execute("BEGIN")
            try:
                done = await work(connection)
            except LogError:
                await connection.execute("ROLLBACK")
                raise
            await connection.execute("COMMIT")
            return done

        return await self._attempt(transaction, what)

    async def read(self, work: Callable[[Connection], Awaitable[T]], what: str) -> T:
        """Runs a single statement, which is a transaction of its own; see `transact`."""
        return await self._attempt(work, what)

    async def _attempt(self, work: Callable[[Connection], Awaitable[T]], what: str) -> T:
        loop = asyncio.get_running_loop()
        deadline: float | None = None
        pause = FIRST_PAUSE
        while True:
            try:
                return await self._once(work)
            except (*_AGAIN, *_LOST) as error:
                now = loop.time()
                deadline = now + self._patience if deadline is None else deadline
                if now + pause >= deadline:
                    raise UnavailableError(f"{what}: {_text(error)}") from error
            except asyncpg.PostgresError as error:
                raise StorageError(f"{what}: {_text(error)}") from error
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # no secret
            pause = min(2 * pause, MAX_PAUSE)

    async def _once(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        connection: Any = await self._pool.acquire(timeout=COMMAND_SECONDS)
        try:
            return await work(connection)
        except LogError:
            raise
        except BaseException:
            # Nobody knows what it is in the middle of, and what it holds must be let go of.
            connection.terminate()
            raise
        finally:
            await self._pool.release(connection)


def _text(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
