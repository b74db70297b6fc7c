"""How a child process begins, ``python -m muniment_log.index.begin MODULE …``.

It imports the module and runs its `main`, which gives the exit code. Modules are imported as the
commands import them, see `importing`: that is most of what a child does until it is ready.
"""

import importlib
import sys

from muniment.http.importing import importing


def main() -> int:
    """Runs the module that the first argument names; it sees those after it as its own."""
    del sys.argv[0]
    with importing():
        module = importlib.import_module(sys.argv[0])
    code: int = module.main()
    return code


if __name__ == "__main__":
    sys.exit(main())
