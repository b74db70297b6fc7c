"""What scenarios share that measure Muniment beside others' programs, in Go and in turn."""

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from benchmark.rig import BenchError

BUILD_SECONDS: Final = 900


def go(folder: Path, *arguments: str, modules: str = "readonly") -> str:
    """What the go command says, run on the module in a folder.

    `modules` is go's `-mod`. Raises BenchError if Go is not installed, or the command fails: the
    module proxy does not have what is pinned, say.
    """
    if shutil.which("go") is None:
        raise BenchError(
            "this needs Go (https://go.dev/dl): others' programs are built from source"
        )
    done = subprocess.run(
        ["go", *arguments],
        cwd=folder,
        env=os.environ | {"GOTOOLCHAIN": "auto", "GOFLAGS": f"-mod={modules}"},
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"go {' '.join(arguments)} failed:\n{done.stderr}")
    return done.stdout


def in_turn(number: int, ours: Callable[[], None], theirs: Callable[[], None]) -> None:
    """Runs both sides of a round; who begins changes from round to round."""
    for side in (ours, theirs) if number % 2 == 0 else (theirs, ours):
        side()


def ratios(ours: Sequence[float], theirs: Sequence[float], *, more_is_better: bool) -> list[float]:
    """Of each round, how many times better Muniment was."""
    pairs = zip(ours, theirs, strict=True)
    return [one / other if more_is_better else other / one for one, other in pairs]
