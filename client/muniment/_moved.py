"""Names that modules had in 0.1.0; they go on working, with a warning, until 0.3.

`muniment` appends a finder to `sys.meta_path`, which asks this module only for modules that nobody
else knows: it costs nothing while the names of today are used.
"""

import importlib
import warnings
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
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
    "muniment.formats.paths": "muniment.tlog.auditpath",
    "muniment.formats.typedjson": "muniment.http.typedjson",
    "muniment.httpclient": "muniment.http.client",
}
"""The name of 0.1.0 → the name of today; empty for the package that has no successor."""

_NAMES: Final = {
    "muniment.gateway.spool": {"gateway.spooldelivery": "CLAIM"},
    "muniment.gateway.spoolfile": {"gateway.spoolschema": "APPLICATION_ID MIGRATIONS"},
    "muniment.http.client": {
        "http.answer": "MAX_ERROR TooLongError",
        "http.exchange": "MAX_HEAD MAX_HEADERS",
    },
    "muniment.http.logclient": {
        "http.loganswers": "FoundRecord PublishedPart receipt_of",
        "http.logrequests": "MAX_RETRY_AFTER READ_ATTEMPTS",
        "local.backoff": "seconds_to_wait",
    },
}
"""A module of today → names that it had in 0.1.0, by the modules that have them today."""


class _Alias:
    """Loads the module of today's name; it has one identity under both names.

    It also has the names then that it had in 0.1.0, wherever they are now.
    """

    def create_module(self, spec: "ModuleSpec") -> "ModuleType | None":
        now = MOVED[spec.name]
        if not now:
            return None
        module = importlib.import_module(now)
        self._spec = module.__spec__
        for place, names in _NAMES.get(now, {}).items():
            source = importlib.import_module(f"muniment.{place}")
            for name in names.split():
                setattr(module, name, getattr(source, name))
        return module

    def exec_module(self, module: "ModuleType") -> None:
        if MOVED.get(module.__name__, "?"):
            module.__spec__ = self._spec  # the import system put the alias's there


def find_moved(fullname: str) -> "ModuleSpec | None":
    """Finds one module by the name that it had in 0.1.0; warns whoever imports it."""
    now = MOVED.get(fullname)
    if now is None:
        return None
    if now:
        # Whoever imports it is behind the finder that asks; the import system does not count.
        warnings.warn(f"{fullname} is {now} now", DeprecationWarning, stacklevel=3)
    return ModuleSpec(fullname, _Alias(), is_package=not now)  # type: ignore[arg-type]  # by its methods
