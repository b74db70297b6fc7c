"""The peers' programs: built from the Go module proxy, run, and timed like our own."""

import json
import resource
import subprocess
import time
from pathlib import Path
from typing import Any, Final

from benchmark.beside import go
from benchmark.rig import BenchError

SOURCE: Final = Path(__file__).parent / "peer"
BUILT: Final = Path(__file__).resolve().parents[2] / ".venv" / "foreign"
PROGRAMS: Final = {
    "peer": ".",
    "fsck": "github.com/transparency-dev/tessera/cmd/fsck",
    "litewitness": "filippo.io/torchwood/cmd/litewitness",
}
RUN_SECONDS: Final = 900


def build() -> None:
    """The peers' programs, once for each state of the sources.

    Raises:
        BenchError: There is no Go, or the module proxy does not have what is pinned.
    """
    state = "".join(path.read_text() for path in sorted(SOURCE.iterdir()))
    stamp = BUILT / "peer.sources"
    if stamp.exists() and stamp.read_text() == state:
        return
    BUILT.mkdir(parents=True, exist_ok=True)
    for name, package in PROGRAMS.items():
        go(SOURCE, "build", "-o", str(BUILT / name), package)
    stamp.write_text(state)


def run_peer(*argv: str) -> dict[str, Any]:
    """What a subcommand of `peer` tells."""
    done = subprocess.run(
        [BUILT / "peer", *argv], capture_output=True, text=True, timeout=RUN_SECONDS, check=False
    )
    if done.returncode:
        raise BenchError(f"peer {argv[0]}: {done.stderr.strip()[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def rate_of(found: dict[str, Any]) -> float:
    return float(found["count"] / found["seconds"])


def timed(place: Path, *argv: str | Path) -> tuple[float, float]:
    """Seconds, and seconds of processor time, of a command that must succeed."""
    before, began = _children(), time.perf_counter()
    done = subprocess.run(
        argv, cwd=place, capture_output=True, text=True, timeout=RUN_SECONDS, check=False
    )
    took, used = time.perf_counter() - began, _children() - before
    if done.returncode:
        raise BenchError(f"{argv[0]}: exit {done.returncode}\n{done.stderr[-500:]}")
    return took, used


def _children() -> float:
    """Seconds of processor time of all that has run and ended below this process."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def used_by(*argv: str | Path) -> float:
    """Seconds of processor time of a command: the least of five, which others disturb less."""
    found = []
    for _ in range(5):
        before = _children()
        subprocess.run(argv, capture_output=True, timeout=RUN_SECONDS, check=False)
        found.append(_children() - before)
    return min(found)
