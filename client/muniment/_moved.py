"""Names that modules had in 0.1.0; they go on working, with a warning, until 0.3.

`muniment` appends the finder to `sys.meta_path`, so it is asked only for modules that nobody else
knows, and costs nothing while the names of today are used.
"""

import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

_FORMATS: Final = {
    "tlog": (
        "encoding merkle proofs tiles note checkpoint cosignature policy policyrules quorum "
        "tlogproof witnesswire evidence claims proven"
    ),
    "records": "artifact authority canonical kinds manifest members preparation submission",
}
_TOP: Final = {
    "gateway": (
        "delivery submissions authorization spool spoolfile governed blocking runs receipts guard"
    ),
    "http": "access logclient urls",
    "local": "atomicfile privatefiles keyfiles memory",
}
MOVED: Final = {
    **{
        f"muniment.formats.{name}": f"muniment.{folder}.{name}"
        for folder, names in _FORMATS.items()
        for name in names.split()
    },
    **{
        f"muniment.{name}": f"muniment.{folder}.{name}"
        for folder, names in _TOP.items()
        for name in names.split()
    },
    "muniment.formats": "",
    "muniment.formats.records": "muniment.records.api",
    "muniment.formats.recordcheck": "muniment.records.check",
    "muniment.formats.recordcodec": "muniment.records.codec",
    "muniment.formats.keys": "muniment.tlog.keys.keyfile",
    "muniment.formats.paths": "muniment.tlog.auditpaths",
    "muniment.formats.typedjson": "muniment.http.typedjson",
    "muniment.httpclient": "muniment.http.client",
}
"""The name of 0.1.0 → the name of today; empty for the package that has no successor."""


class _Alias:
    """Loads the module of today's name; it has one identity under both names."""

    def create_module(self, spec: "ModuleSpec") -> "ModuleType | None":
        now = MOVED[spec.name]
        if not now:
            return None
        import importlib  # noqa: PLC0415  # as below

        module = importlib.import_module(now)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: "ModuleType") -> None:
        if MOVED.get(module.__name__, "?"):
            module.__spec__ = self._spec  # the import system put the alias's there


class MovedFinder:
    """Finds modules by the names that they had in 0.1.0 (see `importlib.abc.MetaPathFinder`)."""

    def find_spec(
        self, fullname: str, path: "Sequence[str] | None", target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        """Finds one module; warns whoever imports it."""
        del path, target
        now = MOVED.get(fullname)
        if now is None:
            return None
        import warnings  # noqa: PLC0415  # these take longer to import than all of this package
        from importlib.machinery import ModuleSpec  # noqa: PLC0415  # likewise

        if now:
            warnings.warn(f"{fullname} is {now} now", DeprecationWarning, stacklevel=2)
        return ModuleSpec(fullname, _Alias(), is_package=not now)  # type: ignore[arg-type]  # by its methods


def install() -> None:
    """Asks the finder last, once."""
    if not any(isinstance(finder, MovedFinder) for finder in sys.meta_path):
        sys.meta_path.append(MovedFinder())
