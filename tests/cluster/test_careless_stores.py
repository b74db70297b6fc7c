"""Stores that do not keep their promise, or answer what will not pass: a start refuses them."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import objectserver
import processes
from muniment_log.cluster import objects as module
from muniment_log.cluster.objects import RACERS, ObjectStore
from muniment_log.errors import StorageError, UnavailableError


@contextlib.asynccontextmanager
async def opened(store: objectserver.Store, seconds: float = 30.0) -> AsyncIterator[ObjectStore]:
    with objectserver.serving(store) as environment:
        client = ObjectStore.open("s3://bucket", environment=environment, seconds=seconds)
        try:
            yield client
        finally:
            await client.close()


class LooksFirst(objectserver.Store):
    """Looks whether a condition holds, and writes then: in one race of several, two find it so.

    `creations` and `replacements` say which object, or version, that is about; 0 for none. The
    first object is created by one writer, to be replaced while others race for the second one.
    """

    def __init__(self, *, creations: int = 0, replacements: int = 0) -> None:
        super().__init__()
        self.chosen = {True: creations, False: replacements}
        self.raced: dict[bool, list[tuple[str, str | None]]] = {True: [], False: []}
        self.meeting = threading.Barrier(2)

    def put(self, path: str, data: bytes, must_be_new: bool, expected: str | None) -> int:
        with self.lock:
            self.puts += 1
            status = self.look(path, must_be_new, expected)
            race = path, expected
            if race not in self.raced[must_be_new]:
                self.raced[must_be_new].append(race)
            number = self.raced[must_be_new].index(race) + 1
            if status == 200 and number != self.chosen[must_be_new]:
                self.objects[path] = data
        if status == 200 and number == self.chosen[must_be_new]:
            with contextlib.suppress(threading.BrokenBarrierError):
                self.meeting.wait(10)
            self.objects[path] = data
        return status


@pytest.mark.parametrize(
    ("faults", "word"),
    [
        ({"creations": 2}, "If-None-Match"),
        ({"creations": 7}, "If-None-Match"),
        ({"replacements": 1}, "If-Match: 2 of 4 replacements"),
        ({"replacements": 6}, "If-Match: 2 of 4 replacements"),
    ],
)
async def test_a_store_that_looks_first_and_writes_then(
    faults: dict[str, int], word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PROBE_SECONDS", 60.0)
    store = LooksFirst(**faults)
    async with opened(store) as client:
        with pytest.raises(StorageError, match=f"ignores {word}"):
            await client.probe()
    assert store.objects == {}


async def test_a_probe_is_bounded_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROBE_SECONDS", 0.0)
    store = objectserver.Store()
    async with opened(store) as client:
        await client.probe()
    assert (store.puts, store.gets) == (2 * RACERS + 3, 2 * RACERS + 3)
    assert store.objects == {}


class Ignores(objectserver.Store):
    """Ignores one of the two conditions."""

    def __init__(self, *, creations: bool) -> None:
        super().__init__()
        self.creations = creations

    def look(self, path: str, must_be_new: bool, expected: str | None) -> int:
        return 200 if must_be_new is self.creations else super().look(path, must_be_new, expected)


@pytest.mark.parametrize(
    ("creations", "word"),
    [
        (True, r"If-None-Match: \*: it created what was there"),
        (False, "If-Match: it replaced a version that was gone"),
    ],
)
async def test_a_frontend_finds_a_store_that_ignores_a_condition(
    creations: bool, word: str
) -> None:
    store = Ignores(creations=creations)
    async with opened(store) as client:
        with pytest.raises(StorageError, match=word):
            await client.probe(races=False)
    assert store.objects == {}


async def test_a_frontend_waits_for_no_race() -> None:
    store = objectserver.Store()
    async with opened(store) as client:
        await client.probe(races=False)
    assert (store.puts, store.gets, store.objects) == (4, 2, {})


class Answers(objectserver.Store):
    """Answers writes with one status."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status = status

    def look(self, path: str, must_be_new: bool, expected: str | None) -> int:
        return self.status


@pytest.mark.parametrize("status", [400, 405, 411, 501])
async def test_a_store_that_knows_no_conditions_is_not_asked_again(status: int) -> None:
    store = Answers(status)
    async with opened(store) as client:
        with pytest.raises(StorageError, match=f"does not take a write with a condition.*{status}"):
            await client.create("tile/0/000", b"x")
        assert store.puts == 1
        with pytest.raises(StorageError, match=r"docs/scale\.md"):
            await client.probe()


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_what_may_pass_is_asked_again(status: int) -> None:
    store = Answers(status)
    async with opened(store, seconds=1.0) as client:
        with pytest.raises(UnavailableError, match=str(status)):
            await client.create("tile/0/000", b"x")
    assert store.puts > 1


def test_it_ends_the_start_of_a_process(database: str, tmp_path: Path) -> None:
    home = tmp_path / "log"
    processes.run(processes.muniment_log("init", home, "--origin", "log.example/x"), code=0)
    config = home / "log.toml"
    lines = [line for line in config.read_text().split("\n") if not line.startswith("database")]
    table = f'[cluster]\npostgres = "{database}"\nobject_store = "s3://bucket"\n'
    config.write_text("\n".join(lines) + table)
    processes.run(processes.muniment_log("migrate", "--config", config), code=0)
    with (
        objectserver.serving(Answers(501)) as environment,
        processes.Process(
            processes.muniment_log("frontend", "--config", config), environment=environment
        ) as process,
    ):
        assert process.wait() == 4
        assert "does not take a write with a condition" in process.stderr
        assert "waiting" not in process.stderr


class UnderWay(objectserver.Store):
    """Says (409) that others are under way, as AWS does: to some writes `after` so many."""

    def __init__(self, conflicts: int, after: int = 0) -> None:
        super().__init__()
        self.under_way = range(after + 1, after + conflicts + 1)

    def look(self, path: str, must_be_new: bool, expected: str | None) -> int:
        return 409 if self.puts in self.under_way else super().look(path, must_be_new, expected)


async def test_a_write_gives_way_to_one_that_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[int] = []

    async def give_way(conflicts: int) -> None:
        pauses.append(conflicts)
        await asyncio.sleep(0)

    monkeypatch.setattr(module, "_give_way", give_way)
    store = UnderWay(3)
    async with opened(store) as client:
        await client.create("tile/0/000", b"x")
        assert pauses == [0, 1, 2]
        store.puts = 0
        version = await client.swap("checkpoint", b"one", None)
        assert await client.get_versioned("checkpoint") == (b"one", version)
    assert pauses == [0, 1, 2, 0, 1, 2]


async def test_a_race_in_which_each_gives_way_is_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROBE_SECONDS", 0.0)
    store = UnderWay(2 * RACERS, after=1)
    async with opened(store) as client:
        await client.probe()
    assert store.puts == 1 + 2 * (2 * RACERS) + 2


class Forgets(objectserver.Store):
    """Says that it has written, and has not."""

    def put(self, path: str, data: bytes, must_be_new: bool, expected: str | None) -> int:
        with self.lock:
            self.puts += 1
            return 200 if self.puts == 1 else 412


async def test_a_store_that_forgets_what_it_was_given() -> None:
    async with opened(Forgets()) as client:
        with pytest.raises(StorageError, match="lost what it said it had written"):
            await client.probe()
