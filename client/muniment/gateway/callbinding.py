"""What a governed call is about, taken at the decision: resource, and commitment to the arguments.

Between the decision and the run others may change a list or a mapping that both hold. So both are
taken again just before the run, and must be the same.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from inspect import Parameter
from typing import Any, Final, Protocol, TypeAlias

from muniment.gateway.valueform import Types, value_form
from muniment.records.commitments import addendum, commitment_of
from muniment.tlog.encoding import FormatError

JsonObject: TypeAlias = Mapping[str, Any]

ResourceOf: TypeAlias = Callable[..., JsonObject] | JsonObject
"""A resource, or what makes it of a call's arguments."""

_RECEIVERS: Final = frozenset({"self", "cls"})


@dataclass(frozen=True, slots=True)
class Bound:
    """What a call is about, as it was at some moment; nobody else holds any of it.

    ``arguments`` are those, or what stands for them, in their canonical form, of which ``types``
    tells more; ``addendum`` discloses them, and ``commitment`` is to them; ``defaults`` to the
    defaults that stand in for arguments and can change, None if there are none, or one has no form.
    """

    resource: dict[str, Any]
    arguments: Any
    types: Types
    addendum: bytes
    commitment: str
    defaults: str | None = None

    def is_same(self, other: "Bound") -> bool:
        """Whether two calls are about the same; 1 is not True here, as it is not in JSON."""
        return (self.commitment, self.types, self.defaults, repr(self.resource)) == (
            other.commitment,
            other.types,
            other.defaults,
            repr(other.resource),
        )


class CallSubject(Protocol):
    """What one call is about, as its caller's objects say it at any moment."""

    @property
    def unbound(self) -> Sequence[str]:
        """Names of arguments that nothing binds to the decision."""
        ...

    def resource(self) -> dict[str, Any]:
        """The call's resource, now; raises what the caller's code raises."""
        ...

    def bound(self, resource: dict[str, Any], nonce: str) -> Bound:
        """What the call is about, now; ``nonce`` is that of its commitments.

        Raises:
            FormatError: If the arguments have no canonical form and nothing stands for them.
            Exception: What the caller's code raises.
        """
        ...

    def parent(self) -> str | None:
        """The run that triggers the call, as far as its caller says; raises what that does."""
        ...


def bind_arguments(
    resource: dict[str, Any],
    arguments: Any,
    nonce: str,
    what: str,
    defaults: str | None = None,
) -> Bound:
    """Takes arguments, or what stands for them, as they are now.

    Raises FormatError, naming the part that has no canonical form.
    """
    form = value_form(arguments, what)
    data = addendum(nonce, form.value)
    return Bound(resource, form.value, form.types, data, commitment_of(data), defaults)


class CallBinding:
    """Tells what calls of one function are about.

    ``resource`` is the resource, or makes it of a call's arguments; ``bind``, if there is one,
    makes of them what stands for them. The arguments in ``unbound`` are left out. Raises TypeError
    if one of these is no parameter of the function.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        resource: ResourceOf,
        bind: Callable[..., Any] | None = None,
        unbound: Sequence[str] = (),
    ) -> None:
        self.bind = bind
        self.unbound = tuple(unbound)
        self._resource = resource
        self._is_method = _is_method(function)
        self._outer, self.defaults = _changing_defaults(function)
        self._first: tuple[Any, ...] = ()
        self._named: dict[str, Any] = {}
        while isinstance(function, functools.partial):
            self._first = (*function.args, *self._first)
            self._named = {**function.keywords, **self._named}
            function = function.func
        self._inner = _signature(function)
        self._own = _signature(function, follow_wrapped=False)
        known = {*self._inner.parameters, *self._own.parameters}
        open_ended = any(one.kind is Parameter.VAR_KEYWORD for one in self._own.parameters.values())
        if missing := [name for name in self.unbound if name not in known and not open_ended]:
            raise TypeError(f"unbound: the function has no parameter {missing[0]!r}")

    def resource(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The call's resource, now; raises what the caller's ``resource`` raises."""
        resource = self._resource(*args, **kwargs) if callable(self._resource) else self._resource
        return deepcopy(dict(resource))

    def arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments by name, whether they were given by place or by name.

        What ``*rest`` takes is a list of that name; what ``**others`` takes is among the arguments.
        Raises FormatError if two have one name.
        """
        signature = self._inner
        args, kwargs = (*self._first, *args), {**self._named, **kwargs}
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError:  # a wrapper takes other arguments than what it wraps
            signature = self._own
            given = signature.bind(*args, **kwargs).arguments
        found: dict[str, Any] = {}
        is_first = True
        for name, value in given.items():
            kind = signature.parameters[name].kind
            more: Mapping[str, Any] = {name: value}
            if is_first and self._is_method and kind is not Parameter.VAR_KEYWORD:
                # The object of a method is not an argument of the call.
                rest = value[1:] if kind is Parameter.VAR_POSITIONAL else ()
                more = {name: rest} if rest else {}
            elif kind is Parameter.VAR_KEYWORD:
                more = value
            is_first = False
            if twice := found.keys() & more.keys():
                raise FormatError(f"{min(twice)}: two arguments have this name")
            found.update(more)
        for name in self.unbound:
            found.pop(name, None)
        return found

    def stood_in(self, args: tuple[Any, ...], kwargs: dict[str, Any], nonce: str) -> str | None:
        """Commitment to the defaults that a call uses and somebody could change, see ``Bound``."""
        try:
            given = self._outer.bind(*args, **kwargs).arguments
        except TypeError:  # a wrapper takes other arguments than what it wraps
            given = {}
        data = addendum_of_result(
            nonce, {name: value for name, value in self.defaults.items() if name not in given}
        )
        return None if data is None else commitment_of(data)


class FunctionCall:
    """What one call of a function is about."""

    def __init__(
        self,
        binding: CallBinding,
        parent: Callable[..., str | None] | str | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self.unbound = binding.unbound
        self._binding = binding
        self._parent = parent
        self._args, self._kwargs = args, kwargs
        self._arguments: dict[str, Any] | None = None  # by name; their values are the caller's

    def resource(self) -> dict[str, Any]:
        """See ``CallSubject``."""
        return self._binding.resource(self._args, self._kwargs)

    def parent(self) -> str | None:
        """See ``CallSubject``."""
        parent = self._parent
        return parent(*self._args, **self._kwargs) if callable(parent) else parent

    def bound(self, resource: dict[str, Any], nonce: str) -> Bound:
        """See ``CallSubject``."""
        binding = self._binding
        if binding.bind is not None:
            stands = binding.bind(*self._args, **self._kwargs)
            return bind_arguments(resource, stands, nonce, "what bind= gives")
        if self._arguments is None:
            self._arguments = binding.arguments(self._args, self._kwargs)
        defaults = None
        if binding.defaults:
            defaults = binding.stood_in(self._args, self._kwargs, nonce)
        try:
            return bind_arguments(resource, self._arguments, nonce, "the call", defaults)
        except FormatError as error:
            raise FormatError(
                f"{error}, so what is decided cannot be bound to what runs: say with "
                "governed(bind=...) what stands for the arguments, or with governed(unbound=...) "
                "which of them are left out"
            ) from None


def addendum_of_result(nonce: str, result: Any) -> bytes | None:
    """The addendum of a result; None if it has no canonical form."""
    try:
        return addendum(nonce, value_form(result, subclasses=True).value)
    except (ValueError, TypeError, RecursionError):
        return None


def _signature(function: Callable[..., Any], *, follow_wrapped: bool = True) -> inspect.Signature:
    try:
        return inspect.signature(function, follow_wrapped=follow_wrapped)
    except ValueError:  # of something that is not written in Python
        return inspect.signature(lambda *args, **kwargs: (args, kwargs))


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
