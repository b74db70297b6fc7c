"""S3 Object Lock: whether a bucket keeps what is written to it, so that nobody can delete it early.

The store does the locking, by the bucket's default retention: each object gets a mode and a time
until which it is kept. A log that is told to rely on that looks at its start. The library for
objects cannot ask for it, so the one request is signed here (AWS Signature Version 4).
"""

from __future__ import annotations

import hmac
import os
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from muniment.http.answer import HttpError
from muniment.http.client import HttpSession
from muniment_log.cluster.s3 import TOTAL_SECONDS, place_of
from muniment_log.errors import EngineRefusedError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

MODES: Final = ("GOVERNANCE", "COMPLIANCE")
"""Of retention: who may end it, some or nobody."""

_LIMIT: Final = 64 << 10
_DAYS_IN_YEAR: Final = 365


class Lock(NamedTuple):
    """A bucket's default retention."""

    mode: str
    days: int


async def check_lock(url: str, days: int, environment: Mapping[str, str] | None = None) -> Lock:
    """Checks that a bucket keeps every object for so many days at least.

    Raises:
        EngineRefusedError: it does not, or does not say; the message says what to do.
        UnavailableError: the store does not answer.
    """
    given = os.environ if environment is None else environment
    lock = await read_lock(url, given)
    if lock is None or lock.days < days:
        has = "none" if lock is None else f"{lock.mode} for {lock.days} days"
        raise EngineRefusedError(
            f"object store {url}: [cluster] lock_days asks for Object Lock with a default "
            f"retention of at least {days} days, the bucket has {has}: make a bucket with Object "
            "Lock and set its default retention, or leave lock_days out"
        )
    return lock


async def read_lock(url: str, given: Mapping[str, str]) -> Lock | None:
    """The default retention of a bucket; None without one. Raises as `check_lock`."""
    key, secret = given.get("AWS_ACCESS_KEY_ID"), given.get("AWS_SECRET_ACCESS_KEY")
    if not (key and secret):
        raise EngineRefusedError(
            f"object store {url}: [cluster] lock_days: the bucket's Object Lock is read with "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and they are not set"
        )
    bucket, _ = place_of(url)
    region = given.get("AWS_REGION") or given.get("AWS_DEFAULT_REGION") or "us-east-1"
    endpoint = given.get("AWS_ENDPOINT_URL_S3") or given.get("AWS_ENDPOINT_URL")
    base = endpoint or f"https://s3.{region}.amazonaws.com"
    asked = f"{base.rstrip('/')}/{bucket}?object-lock="
    token = given.get("AWS_SESSION_TOKEN")
    headers = sign("GET", asked, b"", (key, secret, token), region, datetime.now(UTC))
    session = HttpSession(headers={"User-Agent": "muniment-log"}, tls=True, connections=1)
    try:
        answer = await session.request(
            "GET", asked, limit=_LIMIT, seconds=TOTAL_SECONDS, headers=headers
        )
    except (HttpError, TimeoutError) as error:
        raise UnavailableError(f"object store {url}: Object Lock: {error}") from error
    finally:
        await session.close()
    if answer.status >= 500:
        raise UnavailableError(f"object store {url}: Object Lock: status {answer.status}")
    if answer.status in {401, 403}:
        raise EngineRefusedError(
            f"object store {url}: [cluster] lock_days: these credentials may not read the bucket's "
            f"Object Lock (s3:GetBucketObjectLockConfiguration): status {answer.status}"
        )
    if answer.status != 200:
        return None  # ObjectLockConfigurationNotFoundError, or the store knows no such thing
    return _parse(url, answer.body)


def _parse(url: str, body: bytes) -> Lock | None:
    if b"<!" in body:
        raise EngineRefusedError(f"object store {url}: Object Lock: an answer with declarations")
    try:
        found = {one.tag.rpartition("}")[2]: one.text or "" for one in ET.fromstring(body).iter()}  # noqa: S314  # without declarations
        days = int(found.get("Days") or 0) or int(found.get("Years") or 0) * _DAYS_IN_YEAR
    except (ET.ParseError, ValueError) as error:
        raise EngineRefusedError(f"object store {url}: Object Lock: {error}") from error
    mode = found.get("Mode", "")
    return Lock(mode, days) if mode in MODES and found.get("ObjectLockEnabled") else None


def sign(
    method: str,
    url: str,
    body: bytes,
    credentials: tuple[str, str, str | None],
    region: str,
    now: datetime,
    more: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The headers that sign a request to S3 with all of its headers (Signature Version 4).

    The URL's path and query are encoded, the query sorted; `credentials` are the key's ID, the
    secret, and a session's token, if there is one.
    """
    key, secret, token = credentials
    parts = urlsplit(url)
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    digest = sha256(body).hexdigest()
    headers = {"host": parts.netloc, "x-amz-content-sha256": digest, "x-amz-date": stamp}
    headers |= {name.lower(): value for name, value in (more or {}).items()}
    if token is not None:
        headers["x-amz-security-token"] = token
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    canonical = f"{method}\n{parts.path}\n{parts.query}\n{lines}\n{names}\n{digest}"
    scope = f"{day}/{region}/s3/aws4_request"
    hashed = sha256(canonical.encode()).hexdigest()
    value = f"AWS4{secret}".encode()
    for step in (day, region, "s3", "aws4_request"):
        value = hmac.digest(value, step.encode(), "sha256")
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashed}"
    signature = hmac.digest(value, text.encode(), "sha256").hex()
    headers["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return headers
