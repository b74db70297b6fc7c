"""PostgreSQL for the cluster: one pool, short transactions, bounded patience.

Whatever runs here may run twice: a transaction is repeated after a serialization failure, and also
after a lost connection, when nobody knows whether it was committed. So each one guards what it
changes by what it read before, and recognises its own earlier success. When the database cannot
be reached for longer than the patience allows, the outcome is unknown and the caller says so.

What one transaction sees, another machine need not have: with synchronous replication, a commit
that waits for a standby becomes visible when the primary restarts, or when the wait is ended from
outside, and is gone after a failover. So whoever finds in the database what it would otherwise have
written, and says so to others, calls `settle` in the same transaction: its commit waits for all
that it has seen.

Nothing else of the program knows asyncpg.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import asyncpg  # type: ignore[import-untyped]  # it ships no types; `DatabaseConnection` says what we use

from muniment.local.backoff import Backoff
from muniment.local.sqlitefile import DatabaseError
from muniment_log.errors import EngineRefusedError, LogError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

FIRST_PAUSE: Final = 0.005
MAX_PAUSE: Final = 0.25
"""Seconds between two attempts; doubles from the first to the most."""

COMMAND_SECONDS: Final = 5.0
"""Longest time for one statement. The slowest writes a group of batches, some 16 MiB."""

PATIENCE_SECONDS: Final = 5.0
"""How long a transaction is attempted again, from the first failure on."""

LOCK_SECONDS: Final = 4.0
"""Longest wait of a statement for a lock, by the server's clock. The server does not notice that a
client has gone while it waits for one: without an end, each attempt of an outage would leave a
connection behind, until there are too many. Below `COMMAND_SECONDS`, so that the client hears of
it; a commit that waits for a standby is no wait for a lock, and goes on."""

SETTLERS: Final = 8
"""Transactions at most that wait in `settle` for a standby, however often somebody asks again."""

LOCK_CLASS: Final = 0x6D756E69
"""Tells our advisory locks from others': "muni"."""

SETTLING: Final = (
    f"SELECT pg_advisory_xact_lock({LOCK_CLASS}, {{}}), "
    "pg_logical_emit_message(true, 'muniment', '') AS message "
    "WHERE current_setting('synchronous_standby_names') <> ''"
)
"""What `settle` does, for a statement that does it by itself: with the number of a lock from
`SETTLERS` on, under which one transaction at a time may wait."""

T = TypeVar("T")

_AGAIN: Final = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
)

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


_STARTUP_PARAMETERS: Final = ("idle_in_transaction_session_timeout", "lock_timeout")
"""Settings of each connection that a pooler between may not know."""

_FINAL: Final = (
    "unsupported startup parameter",
    "no such database",
    "no such user",
    "does not exist",
    "authentication failed",
    "rejected SSL upgrade",
)
"""What a server or a pooler says that it would say again, under a code of passing troubles."""


class DatabaseConnection(Protocol):
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


async def settle(db: DatabaseConnection) -> None:
    """Makes the commit of a transaction wait until standbys have all that the transaction saw.

    Costs the commit of a message to nobody; nothing without synchronous replication.
    """
    slot = random.randrange(SETTLERS)  # noqa: S311  # no secret
    await db.fetchrow(SETTLING.format("$1"), slot)


class _Session(asyncpg.Connection):  # type: ignore[misc]  # asyncpg ships no types
    """A connection that never asks the server to cancel a statement."""

    __slots__ = ()

    def _cancel_current_command(self, waiter: Any, cancel_waiter: Any = None) -> None:
        """Does nothing, where asyncpg asks the server to cancel what has taken too long.

        A COMMIT that waits for a standby and is cancelled succeeds: the transaction would be
        visible to everybody, and on no other machine. Without the request it stays invisible until
        the standby has it. `_once` drops the connection after the same timeout. That alone also
        withdraws asyncpg's request, but only as long as no other task runs between the two.
        """


class Database:
    """A pool of connections to one log's database. Use `open`; `close` at the end."""

    def __init__(self, pool: asyncpg.Pool, patience: float) -> None:
        self._pool = pool
        self._patience = patience

    @classmethod
    async def open(
        cls, url: str, *, connections: int = 4, patience: float = PATIENCE_SECONDS
    ) -> Database:
        """Connects to a URL as libpq takes it, `postgresql://user@host/name`.

        A failed transaction is tried again for `patience` seconds.

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
                connection_class=_Session,
                server_settings={
                    "application_name": "muniment-log",
                    # Who is cut off in the middle of a transaction must not hold its locks until
                    # TCP notices, hours later: nobody else could take the lease over.
                    "idle_in_transaction_session_timeout": f"{COMMAND_SECONDS * 1000:.0f}",
                    "lock_timeout": f"{LOCK_SECONDS * 1000:.0f}",
                },
            )
            await pool
            async with pool.acquire(timeout=COMMAND_SECONDS):
                return cls(pool, patience)
        except BaseException as error:
            if pool is not None:
                pool.terminate()
            text = f"PostgreSQL: {_text(error)}"
            is_final = isinstance(error, ValueError) or any(word in text for word in _FINAL)
            if isinstance(error, _LOST) and not is_final:
                raise UnavailableError(text) from error
            if isinstance(error, (ValueError, OSError, asyncpg.PostgresError)):
                raise DatabaseError(f"{text}{_hint(text)}") from error
            if isinstance(error, Exception):  # what answers does not speak the protocol
                raise UnavailableError(
                    f"PostgreSQL: {type(error).__name__}: {_text(error)}"
                ) from error
            raise

    async def close(self) -> None:
        """Closes all connections, at once if they do not end by themselves."""
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                await self._pool.close()
        except (TimeoutError, *_LOST):
            self._pool.terminate()

    async def transact(self, work: Callable[[DatabaseConnection], Awaitable[T]], what: str) -> T:
        """Runs work in a transaction and commits it; work may run several times.

        An error that `work` raises rolls everything back and comes out of here; others name `what`
        was done.

        Raises:
            UnavailableError: the database cannot be reached; the outcome is unknown.
            StorageError: the database refuses, and would again.
        """

        async def transaction(connection: DatabaseConnection) -> T:
            await connection.execute("BEGIN")
            try:
                done = await work(connection)
            except LogError:
                await connection.execute("ROLLBACK")
                raise
            await connection.execute("COMMIT")
            return done

        return await self._attempt(transaction, what)

    async def lacks(self) -> list[str]:
        """The settings of our connections that the server does not have: a pooler dropped them.

        Raises UnavailableError or StorageError if the database cannot be used.
        """
        rows = await self.read(
            lambda db: db.fetch(
                "SELECT name FROM pg_settings WHERE name = ANY($1) AND setting = '0'",
                list(_STARTUP_PARAMETERS),
            ),
            "reading the settings",
        )
        return sorted(row["name"] for row in rows)

    async def read(self, work: Callable[[DatabaseConnection], Awaitable[T]], what: str) -> T:
        """Runs a single statement, which is a transaction of its own; see `transact`."""
        return await self._attempt(work, what)

    async def _attempt(self, work: Callable[[DatabaseConnection], Awaitable[T]], what: str) -> T:
        loop = asyncio.get_running_loop()
        deadline: float | None = None
        backoff = Backoff(FIRST_PAUSE, MAX_PAUSE)
        while True:
            try:
                return await self._once(work)
            except (*_AGAIN, *_LOST) as error:
                now = loop.time()
                deadline = now + self._patience if deadline is None else deadline
                if now + backoff.pause >= deadline:
                    raise UnavailableError(f"{what}: {_text(error)}") from error
            except asyncpg.PostgresError as error:
                raise EngineRefusedError(f"{what}: {_text(error)}{_hint(str(error))}") from error
            except LogError:
                raise
            except Exception as error:
                # Bytes that are not the protocol, rows without what must be in them.
                raise UnavailableError(f"{what}: {type(error).__name__}: {_text(error)}") from error
            await asyncio.sleep(backoff.next())

    async def _once(self, work: Callable[[DatabaseConnection], Awaitable[T]]) -> T:
        connection: Any = await self._pool.acquire(timeout=COMMAND_SECONDS)
        try:
            return await work(connection)
        except LogError:
            raise
        except BaseException:
            # Nobody knows what it is in the middle of, and what it holds must be let go of. At
            # once: see `_Session`.
            connection.terminate()
            raise
        finally:
            await self._pool.release(connection)


def _hint(text: str) -> str:
    """What to change where a pooler stands between; empty when it is not that."""
    if "unsupported startup parameter" in text:
        return (
            "; if this is PgBouncer, set ignore_startup_parameters = "
            f"{','.join(_STARTUP_PARAMETERS)}, and give the settings to the role (docs/scale.md)"
        )
    if "prepared statement" in text:
        return (
            "; a pooler hands one session to several clients: PgBouncer needs pool_mode = session, "
            "or 1.21 and max_prepared_statements (docs/scale.md)"
        )
    return ""


def _text(error: BaseException) -> str:
    unsaid = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
    return str(error).partition("\n")[0] or unsaid
