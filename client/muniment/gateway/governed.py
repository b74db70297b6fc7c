"""Governed callables: decide, log, prove, verify, run, then say how it went.

    @governed(gateway, decide=policy_engine, subject={"type": "agent", "id": "planner"})
    async def search(query: str) -> list[str]: ...

Every call becomes an AuthZEN request, gets the policy engine's answer, and runs only with a
permit. Its outcome, with digests of what went in and came out, goes to the gateway's spool, so
that a log that is away afterwards costs nothing. A call inside of a governed call is triggered by
it. With a ``blocking.Gateway`` the callable is a plain function.

``callables`` says what may be governed, ``calloptions`` how, ``callbinding`` what a call is about;
``governing`` has the steps, which are the same with either gateway.
"""

import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar, Unpack, overload

from muniment.gateway import blocking
from muniment.gateway.callables import is_coroutine_function
from muniment.gateway.callbinding import JsonObject
from muniment.gateway.calloptions import (
    Call,
    Check,
    Complete,
    Decide,
    Options,
    check_options,
)
from muniment.gateway.gateway import Gateway
from muniment.gateway.governing import Governing
from muniment.gateway.runs import running

__all__ = ["Call", "Check", "Complete", "Decide", "JsonObject", "Options", "governed"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


@overload
def governed(
    gateway: Gateway, **options: Unpack[Options]
) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Awaitable[R]]]: ...
@overload
def governed(
    gateway: blocking.Gateway, **options: Unpack[Options]
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def governed(
    gateway: Gateway | blocking.Gateway, **options: Unpack[Options]
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Makes a decorator: calls of what it decorates run with a permit, or raise ``Denied``.

    The gateway must be open, with a policy and a spool, by the time of the first call. See
    ``Options``, of which ``decide`` and ``subject`` are required.

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
        if is_async == isinstance(gateway, blocking.Gateway):
            raise TypeError("a coroutine function needs a Gateway, a function a blocking.Gateway")
        if isinstance(gateway, blocking.Gateway):
            return _blocking(function, gateway, options)
        return _asynchronous(function, gateway, options)

    return decorate


def _asynchronous(
    function: Callable[..., Awaitable[R]], gateway: Gateway, options: Options
) -> Callable[..., Awaitable[R]]:
    async def wait(work: Coroutine[Any, Any, T], _seconds: float) -> T:
        return await work  # which has its deadline on this loop

    governing = Governing(function, gateway, wait, options)

    @functools.wraps(function)
    async def governed_call(*args: Any, **kwargs: Any) -> R:
        permitted = await governing.permit(args, kwargs)
        try:
            with running(permitted.call.execution):
                result = await function(*args, **kwargs)
        except BaseException as error:
            await governing.keep_raised(permitted, error)
            raise
        await governing.keep_result(permitted, result)
        return result

    return governed_call


def _blocking(
    function: Callable[..., R], gateway: blocking.Gateway, options: Options
) -> Callable[..., R]:
    async def wait(work: Coroutine[Any, Any, T], seconds: float) -> T:
        return gateway.run(work, timeout=seconds)

    governing = Governing(function, gateway.asynchronous, wait, options)

    @functools.wraps(function)
    def governed_call(*args: Any, **kwargs: Any) -> R:
        permitted = _at_once(governing.permit(args, kwargs))
        try:
            with running(permitted.call.execution):
                result = function(*args, **kwargs)
        except BaseException as error:
            _at_once(governing.keep_raised(permitted, error))
            raise
        _at_once(governing.keep_result(permitted, result))
        return result

    return governed_call


def _at_once(steps: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine that waits in this thread, and so never gives way."""
    try:
        steps.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    raise AssertionError("a step of a blocking call gave way to an event loop")
