"""Requests to an S3-compatible store: bounded, repeated, never abandoned.

A request that fails for a passing reason is repeated until the time for it is over; then its
outcome is unknown and the caller says so. Repeating is safe because every write carries a condition
(see `objects`), and what reads can be read again.

A request under way is never dropped, even when whoever waits for it is cancelled: the library's
threads would come back to an interpreter that is ending, and abort. `close` waits for the rest,
which takes no longer than one request may.

Nothing else of the program knows obstore.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

import obstore
from obstore import exceptions
from obstore.store import S3Store

from muniment.local.backoff import Backoff
from muniment.tlog.encoding import FormatError
from muniment_log.errors import EngineRefusedError, LogError, StorageError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import datetime

    from obstore import Attributes, PutMode, PutResult
    from obstore.store import ClientConfig, S3Config

    from muniment_service.metrics import Metrics

REQUEST_SECONDS: Final = 3.0
"""Longest time for one request; also how long `close` may take."""

CONNECT_SECONDS: Final = 2.0

TOTAL_SECONDS: Final = 4.0
"""How long a request is repeated, unless told otherwise. Keep it below the integrator's lease: who
lost the lease meanwhile should not still be writing."""

FIRST_PAUSE: Final = 0.05
MAX_PAUSE: Final = 1.0
"""Seconds between two attempts; doubles from the first to the most."""

ROLE_VARIABLE: Final = "MUNIMENT_AWS_CREDENTIALS"
"""With `role` in it, and without keys, credentials come from where the library finds them: a web
identity's file, a container's or a machine's metadata service."""

MAX_OBJECT: Final = 32 << 20
"""Bytes of the largest object read: a bundle of 256 entries of 64 KiB has 16 MiB."""

NOTE: Final[Attributes] = {
    "Content-Type": "text/plain; charset=utf-8",
    "Cache-Control": "public, max-age=1",
}
"""Of the checkpoint, which changes."""

IMMUTABLE: Final[Attributes] = {
    "Content-Type": "application/octet-stream",
    "Cache-Control": "public, max-age=31536000, immutable",
}
"""Of tiles and bundles, which never do."""

ERASABLE: Final[Attributes] = {
    "Content-Type": "application/octet-stream",
    "Cache-Control": "no-store",
}
"""Of addenda, which may be erased."""

T = TypeVar("T")

_REFUSED: Final = (
    exceptions.PermissionDeniedError,
    exceptions.UnauthenticatedError,
    exceptions.NotSupportedError,
    exceptions.InvalidPathError,
    exceptions.UnknownConfigurationKeyError,
)
"""What would be answered the same the next time."""

_CONDITION: Final = (
    exceptions.AlreadyExistsError,
    exceptions.PreconditionError,
    exceptions.NotModifiedError,
)
"""What a write is answered whose condition does not hold: 412, 304, 409, and 404 to If-Match."""

_STATUS: Final = re.compile(r"status code: (400|405|411|501)\b")
"""How the library tells the answer of a store that knows no conditions: its class is that of a
broken connection."""

_PASSING_400: Final = ("RequestTimeout", "ExpiredToken", "TokenRefreshRequired", "IncompleteBody")
"""Codes of S3 under the status 400 that another attempt may not get."""


class Version(NamedTuple):
    """Which of an object's contents is meant, as the store calls it."""

    e_tag: str | None
    version: str | None


class Folder(NamedTuple):
    """What is directly below a prefix: folders and objects by name, these with their times."""

    folders: tuple[str, ...]
    objects: Mapping[str, datetime]


class ConditionFailedError(Exception):
    """The store says that a write's condition does not hold, or that another write is under way."""


class StoreMetrics:
    """What an operator watches of the object store."""

    def __init__(self, metrics: Metrics) -> None:
        """Registers them."""
        self.requests: Final = metrics.counter(
            "object_store_requests", "Requests to the object store.", ("operation", "result")
        )
        self.seconds: Final = metrics.histogram(
            "object_store_seconds", "Time of one request to the object store.", ("operation",)
        )


class S3Client:
    """A bucket, and the prefix in it below which all keys are."""

    def __init__(self, store: S3Store, name: str, seconds: float, metrics: Metrics | None) -> None:
        """See `open_client`."""
        self.name: Final = name
        self._store = store
        self._seconds = seconds
        self._metrics = None if metrics is None else StoreMetrics(metrics)
        self._running: set[asyncio.Future[Any]] = set()

    async def get(self, key: str) -> tuple[bytes, Version] | None:
        """An object with its version; None when there is none."""

        async def work() -> tuple[bytes, Version] | None:
            try:
                result = await self._wait(obstore.get_async(self._store, key))
            except FileNotFoundError:
                return None
            meta = result.meta
            if meta["size"] > MAX_OBJECT:
                raise EngineRefusedError(f"{self.name}: {key} has {meta['size']} bytes")
            data = bytes(await self._wait(result.bytes_async()))
            return data, Version(meta["e_tag"], meta["version"])

        return await self._attempt("get", key, work)

    async def put(
        self,
        key: str,
        data: bytes,
        expected: Version | None,
        attributes: Attributes,
        *,
        is_repeated: bool = True,
    ) -> Version:
        """Writes an object that is absent, or that still is of the version expected.

        Unless it is repeated, no second request for the same may still be under way afterwards.

        Raises:
            ConditionFailedError: it is not; or it is, and an earlier attempt has made it so.
            StorageError: the store refuses, and would again.
            UnavailableError: the outcome is unknown.
        """
        mode: PutMode = "create"
        if expected is not None:
            mode = {}
            if expected.e_tag is not None:
                mode["e_tag"] = expected.e_tag
            if expected.version is not None:
                mode["version"] = expected.version

        async def work() -> PutResult:
            try:
                return await self._wait(
                    obstore.put_async(
                        self._store,
                        key,
                        data,
                        mode=mode,
                        attributes=attributes,
                        use_multipart=False,
                    )
                )
            except _CONDITION as error:
                raise ConditionFailedError(_text(error)) from error
            except FileNotFoundError as error:
                raise StorageError(f"{self.name}: writing {key}: {_text(error)}") from error

        done = await self._attempt("put", key, work, is_repeated=is_repeated)
        return Version(done["e_tag"], done["version"])

    async def delete(self, key: str) -> None:
        """Deletes an object, whether it is there or not."""

        async def work() -> None:
            await self._wait(obstore.delete_async(self._store, key))

        await self._attempt("delete", key, work)

    async def list_folder(self, prefix: str) -> Folder:
        """What is directly below a prefix, which has no final slash."""

        async def work() -> Folder:
            found = await self._wait(obstore.list_with_delimiter_async(self._store, prefix))
            return Folder(
                tuple(_name(each) for each in found["common_prefixes"]),
                {_name(each["path"]): each["last_modified"] for each in found["objects"]},
            )

        return await self._attempt("list", prefix, work)

    async def close(self) -> None:
        """Waits for the requests under way; see the module."""
        while self._running:
            await asyncio.wait(self._running)

    async def _wait(self, request: Awaitable[T]) -> T:
        future = asyncio.ensure_future(request)
        self._running.add(future)
        future.add_done_callback(self._ended)
        return await asyncio.shield(future)

    def _ended(self, future: asyncio.Future[Any]) -> None:
        self._running.discard(future)
        if not future.cancelled():
            future.exception()  # seen, even if nobody waits any more

    async def _attempt(
        self,
        operation: str,
        key: str,
        work: Callable[[], Awaitable[T]],
        *,
        is_repeated: bool = True,
    ) -> T:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._seconds
        backoff = Backoff(FIRST_PAUSE, MAX_PAUSE)
        while True:
            started = loop.time()
            try:
                async with asyncio.timeout_at(deadline):
                    done = await work()
            except ConditionFailedError:
                self._count(operation, "condition", started)
                raise
            except _REFUSED as error:
                self._count(operation, "refused", started)
                raise EngineRefusedError(
                    f"{self.name}: {operation} {key}: {_text(error)}"
                ) from error
            except LogError:
                raise
            except Exception as error:
                # The library's own errors, and whatever else an answer makes it raise.
                if operation == "put" and _knows_no_conditions(error):
                    self._count(operation, "refused", started)
                    raise EngineRefusedError(
                        f"{self.name}: the store does not take a write with a condition "
                        "(If-None-Match, If-Match), which a log needs; use a store that does, see "
                        f"docs/scale.md. It answered {key}: {_text(error)}"
                    ) from error
                self._count(operation, "failed", started)
                if not is_repeated or loop.time() + backoff.pause >= deadline:
                    raise UnavailableError(
                        f"{self.name}: {operation} {key}: {_text(error)}"
                    ) from error
            else:
                self._count(operation, "done", started)
                return done
            await asyncio.sleep(backoff.next())

    def _count(self, operation: str, result: str, started: float) -> None:
        if self._metrics is not None:
            self._metrics.requests.labels(operation, result).inc()
            elapsed = asyncio.get_running_loop().time() - started
            self._metrics.seconds.labels(operation).observe(elapsed)


def open_client(
    url: str,
    *,
    environment: Mapping[str, str] | None,
    seconds: float,
    is_anonymous: bool,
    is_locked: bool,
    metrics: Metrics | None,
) -> S3Client:
    """A client of a bucket; see `objects.ObjectStore.open`."""
    given = os.environ if environment is None else environment
    bucket, prefix = place_of(url)
    endpoint = given.get("AWS_ENDPOINT_URL_S3") or given.get("AWS_ENDPOINT_URL")
    plain = endpoint is not None and endpoint.startswith("http://")
    allowed = given.get("AWS_ALLOW_HTTP", "").lower() == "true"
    if endpoint is not None and plain and not allowed and not _is_loopback(endpoint):
        raise FormatError(
            f"object store: {endpoint} is not encrypted; AWS_ALLOW_HTTP=true allows that"
        )
    key, secret = given.get("AWS_ACCESS_KEY_ID"), given.get("AWS_SECRET_ACCESS_KEY")
    if not is_anonymous and not (key and secret) and given.get(ROLE_VARIABLE) != "role":
        # Without them the library would ask the machine's metadata service, wherever that is.
        raise FormatError(
            f"object store {url}: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not both set; "
            f"{ROLE_VARIABLE}=role takes the credentials of the machine's role"
        )
    # The library takes everything else from the environment too: roles, web identities, machines.
    config: S3Config = {}
    if endpoint is not None:
        config["endpoint"] = endpoint.rstrip("/")
    if is_anonymous:
        config["skip_signature"] = True
    elif key and secret:
        config["access_key_id"], config["secret_access_key"] = key, secret
    if is_locked:
        config["checksum_algorithm"] = "SHA256"  # S3 asks for one where it locks by default
    if "AWS_SESSION_TOKEN" in given and not is_anonymous:
        config["session_token"] = given["AWS_SESSION_TOKEN"]
    region = given.get("AWS_REGION") or given.get("AWS_DEFAULT_REGION")
    if region is not None:
        config["region"] = region
    client: ClientConfig = {
        "timeout": timedelta(seconds=min(REQUEST_SECONDS, seconds)),
        "connect_timeout": timedelta(seconds=min(CONNECT_SECONDS, seconds)),
        "allow_http": plain,
    }
    try:
        store = S3Store(
            bucket,
            prefix=prefix or None,
            config=config,
            client_options=client,
            # Repeated here, where it is counted and the condition is looked at again.
            retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=seconds)},
        )
    except (exceptions.BaseError, ValueError) as error:
        raise FormatError(f"object store {url}: {_text(error)}") from error
    return S3Client(store, url, seconds, metrics)


def place_of(url: str) -> tuple[str, str]:
    """Bucket and prefix of ``s3://bucket/prefix``."""
    scheme, found, place = url.partition("://")
    bucket, _, prefix = place.partition("/")
    prefix = prefix.removesuffix("/")
    bad = not bucket or any(not part or part in {".", ".."} for part in prefix.split("/") if prefix)
    if scheme != "s3" or not found or bad or set(url) & set("?#@") or not url.isascii():
        raise FormatError(f"object store {url!r}: not s3://bucket or s3://bucket/prefix")
    return bucket, prefix


def _name(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _is_loopback(endpoint: str) -> bool:
    host = urlsplit(endpoint).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _knows_no_conditions(error: BaseException) -> bool:
    """Whether the store's answer to a conditional write is final."""
    text = str(error).partition("\n\nDebug source:")[0]
    found = _STATUS.search(text)
    return found is not None and not any(code in text for code in _PASSING_400)


def _text(error: BaseException) -> str:
    """What an error says, on one line and without the trace that the library appends."""
    text = str(error).partition("\n")[0].strip()
    unsaid = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
    return text[:300] or unsaid
