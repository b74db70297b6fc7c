"""What is wrong with a configuration, in plain words: from msgspec's message and the struct's type.

Imported only when there is an error to tell, since looking into types takes a while.
"""

import difflib
import re
from collections.abc import Iterator
from typing import Final

from msgspec import inspect

_STEP: Final = re.compile(r"\[[^\]]*\]|[^.\[\]]+")


def explain(message: str, type_: type) -> str:
    """Moves msgspec's `- at `$.a[0].b`` to the front, and says what could stand there.

    An unknown key has the known one that it resembles, one of the file that stands in a table has
    its place, and a word that is none of some has these.
    """
    text, _, place = message.partition(" - at `$")
    key = place.rstrip("`").removeprefix(".")
    if (
        match := re.fullmatch(r"Object contains unknown field `(.*)`", text, re.DOTALL)
    ) is not None:
        return f"{key}.{match[1]}: unknown key{_hint(type_, key, match[1])}".removeprefix(".")
    if (
        match := re.fullmatch(r"Object missing required field `(.*)`", text, re.DOTALL)
    ) is not None:
        return f"{key}.{match[1]}: missing".removeprefix(".")
    if (match := re.fullmatch(r"Invalid enum value (.*)", text, re.DOTALL)) is not None:
        text = f"{match[1]} is none of {', '.join(_words(type_, key))}"
    return f"{key}: {text}" if key else text


def _hint(type_: type, place: str, key: str) -> str:
    """Where an unknown key belongs, or which one it resembles; empty when there is no telling."""
    if place and key in _keys(type_, ""):  # a line that was appended to the file
        return "; it belongs above the first [table] of the file"
    close = difflib.get_close_matches(key, _keys(type_, place), 1)
    return f"; did you mean {close[0]}?" if close else ""


def _keys(type_: type, place: str) -> list[str]:
    """The keys of the table at a place, such as `gateway[0]`."""
    return [
        field.encode_name
        for found in _at(type_, place)
        if isinstance(found, inspect.StructType)
        for field in found.fields
    ]


def _words(type_: type, place: str) -> list[str]:
    """What may stand at a place: texts in quotes, a number, a list."""
    words: list[str] = []
    for found in _at(type_, place):
        if isinstance(found, inspect.LiteralType):
            words += [repr(value) for value in found.values]
        elif isinstance(found, inspect.IntType):
            words.append("a number")
        elif isinstance(found, inspect.VarTupleType | inspect.ListType):
            words.append("a list")
    return words


def _at(type_: type, place: str) -> list[inspect.Type]:
    """The types that a value at a place may have."""
    found = list(_each(inspect.type_info(type_)))
    for step in _STEP.findall(place):
        found = [inner for outer in found for inner in _within(outer, step)]
    return found


def _within(outer: inspect.Type, step: str) -> Iterator[inspect.Type]:
    """The types of a member, or of an element `[0]`."""
    if isinstance(outer, inspect.StructType):
        for field in outer.fields:
            if field.encode_name == step:
                yield from _each(field.type)
    elif isinstance(outer, inspect.VarTupleType | inspect.ListType):
        yield from _each(outer.item_type)
    elif isinstance(outer, inspect.DictType):
        yield from _each(outer.value_type)


def _each(found: inspect.Type) -> Iterator[inspect.Type]:
    """The types of a union, without the metadata around them."""
    if isinstance(found, inspect.UnionType):
        for one in found.types:
            yield from _each(one)
    elif isinstance(found, inspect.Metadata):
        yield from _each(found.type)
    else:
        yield found
