"""Everything a relying party of a Muniment log needs: gateway, audit, records, proofs, policies.

``__init__.pyi`` lists the public names, for type checkers and for this module alike. Each is
imported when it is first used, so that ``import muniment`` costs next to nothing.
"""

from functools import cache
from pathlib import Path
from typing import Any

from muniment import _moved

_moved.install()


@cache
def _sources() -> dict[str, str]:
    """Maps each public name to its module, from lines ``from <module> import <name> as <name>``."""
    lines = Path(__file__).with_suffix(".pyi").read_text(encoding="ascii").splitlines()
    return {words[3]: words[1] for words in map(str.split, lines) if words[:1] == ["from"]}


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
