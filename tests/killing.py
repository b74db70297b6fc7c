"""Commands that are killed while they make something durable."""

import signal
import subprocess
import sys
from pathlib import Path

# Ends its own process behind the n-th of the calls by which files become durable. Those of the
# database are not among them: behind the last of the others, nothing is committed yet.
KILLED = """
import os, signal, sys
from importlib import import_module
from pathlib import Path
program, at = sys.argv.pop(1), int(sys.argv.pop(1))
calls = 0
def dying(call):
    def wrapped(*args, **kwargs):
        global calls
        result = call(*args, **kwargs)
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return wrapped
os.fsync, Path.replace = dying(os.fsync), dying(Path.replace)
import_module(f"muniment_{program}.cli").main()
"""


def rotate_and_kill(at: int, program: str, config: Path, *words: str) -> bool:
    """Runs `rotate-key` of a program, and kills it behind the `at`-th such call.

    Returns whether it was killed; otherwise it has ended well.
    """
    argv = [sys.executable, "-c", KILLED, program, str(at), "rotate-key", "--config", str(config)]
    code = subprocess.run([*argv, *words], capture_output=True, check=False).returncode
    assert code in (0, -signal.SIGKILL)
    return code != 0
