"""Folders of exported tiles: which partial tiles go, and when."""

import os
from pathlib import Path

from muniment_log.storage.staticfolder import StaticFolder

NOW = 1_790_000_000


async def test_partial_tiles_go_when_the_full_one_has_been_there_for_long(tmp_path: Path) -> None:
    folder = StaticFolder(tmp_path)
    await folder.create_many(
        (f"tile/{name}", name.encode())
        for name in (
            *("0/000", "0/000.p/3", "0/000.p/255", "0/001.p/7", "1/000.p/1"),
            *("entries/x001/234", "entries/x001/234.p/9", "entries/000", "entries/000.p/5"),
        )
    )
    for path in ("0/000.p", "0/001.p", "1/000.p", "entries/x001/234.p"):
        os.utime(tmp_path / "tile" / path, (NOW, NOW))
    os.utime(tmp_path / "tile" / "entries" / "000.p", (NOW + 2, NOW + 2))

    def left() -> set[str]:
        found = (path.relative_to(tmp_path / "tile") for path in tmp_path.rglob("*.p/*"))
        return {str(path) for path in found}

    assert await folder.remove_partials(NOW - 1) == 0
    assert await folder.remove_partials(NOW + 1) == 3
    # No full one yet; or one of its partials is still young.
    assert left() == {"0/001.p/7", "1/000.p/1", "entries/000.p/5"}
    assert await folder.remove_partials(NOW + 2) == 1
    assert await folder.remove_partials(NOW + 2) == 0
    # A place whose partials went can have some again: another export from an older state.
    await folder.create_many([("tile/0/000.p/3", b"0/000.p/3")])
    assert "0/000.p/3" in left()


async def test_an_empty_folder_has_none(tmp_path: Path) -> None:
    assert await StaticFolder(tmp_path / "not there yet").remove_partials(NOW) == 0
