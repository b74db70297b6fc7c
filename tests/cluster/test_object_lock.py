"""A bucket with Object Lock: what a log finds of it at its start, and what the store keeps."""

import urllib.error
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

import decisions
import engines
from log_deployment import GATEWAY, PUBLISHED, Cluster, deployed
from log_tools import GatewayStream
from muniment.tlog.tiles import Tile
from muniment_log.cluster.objectlock import Lock, check_lock, read_lock, sign
from muniment_log.cluster.objects import ObjectStore
from muniment_log.core.integrate import EMPTY_EDGE, integrate
from muniment_log.errors import EngineRefusedError, UnavailableError
from muniment_log.storage.tilewriter import write_tiles
from waiting import SECONDS

LEASE = "\nlease_seconds = 6.0"
XMLNS = "http://s3.amazonaws.com/doc/2006-03-01/"


def call(
    bucket: engines.Bucket, method: str, path: str, body: bytes = b"", **more: str
) -> tuple[int, dict[str, str]]:
    """A signed request of a bucket's administrator."""
    given = bucket.environment
    url = given["AWS_ENDPOINT_URL"] + path
    credentials = (given["AWS_ACCESS_KEY_ID"], given["AWS_SECRET_ACCESS_KEY"], None)
    headers = {name.replace("_", "-"): value for name, value in more.items()}
    signed = sign(method, url, body, credentials, given["AWS_REGION"], datetime.now(UTC), headers)
    request = urllib.request.Request(url, body or None, signed, method=method)
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return answer.status, dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers)


def lock(bucket: engines.Bucket, name: str, retention: str) -> engines.Bucket:
    """Makes a bucket with Object Lock."""
    locked = replace(bucket, url=f"s3://{name}")
    assert call(bucket, "PUT", f"/{name}", x_amz_bucket_object_lock_enabled="true")[0] == 200
    rule = f"<Rule><DefaultRetention><Mode>GOVERNANCE</Mode>{retention}</DefaultRetention></Rule>"
    text = (
        f'<ObjectLockConfiguration xmlns="{XMLNS}"><ObjectLockEnabled>Enabled</ObjectLockEnabled>'
        f"{rule if retention else ''}</ObjectLockConfiguration>"
    )
    assert call(bucket, "PUT", f"/{name}?object-lock=", text.encode())[0] == 200
    return locked


async def test_the_retention_of_a_bucket_is_found_out(bucket: engines.Bucket) -> None:
    name = bucket.url.removeprefix("s3://")
    ten = lock(bucket, f"{name}ten", "<Days>10</Days>")
    assert await check_lock(ten.url, 10, ten.environment) == Lock("GOVERNANCE", 10)
    assert await check_lock(f"{ten.url}/prefix", 3, ten.environment) == Lock("GOVERNANCE", 10)
    years = lock(bucket, f"{name}years", "<Years>2</Years>")
    assert await read_lock(years.url, years.environment) == Lock("GOVERNANCE", 730)
    with pytest.raises(EngineRefusedError, match="the bucket has GOVERNANCE for 10 days"):
        await check_lock(ten.url, 11, ten.environment)
    for without in (bucket, lock(bucket, f"{name}bare", "")):
        with pytest.raises(EngineRefusedError, match="the bucket has none: make a bucket with"):
            await check_lock(without.url, 1, without.environment)
    stranger = {**bucket.environment, "AWS_SECRET_ACCESS_KEY": "another"}
    with pytest.raises(EngineRefusedError, match="these credentials may not read"):
        await check_lock(ten.url, 1, stranger)
    with pytest.raises(EngineRefusedError, match="are not set"):
        await check_lock(ten.url, 1, {})
    away = {**bucket.environment, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    with pytest.raises(UnavailableError, match="Object Lock"):
        await check_lock(ten.url, 1, away)


async def test_what_a_log_writes_is_kept(bucket: engines.Bucket) -> None:
    locked = lock(bucket, f"{bucket.url.removeprefix('s3://')}kept", "<Days>10</Days>")
    store = ObjectStore.open(
        locked.url, environment=locked.environment, is_locked=True, seconds=SECONDS
    )
    await store.probe()
    await write_tiles(store, integrate(EMPTY_EDGE, [GatewayStream().take(300)]))
    path = f"/{locked.url.removeprefix('s3://')}/{Tile(0, 0).path}"
    status, headers = call(bucket, "HEAD", path)
    named = {name.lower(): value for name, value in headers.items()}
    assert (status, named["x-amz-object-lock-mode"]) == (200, "GOVERNANCE")
    until = datetime.fromisoformat(named["x-amz-object-lock-retain-until-date"])
    assert (until - datetime.now(UTC)).days in {9, 10}
    version = named["x-amz-version-id"]
    assert call(bucket, "DELETE", f"{path}?versionId={version}")[0] == 403
    assert (await store.get(Tile(0, 0).path)) != b""
    # The checkpoint still changes; its versions stay.
    first = await store.swap("checkpoint", b"one", None)
    await store.swap("checkpoint", b"two", first)
    assert await store.get("checkpoint") == b"two"
    await store.close()


def test_a_log_starts_on_a_bucket_that_keeps_what_it_asks_for(
    tmp_path: Path, database: str, bucket: engines.Bucket
) -> None:
    locked = lock(bucket, f"{bucket.url.removeprefix('s3://')}log", "<Days>10</Days>")
    with deployed(tmp_path, Cluster(database, locked)) as made:
        text = made.config.read_text()
        assert made.log.terminate() == 0
        made.config.write_text(text.replace(LEASE, f"\nlock_days = 11{LEASE}"))
        made.refuses("serve", 4, "[cluster] lock_days", "at least 11 days", "has GOVERNANCE for 10")
        made.config.write_text(text.replace(LEASE, f"\nlock_days = 10{LEASE}"))
        made.start_log()
        records = decisions.decisions(3, producer=GATEWAY)
        assert made.post(made.stream().take(records), PUBLISHED).status == 200
