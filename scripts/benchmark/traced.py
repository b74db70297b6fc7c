"""Runs one of the programs with times taken at named points (`python -m benchmark.traced`).

The programs themselves know nothing of it: functions are replaced by ones that also note when they
began and ended, before the program starts. The clock is the system's monotonic one, which all
processes of a machine share, so what several of them noted can be laid side by side.
"""

import atexit
import functools
import importlib
import importlib.metadata
import inspect
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple


class Point(NamedTuple):
    """A function whose calls are noted: its module, its name there, what its times are called."""

    name: str
    module: str
    function: str


class Noted(NamedTuple):
    """One call: of what, for whom (the label of the object that was called), from when to when.

    The times are nanoseconds of the monotonic clock.
    """

    name: str
    label: str
    began: int
    ended: int


GATEWAY: Final = (
    Point("submit", "muniment.gateway.gateway", "Gateway.submit"),
    Point("build", "muniment.gateway.submissions", "Builder.build"),
    Point("request", "muniment.http.logclient", "LogClient.submit_batch"),
    Point("verify", "muniment.gateway.delivery", "check_published"),
)
_FILE: Final = (
    Point("transaction", "muniment.local.sqlitefile", "Writer._transact_alone"),
    Point("sync", "muniment.local.sqlitefile", "Writer.commit"),
    Point("received", "muniment_service.connection", "Connection.data_received"),
)
LOG: Final = (
    *_FILE,
    Point("handle", "muniment_log.http.submit", "Submit.batches"),
    Point("authenticate", "muniment_log.http.submit", "Submit._authenticate"),
    Point("check", "muniment_log.core.scheduler", "StepScheduler.run"),
    Point("order", "muniment_log.storage.order", "EmbeddedOrder.order"),
    Point("commit", "muniment_log.storage.sqlite", "SQLiteStore.commit"),
    Point("sign", "muniment.tlog.cosignature", "MLDSA44Cosigner.sign"),
    Point("ask", "muniment_log.publish.witness", "WitnessClient.add_checkpoint"),
    Point("post", "muniment_log.publish.witness", "WitnessClient._post"),
    Point("verify", "muniment_log.publish.witness", "WitnessClient._check"),
    Point("announce", "muniment_log.publish.publisher", "Publisher._announce"),
    Point("prove", "muniment_log.http.submit", "Submit._proofs"),
    Point("store", "muniment_log.storage.embedded", "EmbeddedTiles.publish"),
)
WITNESS: Final = (
    *_FILE,
    Point("handle", "muniment_witness.http.api", "WitnessHttp._add_checkpoint"),
    Point("authenticate", "muniment_witness.http.api", "authenticate"),
    Point("cosign", "muniment_witness.cosign.cosigner", "Cosigner.add_checkpoint"),
    Point("commit", "muniment_witness.store.heads", "HeadStore.commit"),
    Point("sign", "muniment_witness.cosign.cosigner", "Cosigner._sign"),
)
PROGRAMS: Final = {"muniment-log": LOG, "muniment-witness": WITNESS}


def install(points: tuple[Point, ...], noted: list[Noted]) -> None:
    """Has the functions note their calls from now on.

    Raises AttributeError if one is not there any more.
    """
    for point in points:
        owner: Any = importlib.import_module(point.module)
        *path, last = point.function.split(".")
        for part in path:
            owner = getattr(owner, part)
        setattr(owner, last, _noting(point.name, getattr(owner, last), noted))


def _noting(name: str, function: Callable[..., Any], noted: list[Noted]) -> Callable[..., Any]:
    now = time.monotonic_ns

    def note(began: int, args: tuple[Any, ...]) -> None:
        label = getattr(args[0], "label", "") if args else ""
        noted.append(Noted(name, label, began, now()))

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def noting_later(*args: Any, **more: Any) -> Any:
            began = now()
            try:
                return await function(*args, **more)
            finally:
                note(began, args)

        return noting_later

    @functools.wraps(function)
    def noting(*args: Any, **more: Any) -> Any:
        began = now()
        try:
            return function(*args, **more)
        finally:
            note(began, args)

    return noting


def write(noted: list[Noted], path: Path) -> None:
    path.write_text(json.dumps(noted))


def read(path: Path) -> list[Noted]:
    return [Noted(*one) for one in json.loads(path.read_text())]


def main() -> None:
    """`traced FILE PROGRAM ARGUMENT...`: the file gets what was noted, when the program ends."""
    file, program, *arguments = sys.argv[1:]
    noted: list[Noted] = []
    install(PROGRAMS[program], noted)
    atexit.register(write, noted, Path(file).absolute())
    (script,) = importlib.metadata.entry_points(group="console_scripts", name=program)
    sys.argv = [program, *arguments]
    sys.exit(script.load()())


if __name__ == "__main__":
    main()
