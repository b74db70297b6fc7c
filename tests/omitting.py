"""A log that leaves one record out of its index: the real programs, with one function replaced.

    with deployed(folder, complete="enabled = true\n") as made:
        made.log.terminate()
        made.log = omitting.start(made, "r-1")

Its leaves, heads and proofs are sound; the map that it publishes is that of the leaves without the
record of this id. `python -m omitting serve …` is its log, `python -m omitting …` its map process.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import muniment.map.mapfile
import muniment_log.app.indexlog
import processes
from log_deployment import Deployment
from muniment_log.cli import program
from muniment_log.index import mapper
from muniment_log.index.children import running_child

VARIABLE = "OMITTED_RECORD"


def start(deployment: Deployment, record: str) -> processes.Process:
    """Starts a deployment's log, whose index omits the record of an id; its map is to be a new one.

    The index log's database may have leaves already: those about trees with the record then
    contradict this map, and the log refuses to go on as long as it compares them.
    """
    folder = Path(__file__).parent
    environment = {VARIABLE: record, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
    argv = [sys.executable, "-m", "omitting", "serve", "--config", str(deployment.config)]
    return processes.start(argv, environment=environment)


def main() -> None:
    marker = b'"id":"%s"' % os.environ[VARIABLE].encode()
    original = muniment.map.mapfile.touched_by

    def omitting(leaves: Sequence[bytes], first: int, origin: str) -> Any:
        kept = [b"" if marker in leaf else leaf for leaf in leaves]  # it touches nothing
        return original(kept, first, origin)

    if sys.argv[1:2] == ["serve"]:
        muniment_log.app.indexlog.running_child = lambda _, *more: running_child("omitting", *more)
        program()
    muniment.map.mapfile.touched_by = omitting
    sys.exit(mapper.main())


if __name__ == "__main__":
    main()
