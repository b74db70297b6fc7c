"""Listings of a server, filtered to what the one who asked is allowed."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

from muniment_gateway.deciding.decisions import RequestDetails
from muniment_gateway.mcp.mapping import Caller, Declared, MappingError, requests_of
from muniment_gateway.mcp.messages import Message, MessageError, encode, read_message

LISTED: Final[Mapping[str, tuple[str, str, str]]] = {
    "tools/list": ("tools", "tools/call", "name"),
    "prompts/list": ("prompts", "prompts/get", "name"),
    "resources/list": ("resources", "resources/read", "uri"),
}
"""Listings that can be filtered: their member, and the method that it is good for, by what."""

MOST_LISTED: Final = 10_000
"""Most entries of a listing that is filtered; the others are left out."""

_AT_ONCE: Final = 32

WouldAllow: TypeAlias = Callable[[dict[str, Any], RequestDetails], Awaitable[bool]]
"""What would be decided on a request, without a log."""


def listing_of(response: Message) -> str | None:
    """The method whose listing a response is, by its members; None if it is none."""
    result = response.value.get("result")
    for method, (member, _, _) in LISTED.items():
        if isinstance(result, dict) and member in result:
            return method
    return None


class Listings:
    """Filters listings."""

    def __init__(self, would_allow: WouldAllow, declared: Declared | None) -> None:
        """Takes what would be decided, and the server's own mappings where they count."""
        self._would_allow = would_allow
        self._declared = declared

    async def filter(self, listing: str, caller: Caller, response: Message) -> bytes:
        """The response to a method; one that lists something with what its caller may ask for."""
        result = response.value.get("result")
        if listing not in LISTED or not isinstance(result, dict):
            return response.data
        member, method, by = LISTED[listing]
        listed = result.get(member)
        if not isinstance(listed, list):
            return response.data
        shown: list[Any] = []
        for start in range(0, min(len(listed), MOST_LISTED), _AT_ONCE):
            some = listed[start : start + _AT_ONCE]
            allowed = await asyncio.gather(
                *(self._is_allowed(caller, method, by, one) for one in some)
            )
            shown += [one for one, is_allowed in zip(some, allowed, strict=True) if is_allowed]
        return encode({**response.value, "result": {**result, member: shown}})

    async def _is_allowed(self, caller: Caller, method: str, by: str, entry: Any) -> bool:
        name = entry.get(by) if isinstance(entry, dict) else None
        if not isinstance(name, str):
            return False
        value = {"jsonrpc": "2.0", "id": 0, "method": method, "params": {by: name, "arguments": {}}}
        try:
            asked = requests_of(read_message(encode(value)), caller, self._declared)
        except MappingError:
            return True  # it cannot be told without arguments: the call itself is decided
        except MessageError:
            return False
        call = RequestDetails(caller.claims.get("sub", ""), "mcp")
        for one in asked:
            if not await self._would_allow(one, call):
                return False
        return True
