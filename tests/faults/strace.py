"""What a process really asks of the kernel, in order: file operations and what it sends (strace).

`recording(...)` makes a command line that writes a trace; `read` turns it into operations. Threads
are interleaved in the trace as they ran. A write counts from its beginning and a sync from its end,
so that what overlaps is judged against us.

`injecting(...)` makes a command line that lets chosen calls of a running process fail.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

CALLS = (
    "openat,creat,write,writev,pwrite64,pwritev,fsync,fdatasync,ftruncate,fallocate,"
    "rename,renameat,renameat2,unlink,unlinkat,sendto,sendmsg,mmap"
)
_LONGEST = 64 << 20  # bytes of one write that the trace must hold

_LINE = re.compile(r"(?P<pid>\d+) +(?P<rest>.*)", re.DOTALL)
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>(?P<rest>.*)", re.DOTALL)
_CALL = re.compile(r"(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+)", re.DOTALL)
_HEX = re.compile(r"(?:\\x[0-9a-f]{2})*")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_DESCRIPTOR = re.compile(r"^-?\d+<((?:\\x[0-9a-f]{2}|[^>\\])*)>")
_UNFINISHED = " <unfinished ...>"


@dataclass(frozen=True, slots=True)
class Call:
    """One successful call.

    Attributes:
        name: `create`, `write`, `truncate`, `sync`, `unlink`, `rename`, or `send` for what left
            the process.
        path: The file (for `unlink`, `create` and `rename`, its name); empty for `send`.
        offset: Where a write begins; the new length for `truncate`; the descriptor of a `send`.
        data: What was written or sent; the new name for `rename`.
    """

    name: str
    path: str
    offset: int = 0
    data: bytes = b""


@cache
def why_not() -> str | None:
    """Why processes cannot be traced here; None when they can."""
    if shutil.which("strace") is None:
        return "strace is not installed (apt-get install strace)"
    done = subprocess.run(
        ["strace", "-f", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False
    )
    return None if done.returncode == 0 else f"strace may not trace here: {done.stderr.strip()}"


def needed() -> None:
    """Skips the test, with the reason, where processes cannot be traced."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)


def recording(output: Path, argv: list[str]) -> list[str]:
    """A command line that runs another one and records it into a file."""
    options = ["-f", "-y", "-xx", "-s", str(_LONGEST), "-e", f"trace={CALLS}", "-e", "signal=none"]
    return ["strace", "--seccomp-bpf", *options, "-o", str(output), *argv]


def injecting(pid: int, output: Path, what: str) -> list[str]:
    """A command line that attaches to a process; `what` is as after `strace -e inject=`."""
    call = what.partition(":")[0]
    options = ["-f", "-y", "-s", "0", "-e", f"trace={call}", "-e", f"inject={what}"]
    return ["strace", *options, "-e", "signal=none", "-o", str(output), "-p", str(pid)]


def read(trace: Path, folder: Path) -> list[Call]:
    """The calls of a trace that touch files in a folder, and everything that was sent."""
    return list(_calls(trace.read_text("ascii"), str(folder)))


def _calls(text: str, folder: str) -> Iterator[Call]:
    begun: dict[str, str] = {}
    early: set[str] = set()  # whose unfinished write was already told
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            continue
        pid, rest = match["pid"], match["rest"]
        if rest.endswith(_UNFINISHED):
            begun[pid] = rest.removesuffix(_UNFINISHED)
            told = _told(begun[pid] + ") = 0", folder)
            if told is not None and told.name in {"write", "send"}:
                early.add(pid)
                yield told
            continue
        resumed = _RESUMED.fullmatch(rest)
        if resumed is not None:
            rest = begun.pop(pid, "") + resumed["rest"]
            if pid in early:
                early.remove(pid)
                continue
        told = _told(rest, folder)
        if told is not None:
            yield told


def _told(line: str, folder: str) -> Call | None:
    match = _CALL.match(line)
    if match is None or int(match["result"]) < 0:
        return None
    name, arguments = match["name"], match["arguments"]
    texts = [_decode(text) for text in _STRING.findall(arguments)]
    if name in {"unlink", "unlinkat", "openat", "creat"}:
        path = texts[0].decode()
        if not path.startswith(folder):
            return None
        if name in {"unlink", "unlinkat"}:
            return Call("unlink", path)
        return Call("create", path) if "O_CREAT" in arguments or name == "creat" else None
    if name.startswith("rename"):
        if not any(text.decode().startswith(folder) for text in texts):
            return None
        old, new = texts
        return Call("rename", old.decode(), data=new)
    if name == "mmap":
        # Writes through shared memory would escape the record; SQLite's index of the WAL is the
        # one exception, it is rebuilt after a crash.
        if "MAP_SHARED" in arguments and "PROT_WRITE" in arguments:
            mapped = re.search(r"\d+<([^>]*)>", arguments)
            where = _decode_path(mapped[1]) if mapped else ""
            if where.startswith(folder) and not where.endswith("-shm"):
                raise AssertionError(f"shared writable mapping of {where}")
        return None
    return _on_descriptor(name, arguments, texts, folder)


def _on_descriptor(name: str, arguments: str, texts: list[bytes], folder: str) -> Call | None:
    descriptor = _DESCRIPTOR.match(arguments)
    if descriptor is None:
        return None
    path = _decode_path(descriptor[1])
    numbers = [int(number) for number in re.findall(r"(?<=, )\d+(?=,|$)", arguments)]
    data = b"".join(texts)
    if name.startswith("send") or (name in {"write", "writev"} and path.startswith("socket:")):
        return Call("send", "", int(arguments.partition("<")[0]), data)
    if not path.startswith(folder):
        return None
    if name == "pwrite64":
        return Call("write", path, numbers[-1], data)
    if name == "ftruncate":
        return Call("truncate", path, numbers[-1])
    if name in {"fsync", "fdatasync"}:
        return Call("sync", path)
    raise AssertionError(f"{name} is not modelled")


def _decode(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _decode_path(text: str) -> str:
    path = _decode(text).decode() if _HEX.fullmatch(text) else text
    return path.removesuffix(" (deleted)")
