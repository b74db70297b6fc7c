"""The gateway: from a decision to a permit, exactly once; governed calls; the spool."""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "Gateway":  # in 0.1.0 this was the module of the class
        from muniment.gateway.gateway import Gateway  # noqa: PLC0415  # the package stays cheap

        return Gateway
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
