"""Which callables run when they are called: what may be governed, and what a result may be.

A generator function gives back a generator and has run nothing; so do many things that a call goes
through. What would run later, unseen and outside of its run, is refused where it is decorated; what
shows only in the result is no completion.
"""

import contextlib
import functools
import inspect
import io
from collections import ChainMap, UserDict, UserList, deque
from collections.abc import AsyncIterator, Callable, Iterator
from types import (
    AsyncGeneratorType,
    CoroutineType,
    FunctionType,
    GeneratorType,
    MappingProxyType,
    MethodType,
    ModuleType,
)
from typing import Any, Final

_UNCALLABLE: Final = (
    "put @governed below it, on the function itself: what classmethod, staticmethod and property "
    "make of a function is not what is called"
)

_NAMELESS: Final = (None, "<lambda>")

_MAPPINGS: Final[tuple[type[Any], ...]] = (dict, MappingProxyType, UserDict, ChainMap)
_COLLECTIONS: Final[tuple[type[Any], ...]] = (
    *(list, tuple, set, frozenset, deque, UserList),
    *(type({}.keys()), type({}.values()), type({}.items())),
)
"""Python's own containers: what others do when they are iterated, nobody knows."""

_NESTED: Final = 10_000
"""Most values of a result that are looked at, for one that has not run."""


def is_coroutine_function(function: Callable[..., Any]) -> bool:
    """Whether calls of a callable are awaited; checks that they run at all.

    Raises TypeError if a call would not run it: a generator function, a class, or what cannot be
    called; also inside of partials, methods, callable objects and wrappers.
    """
    name = getattr(function, "__qualname__", None) or repr(function)
    if isinstance(function, classmethod | staticmethod | property | functools.partialmethod):
        raise TypeError(f"{name}: {_UNCALLABLE}")
    if not callable(function):
        raise TypeError(f"{name}: cannot be called")
    layers = list(_layers(function))
    for layer in layers:
        if isinstance(layer, type):
            raise TypeError(
                f"{name}: calling a class makes an object, and tells nothing of what it does: "
                "govern the method that does it, or a function"
            )
        if inspect.isasyncgenfunction(layer) or inspect.isgeneratorfunction(layer):
            raise TypeError(
                f"{name}: is a generator function, which runs only when it is iterated, outside "
                "of the governed call: let a governed function run to its end, return a list, or "
                "govern what makes each item"
            )
    return any(inspect.iscoroutinefunction(layer) for layer in _outer(layers))


def tool_name(function: Callable[..., Any]) -> str:
    """The name of the tool that a callable is, which no other callable has that is not the same.

    A function's own name, as in ``search``; a method's after those of its module and class, as in
    ``shop.orders.Basket.put``. Which object's method is called, it does not tell. Raises TypeError
    if it has no name of its own: a partial, a lambda, a callable object, and what wraps one of
    them.
    """
    own: str | None = getattr(function, "__name__", None)
    if own is None or any(
        isinstance(layer, functools.partial) or getattr(layer, "__name__", None) in _NAMELESS
        for layer in _layers(function)
    ):
        raise TypeError(
            f"{own or repr(function)}: has no name of its own, so that a policy could not tell it "
            "from others: say with governed(resource=...) what it is"
        )
    module = getattr(function, "__module__", None)
    qualified = getattr(function, "__qualname__", own)
    if isinstance(function, MethodType):
        owner = function.__self__
        owner = owner if isinstance(owner, type) else type(owner)
        module, qualified = owner.__module__, f"{owner.__qualname__}.{own}"
    within = qualified.rpartition(".")[0]
    if not within or within.endswith("<locals>"):
        return own
    return f"{module}.{qualified}" if module else qualified


def _layers(function: Any) -> Iterator[Any]:
    """All callables that a call goes through, the outermost first."""
    seen: set[int] = set()
    waiting = [function]
    while waiting:
        layer = waiting.pop(0)
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        yield layer
        if isinstance(layer, functools.partial):
            waiting.append(layer.func)
        elif isinstance(layer, MethodType):
            waiting.append(layer.__func__)
        elif not isinstance(layer, FunctionType | type):
            called = getattr(type(layer), "__call__", None)  # noqa: B004 - not whether, but which
            if isinstance(called, FunctionType):
                waiting.append(called)
        wrapped = getattr(layer, "__wrapped__", None)
        if callable(wrapped):
            waiting.append(wrapped)


def _outer(layers: list[Any]) -> Iterator[Any]:
    """Those layers that decide what a call gives back: up to the first function."""
    for layer in layers:
        yield layer
        if isinstance(layer, FunctionType):
            return


def close_unrun(result: object) -> str | None:
    """Closes the coroutines and generators in a result; returns the type of one of them.

    Nothing of them ran, and nothing will.
    """
    found = None
    for value in _values(result):
        # What contextlib.contextmanager makes has its generator in a member of this name.
        made_by = getattr(value, "gen", value)
        if isinstance(made_by, CoroutineType | GeneratorType):
            with contextlib.suppress(Exception):
                made_by.close()
        elif not isinstance(made_by, AsyncGeneratorType):
            continue
        found = found or type(value).__name__
    return found


def is_unseen(result: object) -> bool:
    """Whether what a call is for is still to come: something in its result is awaited or iterated.

    A file, which can be iterated as well, is there. An object's own coroutines and generators may
    be how it works, unless they have not begun: then somebody is to run them.
    """
    return any(
        inspect.isawaitable(value)
        or isinstance(value, AsyncIterator)
        or (isinstance(value, Iterator) and not isinstance(value, io.IOBase))
        or _is_promise(value)
        or any(_has_not_begun(one) for one in _attributes(value))
        for value in _values(result)
    )


def _is_promise(value: object) -> bool:
    """Whether an object stands for a result to come: a future, or a pool's or queue's result."""
    kind = type(value)
    return hasattr(kind, "add_done_callback") or (
        hasattr(kind, "ready") and hasattr(kind, "successful")
    )


def _has_not_begun(value: object) -> bool:
    if isinstance(value, CoroutineType):
        return inspect.getcoroutinestate(value) == inspect.CORO_CREATED
    if isinstance(value, GeneratorType):
        return inspect.getgeneratorstate(value) == inspect.GEN_CREATED
    return isinstance(value, AsyncGeneratorType)


def _attributes(value: object) -> list[object]:
    """The values of an object's own attributes; none of functions, classes and modules."""
    if isinstance(value, FunctionType | MethodType | ModuleType | type):
        return []
    found = list(getattr(value, "__dict__", {}).values())
    for kind in type(value).__mro__:
        names = kind.__dict__.get("__slots__", ())
        slots = (names,) if isinstance(names, str) else tuple(names)
        found += [getattr(value, name, None) for name in slots]
    return found


def _values(result: object) -> Iterator[object]:
    """A result, and what is in it, as far as Python's own containers tell."""
    waiting: list[Any] = [result]
    seen: set[int] = set()
    while waiting and len(seen) < _NESTED:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        yield value
        if isinstance(value, _MAPPINGS):
            waiting += value
            waiting += value.values()
        elif isinstance(value, _COLLECTIONS):
            waiting += value
