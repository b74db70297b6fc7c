"""One fuzz target under atheris: a process of its own, forked from the one that loaded the code.

Loading and instrumenting the code takes seconds, so it is done once, in `load`; then each target
runs in a child, with what libFuzzer writes in a file beside the target's working corpus.
"""

import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fuzzing import corpus

MAX_INPUT: Final = 16 << 10
"""Bytes of an input; more rarely says more, and costs time."""

INPUT_SECONDS: Final = 30
"""How long one input may take: far beyond what any parser of ours needs for MAX_INPUT bytes."""

MEMORY_MB: Final = 2048

_STAT: Final = re.compile(rb"stat::(\w+):\s+(\d+)")
_FEATURES: Final = re.compile(rb" ft: (\d+)")


@dataclass(frozen=True, slots=True)
class Hunt:
    """How inputs are looked for in each target.

    Attributes:
        seconds: how long, at most.
        runs: how many inputs, at most; -1: any number.
        seed: which inputs, for a given corpus and code; 0: others each time.
    """

    seconds: int
    runs: int = -1
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one target.

    Attributes:
        name: the target.
        executions: inputs tried.
        features: coverage features that the inputs kept reach, as libFuzzer counts them.
        new: inputs found that reach something new.
        seconds: how long it took.
        crash: the file with the input that broke the target, if one did.
        output: what libFuzzer wrote.
    """

    name: str
    executions: int
    features: int
    new: int
    seconds: float
    crash: Path | None
    output: Path

    @property
    def failed(self) -> bool:
        """Whether it found a defect, or could not run."""
        return self.crash is not None or not self.executions


def load() -> dict[str, Any]:
    """Loads the targets with their code instrumented."""
    import atheris  # only the environment of scripts/fuzz has it

    include = ["muniment", "muniment_gateway", "muniment_log", "muniment_witness"]
    with atheris.instrument_imports(include=include, enable_loader_override=False):
        from fuzzing.targets import TARGETS
    return dict(TARGETS)


def start(name: str, function: Any, hunt: Hunt, folder: Path) -> int:
    """Starts a target in a child process; returns its process id.

    Args:
        name: the target.
        function: what it runs.
        hunt: which inputs it gets.
        folder: where working corpora are kept, from one run to the next.
    """
    working = folder / name
    working.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(corpus.load(name)):
        (working / f"kept-{number:03}").write_bytes(data)
    sys.stdout.flush()
    if child := os.fork():
        return child
    output = os.open(folder / f"{name}.out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    import atheris

    arguments = [
        sys.argv[0],
        str(working),
        f"-max_total_time={hunt.seconds}",
        f"-runs={hunt.runs}",
        f"-seed={hunt.seed}",
        "-reload=0",  # by the clock, and nobody else writes there
        f"-max_len={MAX_INPUT}",
        f"-timeout={INPUT_SECONDS}",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-artifact_prefix={folder / name}.",
        "-print_final_stats=1",
        "-close_fd_mask=0",
    ]
    atheris.Setup(arguments, function)
    atheris.Fuzz()  # ends the process
    raise AssertionError("libFuzzer came back")


def report(name: str, folder: Path, began: float) -> Report:
    """Reads what a target that has ended left behind."""
    output = folder / f"{name}.out"
    text = output.read_bytes()
    stats = {key.decode(): int(value) for key, value in _STAT.findall(text)}
    features = [int(found) for found in _FEATURES.findall(text)]
    crashes = [
        path
        for kind in ("crash", "timeout", "oom", "leak")
        for path in folder.glob(f"{name}.{kind}-*")
        if path.stat().st_mtime >= began
    ]
    return Report(
        name,
        stats.get("number_of_executed_units", 0),
        max(features, default=0),
        stats.get("new_units_added", 0),
        time.time() - began,
        crashes[0] if crashes else None,
        output,
    )
