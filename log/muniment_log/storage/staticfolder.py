"""A folder of static files, for a web server that knows nothing of logs (C2SP tlog-tiles)."""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from muniment.local.regularfile import sync_names
from muniment_log.errors import FolderInUseError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

WRITERS: Final = 16
"""Files written at the same time: a disk syncs several for little more than the price of one."""

_PART: Final = ".part"
"""How the names of unfinished files end; they begin with a dot, which web servers hide."""


class StaticFolder:
    """A `Target` of exports. Files are readable by everybody, as far as the umask allows."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: set[Path] = set()

    @property
    def name(self) -> str:
        """The folder."""
        return str(self._folder)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Has the folder for itself within the block, among all who ask for that.

        Raises:
            FolderInUseError: somebody else has it.
            StorageError: it cannot be made or opened.
        """
        self._make(self._folder)
        try:
            handle = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise StorageError(f"{self._folder}: {error.strerror}") from error
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise FolderInUseError("another process exports to this folder") from None
            except OSError:  # a network's file system may not lock folders
                pass
            yield
        finally:
            os.close(handle)

    async def get(self, key: str) -> bytes:
        """A file's content.

        Raises:
            LookupError: there is none.
            StorageError: it cannot be read.
        """
        return await asyncio.to_thread(self._get, key)

    async def create_many(self, items: Iterable[tuple[str, bytes]]) -> None:
        """Writes files that never change, durably.

        Raises StorageError if one is there and holds something else, or cannot be written.
        """
        await asyncio.to_thread(self._create_many, list(items))

    async def create_erasable(self, items: Iterable[tuple[str, bytes]]) -> None:
        """Writes files that may be removed; see `create_many`."""
        await self.create_many(items)

    async def remove(self, keys: Iterable[str]) -> None:
        """Removes files, durably, and unfinished ones of their names; StorageError if it cannot."""
        await asyncio.to_thread(self._remove, list(keys))

    async def replace(self, key: str, data: bytes) -> None:
        """Writes a file that changes; whoever reads sees the old one or the new one."""
        await asyncio.to_thread(self._replace, key, data)

    async def remove_partials(self, before: float) -> int:
        """Removes partial tiles of places that have their full tile; gives their number.

        Those of a place stay while one of them was written after `before` (Unix seconds, by the
        file system's clock). Raises StorageError if they cannot be removed.
        """
        return await asyncio.to_thread(self._remove_partials, before)

    def _remove_partials(self, before: float) -> int:
        count = 0
        try:
            for partials in list((self._folder / "tile").rglob("*.p")):
                full = partials.with_suffix("")
                if not full.is_file() or partials.stat().st_mtime > before:
                    continue
                for tile in partials.iterdir():
                    tile.unlink()
                    count += 1
                partials.rmdir()
                self._made.discard(partials)
                self._sync(partials.parent)
        except OSError as error:
            raise StorageError(f"{error.filename}: {error.strerror}") from error
        return count

    def _get(self, key: str) -> bytes:
        try:
            return (self._folder / key).read_bytes()
        except FileNotFoundError:
            raise LookupError(f"{self._folder} has no {key}") from None
        except OSError as error:
            raise StorageError(f"{self._folder / key}: {error.strerror}") from error

    def _create_many(self, items: list[tuple[str, bytes]]) -> None:
        for folder in {(self._folder / key).parent for key, _ in items}:
            self._make(folder)
        with ThreadPoolExecutor(WRITERS) as pool:
            fresh = list(pool.map(lambda item: self._create(*item), items))
        folders = {path.parent for path in fresh if path is not None}
        for folder in sorted(folders):
            self._sync(folder)

    def _create(self, key: str, data: bytes) -> Path | None:
        path = self._folder / key
        try:
            present = self._get(key)
        except LookupError:
            self._put(path, data)
            return path
        if present != data:
            raise StorageError(f"{path} holds something else than what belongs there")
        return None

    def _replace(self, key: str, data: bytes) -> None:
        path = self._folder / key
        self._make(path.parent)
        self._put(path, data)
        self._sync(path.parent)

    def _remove(self, keys: list[str]) -> None:
        folders: set[Path] = set()
        for key in keys:
            path = self._folder / key
            try:
                for left in (path, *path.parent.glob(f".{path.name}.*{_PART}")):
                    if left.exists():
                        left.unlink()
                        folders.add(path.parent)
            except OSError as error:
                raise StorageError(f"{path}: {error.strerror}") from error
        for folder in sorted(folders):
            self._sync(folder)

    def _put(self, path: Path, data: bytes) -> None:
        part = path.with_name(f".{path.name}.{secrets.token_hex(8)}{_PART}")
        try:
            try:
                with part.open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(path)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}") from error

    def _make(self, folder: Path) -> None:
        """Makes a folder and those above it, durably."""
        if folder in self._made:
            return
        try:
            if not folder.is_dir():
                self._make(folder.parent)
                folder.mkdir(exist_ok=True)
                self._sync(folder.parent)
        except OSError as error:
            raise StorageError(f"{folder}: {error.strerror}") from error
        self._made.add(folder)

    def _sync(self, folder: Path) -> None:
        try:
            sync_names(folder)
        except OSError as error:
            raise StorageError(f"{folder}: {error.strerror}") from error
