"""How a program of the log's ends."""

import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn


def end_with(program: Callable[[], object]) -> NoReturn:
    """Runs a whole program and ends the process with its exit code.

    obstore's threads may still want the interpreter's lock after their last answer was delivered,
    and abort a process whose interpreter is being torn down then. So where it was used the process
    ends without that: everything of ours is closed by now.
    """
    code = 0
    try:
        program()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:
        if "obstore" not in sys.modules:
            raise
        traceback.print_exc()
        code = 1
    if "obstore" in sys.modules:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    sys.exit(code)
