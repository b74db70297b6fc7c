"""The lineage of one run as edge records, and which run is the current one.

The run that is going on is kept in a context variable: what it starts, in the same task or thread
or in tasks made from there, is triggered by it. So it is in a thread to which Python hands the
context (``asyncio.to_thread``); to others (an executor's, ``threading.Thread``) ``carry_run`` does.
"""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar, Token
from typing import Any, Final, ParamSpec, TypeVar

from muniment.records.kinds import Relation
from muniment.records.thingnames import thing_name

P = ParamSpec("P")
R = TypeVar("R")

_current: Final[ContextVar[str | None]] = ContextVar("muniment_run", default=None)


def current_run() -> str | None:
    """The id of the run that is going on; None outside of any."""
    return _current.get()


@contextmanager
def running(execution: str) -> Iterator[None]:
    """Makes a run the current one: for one that another process has started, say."""
    token = begin_run(execution)
    try:
        yield
    finally:
        end_run(token)


def begin_run(execution: str) -> Token[str | None]:
    """Makes a run the current one, until ``end_run`` gets what this gives."""
    return _current.set(execution)


def end_run(token: Token[str | None]) -> None:
    """Makes the run current again that was so before; in another task there is nothing to do."""
    with suppress(ValueError):
        _current.reset(token)


def carry_run(function: Callable[P, R]) -> Callable[P, R]:
    """Ties a function to the run that is going on now, if any, wherever it is called.

    For executors and threads, which do not take over the context: ``pool.submit(carry_run(search),
    query)``.
    """
    run = current_run()
    if run is None:
        return function
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def awaited(*args: P.args, **kwargs: P.kwargs) -> Any:
            with running(run):
                return await function(*args, **kwargs)

        return awaited  # type: ignore[return-value]  # R is a coroutine

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        with running(run):
            return function(*args, **kwargs)

    return called


def run_edges(
    execution: str,
    *,
    decision: str | None = None,
    agent: str | None = None,
    parent: str | None = None,
    delegator: str | None = None,
) -> list[dict[str, Any]]:
    """The edges that tie a run to what came before it, ready to be submitted.

    Args:
        execution: The run's id.
        decision: Id of the decision that authorises it; not needed when the decision states the run
            as its ``execution``.
        agent: Who performs it: any id that AuthZEN allows; see ``records.thingnames`` for how it
            is written.
        parent: The run that triggered it.
        delegator: The agent that delegated to ``agent``, likewise.

    Raises:
        ValueError: If there is a delegator and no agent.
        FormatError: If an agent's id holds a lone surrogate.
    """
    if delegator is not None and agent is None:
        raise ValueError("a delegator delegates to an agent")
    edges: list[dict[str, Any]] = []
    run = _thing("run", execution)
    if decision is not None:
        edges.append(edge("authorized_by", run, _thing("decision", decision)))
    if agent is not None:
        performer = _thing("agent", thing_name(agent))
        edges.append(edge("performed_by", run, performer))
        if delegator is not None:
            edges.append(edge("delegated_by", performer, _thing("agent", thing_name(delegator))))
    if parent is not None:
        edges.append(edge("triggered_by", run, _thing("run", parent)))
    return edges


def edge(relation: Relation, from_: Mapping[str, Any], to: Mapping[str, Any]) -> dict[str, Any]:
    """One edge, from the later thing to the earlier one; a thing is ``{"type", "id"}``."""
    return {"kind": "edge", "relation": relation, "from": dict(from_), "to": dict(to)}


def _thing(type_: str, id_: str) -> dict[str, Any]:
    return {"type": type_, "id": id_}
