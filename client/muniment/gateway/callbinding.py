"""What a governed call is about, taken at the decision: resource, and commitment to the arguments.

Between the decision and the run others may change a list or a mapping that both hold. So both are
taken again just before the run, and must be the same.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from muniment.records.canonical import MAX_DEPTH
from muniment.records.commitments import addendum, commitment_of
from muniment.tlog.encoding import FormatError

JsonObject: TypeAlias = Mapping[str, Any]

ResourceOf: TypeAlias = Callable[..., JsonObject] | JsonObject
"""A resource, or what makes it of a call's arguments."""

_PLAIN: Final = (str, int, float, bool, type(None))
_RECEIVERS: Final = frozenset({"self", "cls"})


@dataclass(frozen=True, slots=True)
class Bound:
    """What a call is about, as it was at some moment; nobody else holds any of it.

    ``addendum`` discloses the arguments, or what stands for them, and ``commitment`` is to them;
    ``defaults`` to the defaults that stand in for arguments and can change, None if there are none,
    or one is no JSON.
    """

    resource: dict[str, Any]
    addendum: bytes
    commitment: str
    defaults: str | None = None

    def is_same(self, other: "Bound") -> bool:
        """Whether two calls are about the same; 1 is not True here, as it is not in JSON."""
        return (self.commitment, self.defaults, repr(self.resource)) == (
            other.commitment,
            other.defaults,
            repr(other.resource),
        )


class CallBinding:
    """Tells what calls of one function are about.

    ``resource`` is the resource, or makes it of a call's arguments; ``bind``, if there is one,
    makes of them what stands for them.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        resource: ResourceOf,
        bind: Callable[..., Any] | None = None,
    ) -> None:
        self._resource = resource
        self._bind = bind
        self._is_method = _is_method(function)
        self._signature, self._defaults = _changing_defaults(function)
        self._first: tuple[Any, ...] = ()
        self._named: dict[str, Any] = {}
        while isinstance(function, functools.partial):
            self._first = (*function.args, *self._first)
            self._named = {**function.keywords, **self._named}
            function = function.func

    def take(self, args: tuple[Any, ...], kwargs: dict[str, Any], nonce: str) -> Bound:
        """Takes what a call is about, now; ``nonce`` is that of its commitments.

        Raises:
            FormatError: If the arguments have no canonical form and nothing stands for them.
            Exception: What the caller's ``resource`` and ``bind`` raise.
        """
        return self.bound(self.resource(args, kwargs), args, kwargs, nonce)

    def bound(
        self,
        resource: dict[str, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        nonce: str,
    ) -> Bound:
        """As ``take``, of a call whose resource was taken."""
        data = self._addendum(args, kwargs, nonce)
        return Bound(resource, data, commitment_of(data), self._stood_in(args, kwargs, nonce))

    def resource(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The call's resource, now; raises what the caller's ``resource`` raises."""
        resource = self._resource(*args, **kwargs) if callable(self._resource) else self._resource
        return deepcopy(dict(resource))

    def _addendum(self, args: tuple[Any, ...], kwargs: dict[str, Any], nonce: str) -> bytes:
        if self._bind is not None:
            return strict_addendum(nonce, self._bind(*args, **kwargs), "what bind= gives")
        # The object of a method is not an argument of the call.
        given = (*self._first, *(args[1:] if self._is_method else args))
        return strict_addendum(
            nonce, {"args": given, "kwargs": {**self._named, **kwargs}}, "the call"
        )

    def _stood_in(self, args: tuple[Any, ...], kwargs: dict[str, Any], nonce: str) -> str | None:
        """Commitment to the defaults that a call uses and somebody could change, see ``Bound``."""
        if self._bind is not None or not self._defaults:
            return None
        try:
            given = self._signature.bind(*args, **kwargs).arguments
        except TypeError:  # a wrapper takes other arguments than what it wraps
            given = {}
        data = addendum_of_result(
            nonce, {name: value for name, value in self._defaults.items() if name not in given}
        )
        return None if data is None else commitment_of(data)


def strict_addendum(nonce: str, value: Any, what: str) -> bytes:
    """The addendum of a value of the types that JSON has, and no others.

    An object of a subclass may say more than its JSON; so it has none here.

    Raises:
        FormatError: Naming the part that has no canonical form.
    """
    _check_plain(value, what, 0)
    return addendum(nonce, value)


def addendum_of_result(nonce: str, result: Any) -> bytes | None:
    """The addendum of a result; None if it has no canonical JSON."""
    try:
        return addendum(nonce, result)
    except (FormatError, ValueError, TypeError, RecursionError):
        return None


def _check_plain(value: Any, where: str, depth: int) -> None:
    kind = type(value)
    if kind in _PLAIN:
        return
    if depth > MAX_DEPTH:
        raise FormatError(f"{where[:64]}: more than {MAX_DEPTH} levels deep")
    if kind is dict:
        for name, item in value.items():
            if type(name) is not str:
                raise FormatError(f"{where}: a member's name is {type(name).__name__}, not str")
            _check_plain(item, f"{where}, {name}" if depth else name, depth + 1)
    elif kind is list or kind is tuple:
        for number, item in enumerate(value):
            _check_plain(item, f"{where}[{number}]", depth + 1)
    else:
        raise FormatError(
            f"{where}: {kind.__name__} has no canonical JSON form, so what is decided cannot be "
            "bound to what runs: pass JSON types, or say with governed(bind=...) what stands for it"
        )


def _changing_defaults(function: Callable[..., Any]) -> tuple[inspect.Signature, dict[str, Any]]:
    """The signature of what a call runs in the end, and its defaults that are JSON containers."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # of something that is not written in Python
        return inspect.Signature(), {}
    parameters = signature.parameters.items()
    return signature, {
        name: one.default
        for name, one in parameters
        if isinstance(one.default, dict | list | tuple)
    }


def _is_method(function: Callable[..., Any]) -> bool:
    """Whether a function was defined in a class, and takes its object first."""
    if not inspect.isfunction(function):
        return False
    function = inspect.unwrap(function)  # a wrapper's parameters say nothing
    *within, _ = getattr(function, "__qualname__", "").split(".")
    if not within or within[-1] == "<locals>" or not inspect.isfunction(function):
        return False
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    return bool(names) and names[0] in _RECEIVERS
