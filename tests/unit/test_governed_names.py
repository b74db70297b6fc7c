"""Which names governed calls take and give: subjects of any script, tools that are told apart."""

import functools
from collections.abc import Callable
from typing import Any

import pytest

from bench import AGENT, Bench
from logsim import GATEWAY_SIGNER
from muniment.gateway import blocking
from muniment.gateway.callables import tool_name
from muniment.gateway.governed import governed
from muniment.records.thingnames import thing_id

IDS = ["Research Assistant", "Réseau", "研究员", "агент-7", "x%20y", "a" * 2049, "", "tab\there"]


async def test_any_subject_resource_and_delegator_works(bench: Bench) -> None:
    async with bench.opened():
        for id_ in IDS:
            subject = {"type": "agent", "id": id_}
            resource = {"type": "file", "id": id_}
            rules = {"subject": subject, "resource": resource, "delegator": f"{id_} desk"}
            await bench.call(bench.tool(bench.ran.append, **rules), id_)
    assert bench.ran == IDS
    asked = [one["request"] for one in bench.records("decision")]
    assert [(one["subject"]["id"], one["resource"]["id"]) for one in asked] == list(
        zip(IDS, IDS, strict=True)
    )
    performed = [one for one in bench.records("edge") if one["relation"] == "performed_by"]
    names = [one["to"]["id"] for one in performed]
    assert len(set(names)) == len(IDS)
    short = [number for number, id_ in enumerate(IDS) if len(id_) < 2049]
    assert [thing_id(names[number]) for number in short] == [IDS[number] for number in short]


class Box:
    def put(self) -> None: ...

    @classmethod
    def made(cls) -> None: ...

    @staticmethod
    def fixed() -> None: ...

    def __call__(self) -> None: ...


class Other(Box):
    def put(self) -> None: ...


def search() -> None: ...


def wrapping(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


def test_a_tool_has_the_name_of_its_function() -> None:
    def local() -> None: ...

    assert [tool_name(one) for one in (search, local, wrapping(search), len)] == [
        "search",
        "local",
        "search",
        "len",
    ]


def test_methods_have_names_of_their_own() -> None:
    methods = [Box.put, Box.fixed, Box.made, Other.put, Other.made, Box.__call__, [].append]
    names = [tool_name(one) for one in methods]
    assert names[0] == f"{__name__}.Box.put"
    assert len(set(names)) == len(names)
    assert tool_name(Box().put) == names[0]
    assert tool_name(wrapping(Box.put)) == names[0]

    class Inner:
        def put(self) -> None: ...

    assert tool_name(Inner.put) == f"{__name__}.{Inner.__qualname__}.put"


@pytest.mark.parametrize(
    "function",
    [
        functools.partial(search),
        lambda: None,
        Box(),
        wrapping(functools.partial(search)),
        wrapping(lambda: None),
        functools.update_wrapper(functools.partial(search), search),
    ],
    ids=["partial", "lambda", "object", "wrapped partial", "wrapped lambda", "named partial"],
)
def test_what_has_no_name_of_its_own_needs_a_resource(function: Callable[..., Any]) -> None:
    gateway = blocking.Gateway("http://127.0.0.1:1", GATEWAY_SIGNER)
    rules: dict[str, Any] = {"decide": lambda _: {"decision": True}, "subject": AGENT}
    with pytest.raises(TypeError, match=r"no name of its own.*resource="):
        governed(gateway, **rules)(function)
    governed(gateway, **rules, resource={"type": "tool", "id": "search"})(function)
