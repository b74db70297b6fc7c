"""A small file system of its own, which a test fills and gives room again."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(folder: Path, mebibytes: int = 24) -> Iterator[Path]:
    """A tmpfs; skips the test when this user may not mount one."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs to mount a small file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(volume: Path, leave: int) -> None:
    """Another program takes all but so many bytes."""
    told = os.statvfs(volume)
    with (volume / "another").open("ab") as file:
        file.write(bytes(max(0, told.f_bavail * told.f_frsize - leave)))


def make_room(volume: Path) -> None:
    """That program takes nothing any more."""
    (volume / "another").unlink()


def remount(volume: Path, how: str) -> None:
    """Mounts it otherwise: `ro`, `rw`."""
    subprocess.run(["mount", "-o", f"remount,{how}", str(volume)], check=True)
