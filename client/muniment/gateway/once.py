"""The permits of calls that are asked for by a key: who asks again gets the first one.

One file for each key, in a folder beside the spool or shared by the spools of many processes. While
a call is decided its file is locked (flock(2)): others with the same key wait, in this process and
in others, and the kernel gives the lock back whatever ends the process. A file that says nothing
whole (a power cut) is as good as none: the call is decided anew.
"""

import asyncio
import base64
import fcntl
import os
import time
import weakref
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

from muniment.errors import Denied, InputError, MunimentError
from muniment.permit import MAX_PERMIT_SIZE, Permit, parse_permit
from muniment.records.canonical import encode_canonical, parse_json

ONCE_SUFFIX: Final = ".once"
"""Appended to the name of a spool's file for the folder."""

KEPT_SECONDS: Final = 7 * 24 * 3600.0
"""How long a permit is kept for who asks again: an approval may take days."""

MAX_KEPT: Final = 20_000
"""Most permits that are kept, of some 10 KiB each; beyond it the oldest go."""

LOOK_PAUSE: Final = 0.02
"""Seconds between two looks at a call that is still being decided."""

_PRUNE_EVERY: Final = 500
_VERSION: Final = 1
_MAX_FILE: Final = 2 * MAX_PERMIT_SIZE


class StoredPermit(NamedTuple):
    """The first permit of a key."""

    permit: Permit
    nonce: str
    """That of the commitments to the arguments, and to whom and what the call is about."""
    about: str
    """Commitment to subject, action and resource."""
    arguments: str
    """Commitment to the arguments."""
    parent: str | None


class KeyClaim:
    """The exclusive right to decide the call of a key, until it is released."""

    def __init__(self, file: int, path: Path) -> None:
        """Takes the locked file."""
        self._file = file
        self.path = path
        self.stored = _read(file)
        _CLAIMS.add(self)

    def keep(self, stored: StoredPermit) -> None:
        """Keeps the permit; returns once it is on disk.

        Raises InputError if it cannot be written.
        """
        data = encode_canonical(
            {
                "v": _VERSION,
                "permit": base64.b64encode(stored.permit.encode()).decode(),
                "nonce": stored.nonce,
                "about": stored.about,
                "arguments": stored.arguments,
                "parent": stored.parent,
            }
        )
        digest = sha256(data).hexdigest().encode()
        try:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, digest + b"\n" + data, 0)
            os.fsync(self._file)
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise InputError(f"{self.path}: {error.strerror}") from None

    def release(self) -> None:
        """Lets others ask; safe to call twice."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)


_CLAIMS: Final[weakref.WeakSet[KeyClaim]] = weakref.WeakSet()


def _disclaim() -> None:
    """Lets go of all claims in a fork of the process, which has the descriptors, and the locks."""
    for claim in list(_CLAIMS):
        claim.release()


os.register_at_fork(after_in_child=_disclaim)


class OnceStore:
    """The permits in one folder, which any number of processes may use."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        """The folder is made when it is needed; ``clock`` gives Unix seconds."""
        self._folder = folder
        self._clock = clock
        self._claims = 0

    async def claim(self, key: str, seconds: float) -> KeyClaim:
        """Waits, so many seconds at the most, until nobody else decides the call of a key.

        Raises:
            Denied: If somebody still does.
            MunimentError: If the folder cannot be used.
        """
        end = asyncio.get_running_loop().time() + seconds
        while True:
            work = asyncio.get_running_loop().run_in_executor(None, self._claim, key)
            try:
                claim = await asyncio.shield(work)
            except asyncio.CancelledError:
                work.add_done_callback(_give_back)
                raise
            if claim is not None:
                return claim
            if asyncio.get_running_loop().time() + LOOK_PAUSE > end:
                raise Denied(
                    ("governance_mesh_discontinuity",),
                    [f"once: another call with the key {key[:64]!a} is still being decided"],
                )
            await asyncio.sleep(LOOK_PAUSE)

    def _claim(self, key: str) -> KeyClaim | None:
        """The claim, if nobody has it."""
        path = self._folder / sha256(key.encode(errors="surrogatepass")).hexdigest()
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            if self._claims % _PRUNE_EVERY == 0:
                self._prune()
            self._claims += 1
            while True:
                file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if _is_at(file, path):
                        if os.fstat(file).st_mtime < self._clock() - KEPT_SECONDS:
                            os.ftruncate(file, 0)
                        return KeyClaim(file, path)
                except BlockingIOError:
                    os.close(file)
                    return None
                except BaseException:
                    os.close(file)
                    raise
                os.close(file)  # somebody removed it meanwhile
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}") from None

    def _prune(self) -> None:
        """Removes what is too old, or too much."""
        found: list[tuple[float, str]] = []
        for entry in os.scandir(self._folder):
            try:
                found.append((entry.stat().st_mtime, entry.path))
            except FileNotFoundError:
                continue  # another process prunes, too
        found.sort()
        oldest = self._clock() - KEPT_SECONDS
        for number, (changed, name) in enumerate(found):
            if changed >= oldest and len(found) - number <= MAX_KEPT:
                return
            _remove(Path(name))


def _give_back(work: "asyncio.Future[KeyClaim | None]") -> None:
    """Releases a claim whose caller has left."""
    if not work.cancelled() and work.exception() is None and (claim := work.result()) is not None:
        claim.release()


def _is_at(file: int, path: Path) -> bool:
    """Whether an open file is the one at a path."""
    try:
        there, here = path.stat(), os.fstat(file)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _remove(path: Path) -> None:
    """Removes a file that nobody has locked."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        pass
    finally:
        os.close(file)


def _read(file: int) -> StoredPermit | None:
    """What a file says; None if it says nothing whole."""
    size = os.fstat(file).st_size
    if not 0 < size <= _MAX_FILE:
        return None
    digest, _, data = os.pread(file, size, 0).partition(b"\n")
    if digest != sha256(data).hexdigest().encode():
        return None
    try:
        members = parse_json(data, "once", most=_MAX_FILE)
        if members["v"] != _VERSION:
            return None
        permit = parse_permit(base64.b64decode(members["permit"]))
        return StoredPermit(
            permit, members["nonce"], members["about"], members["arguments"], members["parent"]
        )
    except (MunimentError, KeyError, TypeError, ValueError):
        return None
