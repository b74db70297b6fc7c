"""The administrative sockets of a cluster's processes on one machine: one for each, found by name.

Several processes may share a configuration, and so its `admin`: each listens beside that path, at a
name with its role and process number. A command of that configuration asks all of them.
"""

from __future__ import annotations

import glob
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from muniment_service import unixsocket

if TYPE_CHECKING:
    from pathlib import Path


def socket_of(admin: Path, role: str) -> Path:
    """Where this process listens; names of processes that are gone are removed.

    The role is `frontend`, `integrator` or `serve`.
    """
    for path in _sockets(admin):
        with suppress(ValueError, PermissionError):
            try:
                os.kill(int(_name(admin, path).rpartition("-")[2]), 0)
            except ProcessLookupError:
                path.unlink(missing_ok=True)
    return admin.with_name(f"{admin.stem}-{role}-{os.getpid()}{admin.suffix}")


def ask_all(admin: Path, method: str, target: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Asks each process that listens; blocks. See `unixsocket.ask`.

    Gives answers and refusals, by role and process number. Raises NotRunningError if nobody
    listens.
    """
    answers: dict[str, Any] = {}
    refusals: dict[str, str] = {}
    for path in _sockets(admin):
        name = _name(admin, path)
        try:
            answers[name] = unixsocket.ask(path, method, target)
        except unixsocket.NotRunningError:
            continue  # it was killed
        except unixsocket.NotDoneError as error:
            refusals[name] = str(error)
    if not answers and not refusals:
        raise unixsocket.NotRunningError(f"{admin}: no process of the cluster answers beside it")
    return answers, refusals


def ask_leader(
    admin: Path, method: str, target: str, *, body: bytes, seconds: float
) -> dict[str, Any]:
    """Asks the process that integrates; blocks. See `unixsocket.ask`.

    Raises:
        NotRunningError: nobody listens.
        NotDoneError: it refuses, or none that listens here integrates.
    """
    answers, _ = ask_all(admin, "GET", "/status")
    for name, answer in answers.items():
        if answer["integrating"]:
            path = admin.with_name(f"{admin.stem}-{name}{admin.suffix}")
            return unixsocket.ask(path, method, target, body=body, seconds=seconds)
    holders = {answer["cluster"]["holder"] for answer in answers.values()} - {""}
    # It may be one of these: what it needs to begin cannot be reached, or it has just begun.
    holds = "; {} (machine, process) holds the lease"
    who = holds.format(holders.pop()) if holders else ", and nobody does now"
    raise unixsocket.NotDoneError(f"no process of the cluster on this machine integrates{who}")


def _sockets(admin: Path) -> list[Path]:
    pattern = f"{glob.escape(admin.stem)}-*-*{glob.escape(admin.suffix)}"
    return sorted(admin.parent.glob(pattern))


def _name(admin: Path, path: Path) -> str:
    return path.name.removeprefix(f"{admin.stem}-").removesuffix(admin.suffix)
