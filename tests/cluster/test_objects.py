"""Objects written once or by compare-and-swap, on real servers."""

import asyncio
import contextlib
import socket
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import engines
from muniment.tlog.encoding import FormatError
from muniment_log.cluster.objects import DivergedError, ObjectStore, SwapLostError, Version
from muniment_log.errors import StorageError, UnavailableError
from muniment_service.metrics import Metrics


@contextlib.asynccontextmanager
async def opened(
    bucket: engines.Bucket,
    *,
    prefix: str = "",
    seconds: float = 20.0,
    metrics: Metrics | None = None,
) -> AsyncIterator[ObjectStore]:
    store = ObjectStore.open(
        bucket.url + prefix, environment=bucket.environment, seconds=seconds, metrics=metrics
    )
    try:
        yield store
    finally:
        await store.close()


@contextlib.contextmanager
def hanging_server() -> Iterator[dict[str, str]]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=200) as server:
        yield {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.getsockname()[1]}",
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
        }


async def test_an_object_is_created_once(bucket: engines.Bucket) -> None:
    async with opened(bucket, prefix="/logs/a") as store, opened(bucket) as whole:
        with pytest.raises(LookupError, match="tile/0/000"):
            await store.get("tile/0/000")
        await store.create("tile/0/000", b"hashes")
        await store.create("tile/0/000", b"hashes")
        with pytest.raises(DivergedError, match="tile/0/000 holds other 6 bytes"):
            await store.create("tile/0/000", b"others")
        assert await store.get("tile/0/000") == b"hashes"
        assert await whole.get("logs/a/tile/0/000") == b"hashes"


async def test_of_many_creators_one_wins_and_the_others_see_it(bucket: engines.Bucket) -> None:
    async with opened(bucket) as store:
        results = await asyncio.gather(
            *(store.create("race", b"%d" % number) for number in range(20)), return_exceptions=True
        )
        [winner] = [at for at, one in enumerate(results) if isinstance(one, Version)]
        assert await store.get("race") == b"%d" % winner
        assert await store.get_versioned("race") == (b"%d" % winner, results[winner])
        assert sum(isinstance(one, DivergedError) for one in results) == 19
        # The same content by all is how two integrators meet: everyone is content.
        await asyncio.gather(*(store.create("same", b"x") for _ in range(20)))


async def test_an_object_is_swapped_only_from_what_was_read(bucket: engines.Bucket) -> None:
    async with opened(bucket) as store:
        assert await store.get_versioned("checkpoint") is None
        with pytest.raises(SwapLostError):
            await store.swap("checkpoint", b"one", Version('"0123"', None))
        first = await store.swap("checkpoint", b"one", None)
        assert await store.get_versioned("checkpoint") == (b"one", first)
        with pytest.raises(SwapLostError):
            await store.swap("checkpoint", b"two", None)
        second = await store.swap("checkpoint", b"two", first)
        with pytest.raises(SwapLostError):
            await store.swap("checkpoint", b"three", first)
        # An attempt whose answer was lost is repeated: the version is gone by its own doing.
        assert await store.swap("checkpoint", b"two", first) == second
        assert await store.get("checkpoint") == b"two"


async def test_of_many_swaps_one_wins(bucket: engines.Bucket) -> None:
    async with opened(bucket) as store:
        version = await store.swap("checkpoint", b"", None)
        results = await asyncio.gather(
            *(store.swap("checkpoint", b"%d" % number, version) for number in range(20)),
            return_exceptions=True,
        )
        won = [number for number, result in enumerate(results) if isinstance(result, Version)]
        assert len(won) == 1
        assert sum(isinstance(result, SwapLostError) for result in results) == 19
        assert await store.get("checkpoint") == b"%d" % won[0]


async def test_many_objects_and_one_that_diverged(bucket: engines.Bucket) -> None:
    metrics = Metrics("test")
    async with opened(bucket, metrics=metrics) as store:
        await store.create_many((f"many/{number}", b"%d" % number) for number in range(300))
        for number in (0, 63, 64, 299):
            assert await store.get(f"many/{number}") == b"%d" % number
        items = [
            (f"many/{number}", b"%d" % (number if number != 200 else 0)) for number in range(300)
        ]
        with pytest.raises(DivergedError, match="many/200"):
            await store.create_many(items)
    shown = metrics.render().decode()
    assert 'test_object_store_requests_total{operation="put",result="done"} 300.0' in shown
    assert 'operation="put",result="condition"' in shown


async def test_the_probe_is_content_with_a_store_that_heeds_conditions(
    bucket: engines.Bucket,
) -> None:
    async with opened(bucket) as store:
        await store.probe()


async def test_the_probe_refuses_a_store_that_ignores_conditions(
    careless_bucket: engines.Bucket, rclone_server: engines.Rclone
) -> None:
    async with opened(careless_bucket) as store:
        with pytest.raises(StorageError, match=r"ignores If-None-Match: \*: 4 of 4 creations"):
            await store.probe()
    folder = rclone_server.folder / "data" / careless_bucket.name
    assert [path for path in folder.rglob("*") if path.is_file()] == []


async def test_wrong_credentials_are_refused_at_once(bucket: engines.Bucket) -> None:
    wrong = {**bucket.environment, "AWS_SECRET_ACCESS_KEY": "another"}
    store = ObjectStore.open(bucket.url, environment=wrong)
    with pytest.raises(StorageError, match="403"):
        await store.create("x", b"")
    await store.close()


async def test_patience_with_a_store_that_does_not_answer_ends() -> None:
    with hanging_server() as environment:
        store = ObjectStore.open("s3://bucket", environment=environment, seconds=0.5)
        with pytest.raises(UnavailableError, match="get x"):
            await store.get("x")
        await store.close()


async def test_a_store_that_restarts_is_waited_for() -> None:
    with engines.started(engines.SeaweedFS) as server:
        bucket = server.create_bucket()
        async with opened(bucket, seconds=60) as store:
            await store.create("before", b"1")
            server.kill()
            writing = asyncio.create_task(store.create("during", b"2"))
            await asyncio.to_thread(server.start)
            await writing
            assert (await store.get("before"), await store.get("during")) == (b"1", b"2")


@pytest.mark.parametrize(
    "url",
    [
        "http://bucket", "s3:bucket", "s3://", "s3:///prefix", "s3://bucket/a//b", "s3://bucket/..",
        "s3://user@bucket", "s3://bucket/a?b", "s3://bucket/ü",
    ],
)  # fmt: skip
def test_what_is_no_place_in_a_store(url: str) -> None:
    with pytest.raises(FormatError, match="s3://bucket"):
        ObjectStore.open(url, environment={})


def test_only_this_machine_is_spoken_to_in_the_clear() -> None:
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    for host in ("127.0.0.1:1", "localhost:1", "[::1]:1"):
        ObjectStore.open("s3://b", environment={**keys, "AWS_ENDPOINT_URL": f"http://{host}"})
    far = {**keys, "AWS_ENDPOINT_URL": "http://s3.example"}
    with pytest.raises(FormatError, match="not encrypted"):
        ObjectStore.open("s3://b", environment=far)
    ObjectStore.open("s3://b", environment={**far, "AWS_ALLOW_HTTP": "true"})


PENDING = """
    import asyncio, sys
    from muniment_log.cluster.objects import ObjectStore
    from muniment_log.cli.ending import end_with

    async def main():
        store = ObjectStore.open("s3://bucket", seconds=2.0)
        try:
            async with asyncio.TaskGroup() as tasks:
                for number in range(50):
                    tasks.create_task(store.create(f"k{number}", b"x"))
                await asyncio.sleep(0.2)
                print("pending", flush=True)
                raise KeyError("the service fails while requests hang")
        finally:
            await store.close()

    end_with(lambda: asyncio.run(main()))
"""


def test_a_process_ends_in_order_while_requests_hang(tmp_path: Path) -> None:
    """The library aborts an interpreter that ends under its requests: `close` waits for them, and
    `end_with` spares its threads the interpreter's end."""
    script = tmp_path / "pending.py"
    script.write_text(textwrap.dedent(PENDING))
    with hanging_server() as environment:
        running = [
            subprocess.Popen(
                [sys.executable, script],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(4)
        ]
        for process in running:
            stdout, stderr = process.communicate(timeout=60)
            assert process.returncode == 1, stderr
            assert stdout == "pending\n"
            assert "KeyError: 'the service fails while requests hang'" in stderr
            assert "panicked" not in stderr
