"""Addenda in an export: taken along when that is wanted, removed when they were erased."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

import objectserver
from logsim import LOG_SIGNER, ORIGIN, LogSim
from muniment.records.addenda import addendum_path
from muniment.tlog.cosignature import verifier_for
from muniment.tlog.tiles import Tile
from muniment_log.cluster.exporting import BucketTarget, open_bucket
from muniment_log.errors import StorageError
from muniment_log.export import ExportResult, ExportTarget, export
from muniment_log.export.addenda import ABSENT, PROGRESS
from muniment_log.storage.staticfolder import StaticFolder
from withheld_log import content, digest, erase, log


class Source:
    """A simulated log as an export reads it, with its addenda."""

    def __init__(self) -> None:
        self.sim = LogSim()
        self.read_digests: list[str] = []

    async def read(self, tiles: Sequence[Tile]) -> Mapping[Tile, bytes]:
        return {tile: self.sim.tile(tile) for tile in tiles}

    async def checkpoint(self) -> bytes:
        return self.sim.checkpoint()

    async def addendum(self, digest: bytes) -> bytes | None:
        self.read_digests.append(digest.hex())
        return self.sim.addenda.get(digest.hex())

    def log(self, *numbers: int) -> None:
        log(self.sim, *numbers)

    def erase(self, *numbers: int, producer: str = ORIGIN) -> None:
        erase(self.sim, *numbers, producer=producer)

    async def export(self, target: ExportTarget, *, takes: bool) -> ExportResult:
        return await export(
            self, self.sim.checkpoint(), origin=ORIGIN, keys=[verifier_for(LOG_SIGNER.vkey)],
            target=target, addenda=self, takes_addenda=takes,
        )  # fmt: skip


def held(folder: Path) -> set[int]:
    numbers = {addendum_path(digest(number)): number for number in range(1000)}
    files = {str(path.relative_to(folder)) for path in folder.glob("addenda/*/*/*")}
    assert files <= numbers.keys()
    return {numbers[one] for one in files}


async def test_nothing_is_taken_along_unless_it_is_told(tmp_path: Path) -> None:
    source, target = Source(), StaticFolder(tmp_path)
    source.log(1, 2)
    assert await source.export(target, takes=False) == ExportResult(0, 3)
    assert not (tmp_path / "addenda").exists()
    # Later, what older records name is taken along, too; then only what is new is looked at.
    assert (await source.export(target, takes=True)).addenda == (2, 0)
    source.log(*range(3, 400))
    source.read_digests.clear()
    assert (await source.export(target, takes=True)).addenda == (397, 0)
    assert len(source.read_digests) == 397
    assert held(tmp_path) == {*range(1, 400)}
    for number in (1, 399):
        assert (tmp_path / addendum_path(digest(number))).read_bytes() == content(number)


@pytest.mark.parametrize("takes", [True, False])
async def test_what_was_erased_is_removed_by_the_next_export(
    tmp_path: Path, *, takes: bool
) -> None:
    source, target = Source(), StaticFolder(tmp_path)
    source.log(1, 2, 3)
    await source.export(target, takes=True)
    path = tmp_path / addendum_path(digest(2))
    half = path.with_name(f".{path.name}.0123.part")  # of an export that was killed
    half.write_bytes(content(2)[:30])
    source.erase(2)
    source.erase(3, producer="other.example/gw")  # whom the log does not obey
    source.log(4)
    done = await source.export(target, takes=takes)
    assert done.addenda == (int(takes), 1)
    assert held(tmp_path) == {1, 3} | ({4} if takes else set())
    assert not half.exists()
    assert (await source.export(target, takes=True)).addenda == (int(not takes), 0)
    assert held(tmp_path) == {1, 3, 4}


async def test_what_comes_with_a_later_retry_is_taken_along(tmp_path: Path) -> None:
    source, target = Source(), StaticFolder(tmp_path)
    source.log(1, 2, 3)
    late = {digest(number): source.sim.addenda.pop(digest(number)) for number in (2, 3)}
    assert (await source.export(target, takes=True)).addenda == (1, 0)
    assert (tmp_path / ABSENT).read_text() == f"{digest(2)}\n{digest(3)}\n"
    source.log(4)
    assert (await source.export(target, takes=True)).addenda == (1, 0)
    source.erase(3)  # before it came
    source.sim.addenda[digest(2)] = late[digest(2)]
    assert (await source.export(target, takes=False)).addenda == (0, 1)
    assert (await source.export(target, takes=True)).addenda == (1, 0)
    assert held(tmp_path) == {1, 2, 4}
    source.erase(2)
    assert (await source.export(target, takes=True)).addenda == (0, 1)
    assert held(tmp_path) == {1, 4}
    (tmp_path / ABSENT).write_text("much")
    with pytest.raises(StorageError, match="no list of digests; remove it"):
        await source.export(target, takes=True)


async def test_what_is_not_there_or_is_damaged(tmp_path: Path) -> None:
    source, target = Source(), StaticFolder(tmp_path)
    source.log(1, 2)
    del source.sim.addenda[digest(1)]
    source.sim.addenda[digest(2)] = b"rotten"
    with pytest.raises(StorageError, match="damaged"):
        await source.export(target, takes=True)
    assert not (tmp_path / "checkpoint").exists()
    source.sim.addenda[digest(2)] = content(2)
    assert (await source.export(target, takes=True)).addenda == (1, 0)
    (tmp_path / PROGRESS).write_text("far")
    with pytest.raises(StorageError, match="does not say how far"):
        await source.export(target, takes=False)


async def test_a_bucket_has_them_and_loses_them(monkeypatch: pytest.MonkeyPatch) -> None:
    store = objectserver.Store()
    with objectserver.serving(store) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        bucket = open_bucket("s3://decisions/mirror")
        try:
            source, target = Source(), BucketTarget(bucket)
            source.log(1, 2)
            await source.export(target, takes=True)
            paths = [f"/decisions/mirror/{addendum_path(digest(number))}" for number in (1, 2)]
            assert [store.objects[path] for path in paths] == [content(1), content(2)]
            source.erase(1)
            assert (await source.export(target, takes=False)).addenda == (0, 1)
            assert paths[0] not in store.objects
            assert paths[1] in store.objects
        finally:
            await bucket.close()
