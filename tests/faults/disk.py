"""Which states of a disk a power cut could leave (POSIX fsync; SQLite "atomic commit", section 3).

The model is meaner than any one file system. What was synced is there. Of what was not, at the
moment of the cut:

- each write is there or not, whatever came before or after it (no order, not between files, not
  within one), and each may be torn: any of its sectors of 512 or of 4096 bytes is there or not;
- the length of a file has changed or not, apart from its data: what lies behind the length is lost,
  what was never written inside of it reads as zeros or as old garbage of the disk;
- names that were made or removed are so, in order (a journal of metadata), up to some point.

A sync of a file covers its data and length, and a sync of a folder the names in it.
"""

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

from faults.strace import Call

SECTORS = (512, 4096)

Files = dict[str, bytes]
"""Name → content."""


@dataclass(eq=False)
class _Inode:
    synced: bytes = b""
    pending: list[Call] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Name:
    """A change of a name; None removes it."""

    name: str
    inode: _Inode | None


class Disk:
    """Follows the calls of a process, and tells what a power cut could leave at this point."""

    def __init__(
        self,
        there: Mapping[str, bytes] | None = None,
        ignored: Iterable[str] = (".lock", "-shm", ".sock"),
    ) -> None:
        """Starts with what was there, durably.

        Args:
            there: Name → content.
            ignored: Endings of files that hold nothing that has to last.
        """
        self._ignored = tuple(ignored)
        # As the running process sees them.
        self._names = {name: _Inode(content) for name, content in (there or {}).items()}
        self._durable = dict(self._names)
        self._renamed: list[_Name] = []

    def apply(self, call: Call) -> bool:
        """Takes over a call; whether what could be left has changed."""
        if call.name == "send" or call.path.endswith(self._ignored):
            return False
        if call.name == "sync" and call.path not in self._names:
            return self._sync_folder(call.path)
        if call.name == "create":
            if call.path in self._names:
                return False
            self._rename(call.path, _Inode())
        elif call.name == "rename":
            # A power cut may leave both names, never neither.
            self._rename(call.data.decode(), self._names.pop(call.path))
            self._renamed.append(_Name(call.path, None))
        elif call.name == "unlink":
            del self._names[call.path]
            self._renamed.append(_Name(call.path, None))
        elif call.name == "sync":
            inode = self._names[call.path]
            inode.synced, inode.pending = _applied(inode.synced, inode.pending), []
        else:
            self._names[call.path].pending.append(call)
        return True

    def _rename(self, path: str, inode: _Inode) -> None:
        self._names[path] = inode
        self._renamed.append(_Name(path, inode))

    def _sync_folder(self, path: str) -> bool:
        mine = [change for change in self._renamed if str(PurePath(change.name).parent) == path]
        for change in mine:
            self._take(self._durable, change)
        self._renamed = [change for change in self._renamed if change not in mine]
        return bool(mine)

    @staticmethod
    def _take(names: dict[str, _Inode], change: _Name) -> None:
        if change.inode is None:
            names.pop(change.name, None)
        else:
            names[change.name] = change.inode

    def states(self, dice: random.Random, samples: int, *, singles: bool) -> Iterator[Files]:
        """States that a power cut at this point could leave; some may come more than once.

        Nothing pending is there, or all of it, with every prefix of the names' changes; then
        `samples` at random from everything else. With `singles` also all but one write, and only
        one write: best just before a sync, when most is pending.
        """
        for names in self._name_prefixes():
            yield {name: inode.synced for name, inode in names.items()}
            yield {name: _applied(inode.synced, inode.pending) for name, inode in names.items()}
        for name, inode in self._names.items() if singles else ():
            for skipped in range(len(inode.pending)):
                alone = [inode.pending[skipped]]
                rest = inode.pending[:skipped] + inode.pending[skipped + 1 :]
                for kept in (alone, rest):
                    for others in (True, False):
                        state = self._plain(everything=others)
                        state[name] = _applied(inode.synced, kept)
                        yield state
        if self._renamed or any(inode.pending for inode in self._names.values()):
            for _ in range(samples):
                yield self._random(dice)

    def _name_prefixes(self) -> Iterator[dict[str, _Inode]]:
        names = dict(self._durable)
        yield dict(names)
        for change in self._renamed:
            self._take(names, change)
            yield dict(names)

    def _plain(self, *, everything: bool) -> Files:
        return {
            name: _applied(inode.synced, inode.pending) if everything else inode.synced
            for name, inode in self._names.items()
        }

    def _random(self, dice: random.Random) -> Files:
        names = dice.choice(list(self._name_prefixes()))
        return {name: _torn(inode, dice) for name, inode in names.items()}


def _applied(content: bytes, calls: Iterable[Call]) -> bytes:
    made = bytearray(content)
    for call in calls:
        if call.name == "truncate":
            _resize(made, call.offset)
        else:
            if len(made) < call.offset:
                _resize(made, call.offset)
            made[call.offset : call.offset + len(call.data)] = call.data
    return bytes(made)


def _resize(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))


def _torn(inode: _Inode, dice: random.Random) -> bytes:
    """Some of what is pending, in pieces."""
    sector = dice.choice(SECTORS)
    share = dice.choice((0.1, 0.5, 0.9))
    lengths = [len(inode.synced)]
    longest = len(_applied(inode.synced, [call for call in inode.pending if call.data]))
    made = bytearray(inode.synced)
    fill = dice.choice((bytes, dice.randbytes))
    made.extend(fill(max(0, longest - len(made))))
    length = len(inode.synced)
    for call in inode.pending:
        if call.name == "truncate":
            length = call.offset
        else:
            length = max(length, call.offset + len(call.data))
            at = 0
            while at < len(call.data):
                end = min(len(call.data), at + sector - (call.offset + at) % sector)
                if dice.random() < share:
                    made[call.offset + at : call.offset + end] = call.data[at:end]
                at = end
        lengths.append(length)
    return bytes(made[: dice.choice(lengths)])
