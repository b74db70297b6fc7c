"""The gateway: from a decision to a permit, exactly once; governed calls; the spool."""

from typing import Any, Final

# In 0.1.0 this was the module of the class.
_OF_CLASS: Final = {
    "Gateway": "gateway",
    "DEFAULT_DEADLINE": "gateway",
    "DEFAULT_BATCH": "logstream",
    "DEFAULT_PUBLISH_WAIT": "logstream",
    "DEFAULT_WINDOW": "logstream",
    "MAX_QUEUED_BYTES": "logstream",
}


def __getattr__(name: str) -> Any:
    module = _OF_CLASS.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Imported only now: the package stays cheap.
    return getattr(__import__(f"{__name__}.{module}", fromlist=[name]), name)
