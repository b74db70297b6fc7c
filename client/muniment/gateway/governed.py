"""Governed callables: decide, log, prove, verify, run, then say how it went.

    @governed(gateway, decide=policy_engine, subject={"type": "agent", "id": "planner"})
    async def search(query: str) -> list[str]: ...

Every call becomes an AuthZEN request, gets the policy engine's answer, and runs only with a
permit. Its outcome, with digests of what went in and came out, goes to the gateway's spool, so
that a log that is away afterwards costs nothing. A call inside of a governed call is triggered by
it. With a ``blocking.Gateway`` the callable is a plain function, with a ``ProcessGateway`` either.

``callables`` says what may be governed, ``calloptions`` how, ``callbinding`` what a call is about;
``governing`` has the steps, which are the same with either gateway.
"""

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar, Unpack, overload

from muniment.gateway import blocking
from muniment.gateway.callables import is_coroutine_function, tool_name
from muniment.gateway.callbinding import CallBinding, FunctionCall, JsonObject
from muniment.gateway.calloptions import (
    Call,
    CallRules,
    Check,
    Complete,
    Decide,
    Options,
    check_options,
    rules_of,
)
from muniment.gateway.calls import find, find_blocking
from muniment.gateway.gateway import Gateway
from muniment.gateway.governing import Governing
from muniment.gateway.process import ProcessGateway
from muniment.gateway.reach import OwnThread, Reach, at_once
from muniment.gateway.runs import running

__all__ = ["Call", "Check", "Complete", "Decide", "JsonObject", "Options", "governed"]

P = ParamSpec("P")
R = TypeVar("R")


@overload
def governed(
    gateway: Gateway, **options: Unpack[Options]
) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Awaitable[R]]]: ...
@overload
def governed(
    gateway: blocking.Gateway, **options: Unpack[Options]
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
@overload
def governed(
    gateway: ProcessGateway, **options: Unpack[Options]
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def governed(
    gateway: Gateway | blocking.Gateway | ProcessGateway, **options: Unpack[Options]
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Makes a decorator: calls of what it decorates run with a permit, or raise ``Denied``.

    The gateway must be open, with a policy and a spool, by the time of the first call; but a
    ``ProcessGateway`` opens itself, and takes functions of either kind. See ``Options``, of which
    ``decide`` and ``subject`` are required.

    Raises (decorating):
        TypeError: If an option is missing or unknown, a call of the function would not run it (a
            generator function, a class, …), or a coroutine function meets a ``blocking.Gateway``, a
            function a ``Gateway``.

    Raises (every call):
        Denied: If the call may not run, whatever the reason, errors of ``decide``, ``complete`` and
            ``check`` included; and before anything is decided when its outcome could not be kept.
        TypeError: If the function does not take the arguments; or if it gave back a coroutine or
            generator, which is closed: it would run outside of the call.
        MunimentError: If the call ran and its outcome could not be kept all the same.
    """
    check_options(options)

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        is_async = is_coroutine_function(function)
        about, rules = _Function(function, options), rules_of(options)
        if isinstance(gateway, ProcessGateway):
            source = gateway
            if is_async:
                return _asynchronous(function, about, lambda: find(source, rules))
            return _blocking(function, about, lambda: find_blocking(source, rules))
        if is_async == isinstance(gateway, blocking.Gateway):
            raise TypeError("a coroutine function needs a Gateway, a function a blocking.Gateway")
        if isinstance(gateway, blocking.Gateway):
            threads = gateway.asynchronous, OwnThread(gateway.run), rules
            return _blocking(function, about, lambda: threads)
        tasks = gateway, Reach(), rules

        async def found() -> Found:
            return tasks

        return _asynchronous(function, about, found)

    return decorate


Found = tuple[Gateway, Reach, CallRules]
"""The gateway of one call, its way there, and how it is governed."""


class _Function:
    """One governed function: what its calls are about."""

    def __init__(self, function: Callable[..., Any], options: Options) -> None:
        resource = options.get("resource") or {"type": "tool", "id": tool_name(function)}
        unbound = options.get("unbound") or ()
        self._binding = CallBinding(function, resource, options.get("bind"), unbound)
        self._parent = options.get("parent")
        try:
            self._signature = inspect.signature(function, follow_wrapped=False)
        except ValueError:  # of something that is not written in Python
            self._signature = inspect.signature(lambda *_, **__: None)

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> FunctionCall:
        """One call; a ``TypeError`` if the function does not take these arguments."""
        self._signature.bind(*args, **kwargs)
        return FunctionCall(self._binding, self._parent, args, kwargs)


def _asynchronous(
    function: Callable[..., Awaitable[R]],
    about: _Function,
    found: Callable[[], Awaitable[Found]],
) -> Callable[..., Awaitable[R]]:
    @functools.wraps(function)
    async def governed_call(*args: Any, **kwargs: Any) -> R:
        call = about.call(args, kwargs)
        governing = Governing(*await found())
        permitted = await governing.permit(call)
        try:
            with running(permitted.call.execution):
                result = await function(*args, **kwargs)
        except BaseException as error:
            await governing.outcomes.keep_raised(permitted, error)
            raise
        await governing.outcomes.keep_result(permitted, result)
        return result

    return governed_call


def _blocking(
    function: Callable[..., R], about: _Function, found: Callable[[], Found]
) -> Callable[..., R]:
    @functools.wraps(function)
    def governed_call(*args: Any, **kwargs: Any) -> R:
        call = about.call(args, kwargs)
        governing = Governing(*found())
        permitted = at_once(governing.permit(call))
        try:
            with running(permitted.call.execution):
                result = function(*args, **kwargs)
        except BaseException as error:
            at_once(governing.outcomes.keep_raised(permitted, error))
            raise
        at_once(governing.outcomes.keep_result(permitted, result))
        return result

    return governed_call
