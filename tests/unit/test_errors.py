"""Every error that the packages define survives being copied, and sent to another process."""

import concurrent.futures
import copy
import importlib
import inspect
import multiprocessing
import pickle
import pkgutil
import typing
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from types import ModuleType, NoneType, UnionType
from typing import Any

import pytest
from msgspec import Struct

import muniment
import muniment_log
import muniment_witness
from muniment.errors import Denied, InputError, PartlyDone, Problem, StreamConflict
from muniment.tlog.encoding import MunimentError


def modules(package: ModuleType) -> Iterator[ModuleType]:
    yield package
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


def defined() -> list[type[BaseException]]:
    found = {
        value
        for package in (muniment, muniment_log, muniment_witness)
        for module in modules(package)
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, BaseException)
        and value.__module__ == module.__name__
    }
    return sorted(found, key=lambda kind: (kind.__module__, kind.__qualname__))


KINDS = defined()


def sample(annotation: Any) -> Any:
    """Some value of a type, as an error's constructor may ask for."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return sample(typing.get_args(annotation)[0])
    if origin in (typing.Union, UnionType):
        return sample(next(one for one in typing.get_args(annotation) if one is not NoneType))
    if origin is typing.Literal:
        return typing.get_args(annotation)[0]
    kind = origin or annotation
    if kind in (int, float, str, bytes, dict, list, tuple, bool):
        return kind(7) if kind in (int, float) else kind()
    if kind is Any:
        return "anything"
    if isinstance(kind, type) and issubclass(kind, MunimentError):
        return InputError("a line")
    if isinstance(kind, type) and is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{field.name: sample(hints[field.name]) for field in fields(kind)})
    if isinstance(kind, type) and issubclass(kind, Struct):
        hints = typing.get_type_hints(kind)
        return kind(**{name: sample(hints[name]) for name in kind.__struct_fields__})
    name = getattr(kind, "__name__", "")
    return {"Mapping": {}, "Sequence": (), "Set": frozenset()}[name]


def example(kind: type[BaseException]) -> BaseException:
    """An error with each argument that its constructor takes."""
    if not inspect.isfunction(kind.__init__):  # Python's own, which takes anything
        return kind("what happened", 7)
    if kind is Denied:
        return Denied(("denied_by_policy", "revoked_authorization"), ["no", "never"], index=7)
    signature = inspect.signature(kind)
    hints = typing.get_type_hints(kind.__init__)
    given: dict[str, Any] = {name: sample(hints.get(name, str)) for name in signature.parameters}
    return kind(**given)


WAYS: list[Callable[[Any], Any]] = [
    copy.copy,
    copy.deepcopy,
    *(
        lambda error, protocol=protocol: pickle.loads(pickle.dumps(error, protocol))
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    ),
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_every_error_is_copied_as_it_is(kind: type[BaseException]) -> None:
    error = example(kind)
    error.add_note("a note")
    for way in WAYS:
        back = way(error)
        assert type(back) is kind
        assert back is not error
        assert (str(back), back.args) == (str(error), error.args)
        assert repr(vars(back)) == repr(vars(error))


def test_there_are_many() -> None:
    assert len(KINDS) > 50


def test_errors_within_errors() -> None:
    problem = Problem(409, "urn:muniment:problem:stream-conflict", members={"first": 3})
    inner = StreamConflict("elsewhere", problem=problem, batch=b"bytes")
    back = pickle.loads(pickle.dumps(PartlyDone(inner, "2 of 3 lines are logged")))
    assert isinstance(back.error, StreamConflict)
    assert (back.error.problem, back.error.batch) == (problem, b"bytes")


# Code, as a worker may not find this module, whose name depends on how pytest was started.
DENY = """
from muniment.errors import Denied
raise Denied(("denied_by_policy",), ["no"], index=7)
"""


def test_a_no_in_a_worker_process_reaches_the_one_who_asked() -> None:
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        for _ in range(2):
            with pytest.raises(Denied) as caught:
                pool.submit(exec, DENY).result(60)
            assert (caught.value.codes, caught.value.index) == (("denied_by_policy",), 7)
