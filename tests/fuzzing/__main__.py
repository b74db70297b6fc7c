"""scripts/fuzz: runs fuzz targets under atheris, keeps what they find, replays single inputs."""

import argparse
import os
import sys
import time
from collections import deque
from pathlib import Path

from fuzzing import run

FOLDER = Path(__file__).parents[2] / ".fuzz"
"""Working corpora, output and crashes; not in the repository."""


def fuzz(names: list[str], hunt: run.Hunt, jobs: int) -> int:
    """Fuzzes targets, some at a time; returns how many failed."""
    targets = run.load()
    FOLDER.mkdir(exist_ok=True)
    print(f"{'target':18} {'executions':>11} {'features':>9} {'new':>6} {'seconds':>8}")
    waiting, running, failed = deque(names), dict[int, tuple[str, float]](), 0
    while waiting or running:
        while waiting and len(running) < jobs:
            name = waiting.popleft()
            # Files have coarser times than the clock.
            running[run.start(name, targets[name], hunt, FOLDER)] = (name, time.time() - 0.01)
        child, _ = os.wait()
        found = run.report(*_place(running.pop(child)))
        print(
            f"{found.name:18} {found.executions:11,} {found.features:9,} {found.new:6,}"
            f" {found.seconds:8.1f}",
            flush=True,
        )
        if found.failed:
            failed += 1
            _explain(found)
    return failed


def _place(started: tuple[str, float]) -> tuple[str, Path, float]:
    return started[0], FOLDER, started[1]


def _explain(found: run.Report) -> None:
    lines = found.output.read_text("utf-8", "replace").splitlines()
    print("\n".join(lines[-40:]), file=sys.stderr)
    if found.crash is None:
        print(f"{found.name}: ended before its time; see {found.output}", file=sys.stderr)
        return
    print(
        f"{found.name}: broken by {found.crash}\n"
        f"  replay:  scripts/fuzz --replay {found.crash} {found.name}\n"
        f"  keep it: scripts/fuzz --keep {found.crash} {found.name}",
        file=sys.stderr,
    )


def main() -> None:
    from fuzzing import corpus

    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("target", nargs="*", metavar="TARGET", help="those named; all of them")
    parser.add_argument("--list", action="store_true", help="name the targets")
    parser.add_argument("--seconds", type=int, default=10, help="for each target (default 10)")
    parser.add_argument(
        "--runs", type=int, default=-1, metavar="N", help="for each target, at most (default: any)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="the same inputs each time (default: new)"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="targets at a time")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run a target on one input")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="add an input to the corpus")
    parser.add_argument(
        "--keep-found", action="store_true", help="add the inputs found that reach new code"
    )
    given = parser.parse_args()
    if given.replay or given.keep or given.keep_found or given.list:
        from fuzzing.targets import TARGETS
    else:
        hunt = run.Hunt(given.seconds, given.runs, given.seed)
        sys.exit(bool(fuzz(_known(parser, given.target), hunt, given.jobs)))
    names = _known(parser, given.target)
    for name in names:
        if given.list:
            print(name)
        elif given.replay:
            TARGETS[name](given.replay.read_bytes())
            print(f"{name}: holds")
        elif given.keep:
            corpus.add(name, [given.keep.read_bytes()], "has found a defect")
        else:
            from fuzzing.keep import keep

            print(f"{name:18} {keep(name, TARGETS[name], FOLDER / name):4} inputs added")


def _known(parser: argparse.ArgumentParser, given: list[str]) -> list[str]:
    """The targets to run; told by the corpus, so that nothing is loaded too early."""
    from fuzzing import corpus

    every = sorted(path.name for path in corpus.FOLDER.iterdir())
    if unknown := set(given) - set(every):
        parser.error(f"no target {', '.join(sorted(unknown))}")
    return given or every


if __name__ == "__main__":
    main()
