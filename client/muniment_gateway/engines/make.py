"""Makes the engine of an authority, by its kind."""

from typing import assert_never

from muniment.http.client import HttpSession
from muniment_gateway.authorities import Authority
from muniment_gateway.engines.authzen import AuthzenEngine
from muniment_gateway.engines.cedar import CedarEngine
from muniment_gateway.engines.cerbos import CerbosEngine
from muniment_gateway.engines.command import CommandEngine
from muniment_gateway.engines.opa import OpaEngine
from muniment_gateway.engines.port import Engine


def make_engine(authority: Authority, http: HttpSession) -> Engine:
    """The engine that the authority's table describes; nothing is asked yet."""
    match authority.entry.kind:
        case "authzen":
            return AuthzenEngine(authority, http)
        case "cerbos":
            return CerbosEngine(authority, http)
        case "opa":
            return OpaEngine(authority, http)
        case "cedar":
            return CedarEngine(authority)
        case "command":
            return CommandEngine(authority)
        case "approval":
            raise AssertionError("people are no engine")  # the configuration was checked
    assert_never(authority.entry.kind)
