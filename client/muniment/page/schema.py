"""The types of records and contexts as data for the page: ``python -m muniment.page.schema``.

It prints source/schema.json, which is committed; a test compares. So there is one definition of a
record, and the page reads it. A type is an object with ``type`` (``str``, ``int``, ``bool``,
``any``, ``enum``, ``array``, ``map``, ``struct``), its bounds, and ``null`` if it may be null.
"""

import json
from typing import Any

from msgspec import inspect

from muniment.permit.contextfile import ContextMembers
from muniment.records.check import EvaluationRequest, EvaluationResponse
from muniment.records.kinds import Record

_ABSENT = (inspect.NoneType, inspect.CustomType)


def schema() -> dict[str, Any]:
    """The types: of records by kind, of the members of a context, and the structs in them."""
    structs: dict[str, Any] = {}
    records = inspect.type_info(Record)
    if not isinstance(records, inspect.UnionType):
        raise TypeError("a record is of one of several kinds")
    kinds = {
        str(one.tag): _struct(one, structs)
        for one in records.types
        if isinstance(one, inspect.StructType)
    }
    others = {
        name: _type(inspect.type_info(type_), structs)
        for name, type_ in (
            ("context", ContextMembers),
            ("request", EvaluationRequest),
            ("response", EvaluationResponse),
        )
    }
    return {"records": kinds, **others, "structs": structs}


def text() -> str:
    """The schema as it is committed."""
    return json.dumps(schema(), indent=1, ensure_ascii=True) + "\n"


def _struct(found: inspect.StructType, structs: dict[str, Any]) -> str:
    name = f"{found.cls.__module__.rpartition('.')[2]}.{found.cls.__name__.removeprefix('_')}"
    if name not in structs:
        structs[name] = {}  # an actor has an actor
        fields = {
            field.encode_name: {**_type(field.type, structs), "required": field.required}
            for field in found.fields
        }
        structs[name] |= {"fields": fields, "open": not found.forbid_unknown_fields}
    return name


def _type(found: inspect.Type, structs: dict[str, Any]) -> dict[str, Any]:
    match found:
        case inspect.Metadata():
            return _type(found.type, structs)
        case inspect.UnionType():
            [one] = [each for each in found.types if not isinstance(each, _ABSENT)]
            return {**_type(one, structs), "null": found.includes_none}
        case inspect.StrType():
            bounds = {
                "min": found.min_length,
                "max": found.max_length,
                "pattern": found.pattern,
            }
            return {"type": "str", **_stated(bounds)}
        case inspect.IntType():
            return {"type": "int", **_stated({"min": found.ge, "max": found.le})}
        case inspect.LiteralType():
            return {"type": "enum", "values": list(found.values)}
        case inspect.ListType() | inspect.VarTupleType():
            bounds = {"min": found.min_length, "max": found.max_length}
            return {"type": "array", "items": _type(found.item_type, structs), **_stated(bounds)}
        case inspect.DictType():
            parts = {
                "keys": _type(found.key_type, structs),
                "values": _type(found.value_type, structs),
            }
            bounds = {"min": found.min_length, "max": found.max_length}
            return {"type": "map", **parts, **_stated(bounds)}
        case inspect.StructType():
            return {"type": "struct", "name": _struct(found, structs)}
        case inspect.BoolType():
            return {"type": "bool"}
        case inspect.AnyType():
            return {"type": "any"}
        case _:
            raise TypeError(f"the page knows no type {found}")


def _stated(bounds: dict[str, Any]) -> dict[str, Any]:
    return {name: bound for name, bound in bounds.items() if bound is not None}


if __name__ == "__main__":
    print(text(), end="")  # noqa: T201 - what it is for
