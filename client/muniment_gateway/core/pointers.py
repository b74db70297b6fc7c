"""JSON pointers (RFC 6901) into values that were read already."""

from typing import Any


def resolve(value: Any, pointer: str) -> Any:
    """What a pointer leads to; LookupError when there is nothing, or it is no pointer."""
    if not pointer:
        return value
    head, *tokens = pointer.split("/")
    if head:
        raise LookupError(pointer)
    for token in tokens:
        name = token.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value[name]
        elif isinstance(value, list) and name.isascii() and name.isdecimal():
            value = value[int(name)]
        else:
            raise LookupError(pointer)
    return value
