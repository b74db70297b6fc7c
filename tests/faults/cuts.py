"""Cuts the power at every point of a recorded run, and judges what is left each time."""

import hashlib
import random
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from faults.disk import Disk, Files
from faults.logstate import memory_folder
from faults.strace import Call

_Found = TypeVar("_Found")

_WHEN_MUCH_IS_PENDING = frozenset({"sync", "truncate", "unlink", "rename"})


@dataclass
class Counts:
    """How much was tried: points of the trace, states, and distinct ones, each opened once."""

    points: int = 0
    states: int = 0
    opened: int = 0


@dataclass
class Cuts(Generic[_Found]):
    """What to do with each state.

    Attributes:
        hear: told of everything that the process sends, in order.
        look: opens the state that lies in a folder, and says what it holds.
        judge: compares that with what was heard before the power cut.
        samples: random states at each point.
        there: the files that were there before the run, durably: name → content.
    """

    hear: Callable[[bytes], None]
    look: Callable[[Path], Awaitable[_Found]]
    judge: Callable[[_Found], None]
    samples: int
    there: Files = field(default_factory=dict)

    async def run(self, trace: list[Call], seed: int) -> Counts:
        """Goes through a trace; an assertion that fails is told with the seed and the point."""
        dice, disk, counts = random.Random(seed), Disk(self.there), Counts()
        seen: dict[bytes, _Found] = {}
        changed = False
        with memory_folder() as memory:
            place = memory / "state"
            for number, call in enumerate([*trace, Call("sync", "")]):
                if call.name == "send":
                    # Whatever is told must be there: the states of this point again.
                    self.hear(call.data)
                    changed = True
                    continue
                if changed:
                    counts.points += 1
                    singles = call.name in _WHEN_MUCH_IS_PENDING
                    for state in disk.states(dice, self.samples, singles=singles):
                        counts.states += 1
                        key = _digest(state)
                        try:
                            if key not in seen:
                                _lay_out(state, place)
                                seen[key] = await self.look(place)
                            self.judge(seen[key])
                        except Exception as error:
                            error.add_note(f"seed {seed}, before call {number}: {call.name}")
                            raise
                changed = disk.apply(call) if call.path else False
        counts.opened = len(seen)
        return counts


def _digest(state: Files) -> bytes:
    digest = hashlib.sha256()
    for name, content in sorted(state.items()):
        digest.update(f"{name} {len(content)} ".encode())
        digest.update(content)
    return digest.digest()


def _lay_out(state: Files, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in state.items():
        (folder / Path(name).name).write_bytes(content)
