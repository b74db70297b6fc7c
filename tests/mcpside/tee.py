"""Runs a command, and notes what is written to it: ``tee.py FILE COMMAND…``."""

import subprocess
import sys
from pathlib import Path


def main() -> None:
    path, *command = sys.argv[1:]
    with (
        Path(path).open("wb", buffering=0) as words,
        subprocess.Popen(command, stdin=subprocess.PIPE) as server,
    ):
        assert server.stdin is not None
        while line := sys.stdin.buffer.readline():
            words.write(line)
            server.stdin.write(line)
            server.stdin.flush()


main()
