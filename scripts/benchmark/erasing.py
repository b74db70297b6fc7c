"""The scenario of an erasure: one subject's addenda among many others', by the command."""

import asyncio
import os
import sys
import tempfile
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from deployment import ORIGIN, Deployment

from benchmark.options import Options
from benchmark.rig import BenchError, timed_command
from muniment_log.core.addenda import Addendum, Sent
from muniment_log.core.naming import subject_key
from muniment_log.storage.addenda import AddendaStore

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))
from packing import packed  # pyright: ignore[reportMissingImports]  # of the tests

_BYTES = 300  # of an addendum
_AT_ONCE = 1000
_SUBJECT = ("user", "to be forgotten")


def erase(options: Options) -> dict[str, Any]:
    """Erases every hundredth of many addenda: the command, from its start to its end."""
    count = 100_000 if options.quick else 1_000_000
    with tempfile.TemporaryDirectory(prefix="muniment-bench-") as name:
        place = Path(name)
        deployment = Deployment(place)
        try:
            deployment.make_log()
            deployment.configure_log(gateways=[], policy=False)
            asyncio.run(_fill(place / "log" / "addenda.db", count))
            deployment.start_log()
            done = timed_command(
                "muniment-log", "erase", "--config", place / "log" / "log.toml",
                "--subject", *_SUBJECT, "--yes",
                cwd=place,
            )  # fmt: skip
            if (
                f"Erased {count // 100} addenda, {count // 100 * _BYTES} bytes"
                not in done["stdout"]
            ):
                raise BenchError(f"not what was to be erased: {done['stdout']}")
            if (place / "log" / "addenda.db-wal").stat().st_size:
                raise BenchError("the write-ahead log of the addenda was not cut off")
            memory = deployment.rss("log")
        finally:
            deployment.stop()
    return {
        "addenda": count,
        "erased": count // 100,
        "seconds": round(done["seconds"], 2),
        "log_rss_mb": round(memory / 1e6),
    }


async def _fill(path: Path, count: int) -> None:
    """Stores addenda as a log does: of a hundred subjects, one after the other."""
    store = AddendaStore(
        path, ORIGIN, size=lambda: 0, waiting_bytes=1 << 30, now_ms=lambda: 1_790_000_000_000
    )
    running = asyncio.get_running_loop().create_task(store.run())
    others = [subject_key("user", str(number)) for number in range(1, 100)]
    subjects = [subject_key(*_SUBJECT), *others]
    for start in range(0, count, _AT_ONCE):
        addenda: list[Addendum] = []
        for number in range(start, start + _AT_ONCE):
            data = os.urandom(_BYTES)
            subject = subjects[number % len(subjects)]
            addenda.append(Addendum(sha256(data).digest(), data, subject, f"run-{number}", ()))
        sent = Sent.packed(packed(addenda))  # as they come with signed batches
        await store.keep(sent)
        await store.named(sent, 0)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    await store.close()
