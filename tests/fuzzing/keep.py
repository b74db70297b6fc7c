"""Chooses what of a working corpus to keep: the fewest inputs that together run what all do."""

import sys
from collections.abc import Iterable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

from fuzzing import corpus
from fuzzing.law import Target

MAX_KEPT: Final = 40
"""Inputs of one target in the repository."""

MAX_BYTES: Final = 2048
"""Longest input that is added to the repository."""

Steps = set[tuple[CodeType, int, int]]


def steps_of(function: Target, data: bytes) -> Steps:
    """The steps from line to line in our packages that an input causes."""
    steps: Steps = set()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        code = frame.f_code
        if "/muniment" not in code.co_filename:
            return None
        last = frame.f_lineno
        frame.f_trace_lines = True

        def local(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal last
            steps.add((code, last, frame.f_lineno))
            last = frame.f_lineno
            return local

        steps.add((code, -1, last))
        return local

    sys.settrace(trace)
    try:
        function(data)
    finally:
        sys.settrace(None)
    return steps


def chosen(function: Target, kept: Iterable[bytes], found: Iterable[bytes]) -> list[bytes]:
    """Those of the inputs found, shortest first, that add steps to those of the ones kept."""
    known: Steps = set()
    for data in kept:
        known |= steps_of(function, data)
    adding = []
    for data in sorted(set(found), key=lambda data: (len(data), data)):
        if len(data) <= MAX_BYTES and (steps := steps_of(function, data)) - known:
            known |= steps
            adding.append(data)
    return adding


def keep(name: str, function: Target, working: Path) -> int:
    """Adds to a target's kept corpus what it lacks; returns how many inputs."""
    kept = corpus.load(name)
    found = [path.read_bytes() for path in working.iterdir()] if working.is_dir() else []
    room = max(0, MAX_KEPT - len(kept))
    return corpus.add(name, chosen(function, kept, found)[:room], "found by scripts/fuzz")
