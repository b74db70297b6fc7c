"""The kept corpus: tests/corpus/fuzz/<target>, one input a line, each a Python bytes literal.

Lines that begin with # are comments. An input that has found a defect is kept by adding its line.
"""

import ast
from collections.abc import Iterable
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parents[1] / "corpus" / "fuzz"


def load(name: str) -> list[bytes]:
    """The inputs of a target, in their order."""
    path = FOLDER / name
    if not path.exists():
        return []
    lines = path.read_text("ascii").splitlines()
    return [ast.literal_eval(line) for line in lines if line and not line.startswith("#")]


def add(name: str, inputs: Iterable[bytes], why: str) -> int:
    """Appends inputs that are new, below a comment; returns how many."""
    known = set(load(name))
    new = [data for data in dict.fromkeys(inputs) if data not in known]
    if new:
        path = FOLDER / name
        text = path.read_text("ascii") if path.exists() else ""
        path.write_text(text + f"# {why}\n" + "".join(f"{data!r}\n" for data in new), "ascii")
    return len(new)
