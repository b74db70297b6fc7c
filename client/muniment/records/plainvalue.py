"""Python values as the JSON that they are, or not at all.

A library that writes JSON turns a Decimal, a set, bytes or a date into some text or list of its own
choice, and a key of 1 into "1". What is logged, and perhaps signed, would then be something else
than what the caller holds. So only values pass that come back from JSON equal to what they were:
None, bool, int, float, str, lists, tuples (as lists), and dictionaries with str keys; subclasses of
these pass as what they derive from.
"""

from typing import Any

from msgspec import Struct

from muniment.records.canonical import MAX_DEPTH
from muniment.tlog.encoding import FormatError


def plain_value(value: Any, path: str = "", *, depth: int = 0) -> Any:
    """Makes exact built-in values of a value.

    `path` is where it stands, `depth` how many objects and arrays are around it. Raises
    FormatError, which names the member, if JSON has no form for the type of it or of something in
    it.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)  # not an enum's own way of being shown
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if depth > MAX_DEPTH:
        raise FormatError(f"{path[:64]}: more than {MAX_DEPTH} levels deep")
    if isinstance(value, list | tuple):
        return [plain_value(one, f"{path}[{at}]", depth=depth + 1) for at, one in enumerate(value)]
    if not isinstance(value, dict):
        kind = type(value).__name__
        raise FormatError(
            f"{path or 'value'}: {kind} is no JSON value; say in text or numbers what it shall be"
        )
    members: dict[str, Any] = {}
    for name, one in value.items():
        if not isinstance(name, str):
            raise FormatError(
                f"{path or 'value'}: a member's name is {type(name).__name__}, expected str"
            )
        text = str.__str__(name)
        members[text] = plain_value(one, f"{path}.{text}" if path else text, depth=depth + 1)
    return members


def plain_members(record: Struct, path: str = "") -> dict[str, Any]:
    """The members of a typed record, as `plain_value` makes them; None is absence."""
    config = record.__struct_config__
    members: dict[str, Any] = {}
    if config.tag_field is not None:
        members[config.tag_field] = config.tag
    names = zip(record.__struct_fields__, record.__struct_encode_fields__, strict=True)
    for field, name in names:
        value = getattr(record, field)
        inner = f"{path}.{name}" if path else name
        if value is None:
            continue
        if isinstance(value, Struct):
            members[name] = plain_members(value, inner)
        elif isinstance(value, list | tuple):
            members[name] = [
                plain_members(one, f"{inner}[{at}]")
                if isinstance(one, Struct)
                else plain_value(one, f"{inner}[{at}]")
                for at, one in enumerate(value)
            ]
        else:
            members[name] = plain_value(value, inner)
    return members
