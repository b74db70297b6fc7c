"""Everything a relying party of a Muniment log needs: gateway, audit, records, proofs, policies.

``__init__.pyi`` lists the public names, for type checkers and for this module alike. Each is
imported when it is first used, so that ``import muniment`` costs next to nothing.
"""

import sys
from functools import cache
from typing import Any

__version__ = "0.2.0"


class _MovedFinder:
    """Finds modules by the names that they had in 0.1.0 (see `importlib.abc.MetaPathFinder`)."""

    @staticmethod
    def find_spec(fullname: str, path: Any = None, target: Any = None) -> Any:
        """Asks `_moved` about a module that no other finder knows."""
        del path, target
        if not fullname.startswith("muniment."):
            return None
        from muniment._moved import find_moved  # noqa: PLC0415  # hardly anybody needs it

        return find_moved(fullname)


if not any(getattr(finder, "__name__", "") == "_MovedFinder" for finder in sys.meta_path):
    sys.meta_path.append(_MovedFinder)


@cache
def _sources() -> dict[str, str]:
    """Maps each public name to its module, from lines ``from <module> import <name> as <name>``."""
    with open(f"{__file__}i", encoding="ascii") as stub:  # noqa: PTH123  # pathlib takes 3 ms
        # Not `map`: once it is imported, that is the package muniment.map here.
        lines = [line.split() for line in stub]
    return {words[3]: words[1] for words in lines if words[:1] == ["from"]}


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return sorted(_sources())
    module = None if name.startswith("_") else _sources().get(name)
    if module is None:
        raise AttributeError(f"module 'muniment' has no attribute {name!r}")
    # With a `fromlist`, a name that is a module (`blocking`) is imported, too.
    value = getattr(__import__(module, fromlist=[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_sources()})
