"""The gate between one client and one server: who may ask what, and what becomes of it.

A request is decided on as it was read, and passed on with its permit or refused. Responses say how
a run ended, and what the server declares. Transports carry the bytes: `stdio` and `proxy`.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final, Protocol

from muniment.errors import MunimentError
from muniment.gateway.outcomes import PendingOutcome
from muniment.gateway.valueform import value_form
from muniment.local.logs import event
from muniment.permit.meta import META_KEY
from muniment.records.addenda import ARGUMENTS
from muniment.tlog.encoding import FormatError
from muniment_gateway.core.authzen import OWN
from muniment_gateway.deciding.decisions import Decided, RequestDetails
from muniment_gateway.mcp.again import Again, about_of, wants_input
from muniment_gateway.mcp.listings import Listings, listing_of
from muniment_gateway.mcp.mapping import (
    PASSED,
    Caller,
    Declared,
    MappingError,
    UnknownMethodError,
    requests_of,
)
from muniment_gateway.mcp.messages import (
    DENIED,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    NOTIFICATIONS,
    Message,
    MessageError,
    error_answer,
    with_meta,
    with_whole_numbers,
)
from muniment_gateway.mcp.passage import PassedMessage, end_all
from muniment_gateway.mcp.refusals import refusal
from muniment_gateway.mcp.waiting import asked_again

if TYPE_CHECKING:
    from muniment.records.kinds import RunStatus

PATIENCE: Final = 300.0
"""Seconds that clients of MCP can be held at the most, while a person decides: see `hold_seconds`
of an authority."""

_LOGGER: Final = logging.getLogger(__name__)
_LATE: Final = "governance_mesh_discontinuity"


class Deciding(Protocol):
    """What decides; see `deciding.decider.Decider`."""

    async def decide(self, request: dict[str, Any], call: RequestDetails) -> Decided:
        """Decides a request, and logs that."""
        ...

    async def refuse(self, request: object, call: RequestDetails, reason: str) -> Decided:
        """Denies what is no request, and logs that."""
        ...

    async def would_allow(self, request: dict[str, Any], call: RequestDetails) -> bool:
        """What would be decided, without a log."""
        ...


class Outcomes(Protocol):
    """What keeps outcomes; see `deciding.loglink.LogLink`."""

    async def begin_outcome(self, execution: str) -> PendingOutcome | None:
        """Sets room aside for the outcome of a run."""
        ...


@dataclass(frozen=True, slots=True)
class McpRules:
    """How a gate judges.

    Attributes:
        passed: Methods that pass without a decision, besides those of the binding.
        ask_unknown: Whether the policy is asked about methods that have no row; else denied.
        declared: The server's own mappings, where they count.
        filters: Whether listings are filtered to what is allowed.
        withheld: What the records have only a digest of.
        answers_at_once: Whether no answer waits until the outcome of its call is on disk. It is
            `unknown` there, and stays so if the gate ends before.
    """

    passed: frozenset[str] = frozenset()
    ask_unknown: bool = False
    declared: Declared | None = None
    filters: bool = False
    withheld: tuple[str, ...] = (ARGUMENTS,)
    answers_at_once: bool = False


def _is_begun(result: object) -> bool:
    """Whether a result says that a call goes on as a task, whose end nobody has seen yet."""
    return isinstance(result, dict) and (
        result.get("resultType") == "task" or isinstance(result.get("task"), dict)
    )


class McpGate:
    """Judges what one server is asked."""

    def __init__(
        self,
        decider: Deciding,
        outcomes: Outcomes,
        rules: McpRules,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Takes what decides, what keeps outcomes, how to judge, and a clock of Unix seconds."""
        self._decider = decider
        self._again = Again(clock)
        self._outcomes = outcomes
        self._rules = rules
        self._listings = Listings(decider.would_allow, rules.declared) if rules.filters else None
        self._ending: set[asyncio.Task[None]] = set()

    async def judge(
        self, message: Message, caller: Caller, call: RequestDetails
    ) -> PassedMessage | bytes:
        """Decides on a message: what passes, or the answer that refuses it.

        Raises MessageError for a method that nobody knows, of revision 2026-07-28 or later, and for
        what is a notification only by its want of an id.
        """
        message = asked_again(message)
        is_free = message.method in PASSED or message.method in self._rules.passed
        is_told = message.kind == "notification" and not is_free
        if is_told and not message.method.startswith(NOTIFICATIONS):
            raise await self._without_id(message, caller, call)
        if message.kind != "request" or is_free:
            data = (
                message.data if message.kind == "response" else with_meta(message, META_KEY, None)
            )
            return PassedMessage(message, data, caller)
        if message.method == "tools/call":
            message = with_whole_numbers(message)
        try:
            asked = requests_of(
                message, caller, self._rules.declared, ask_unknown=self._rules.ask_unknown
            )
        except MappingError as error:
            return await self._unmapped(message, caller, call, error)
        try:
            stated = self._context(message, caller)
        except FormatError as error:
            decided = await self._decider.refuse(_bare(asked[0]), call, str(error))
            return refusal(message, decided.own)
        for over in self._again.over():
            await end_all(over.outcomes)
        passage = PassedMessage(
            message,
            message.data,
            caller,
            about_of(message, caller, call, asked, stated) if message.is_modern else b"",
        )
        begun = self._again.take(passage.about, message)
        if begun is not None:
            passage.is_again = True
            passage.outcomes = [*begun.outcomes]
            passage.permit(begun.permits)
            return passage
        return await self._decide(passage, call, asked, stated)

    async def _decide(
        self,
        passage: PassedMessage,
        call: RequestDetails,
        asked: list[dict[str, Any]],
        stated: dict[str, Any],
    ) -> PassedMessage | bytes:
        message = passage.message
        permits: list[tuple[str, str]] = []
        is_done = False
        try:
            for one in asked:
                execution = f"run-{token_hex(12)}"
                context = {**one.get("context", {}), **stated, OWN: {"execution": execution}}
                try:
                    decided, outcome = await self._decided(
                        {**one, "context": context}, call, execution
                    )
                except MunimentError as error:
                    decided = await self._decider.refuse(_bare(one), call, str(error))
                    return refusal(message, decided.own)
                if not decided.decision:
                    return refusal(message, decided.own)
                if outcome is not None:
                    passage.outcomes.append(outcome)
                if "permit" in decided.own:
                    permits.append((decided.own["execution"], decided.own["permit"]))
            passage.permit(permits)
            is_done = True
        finally:
            if not is_done:  # what was allowed by then does not run
                await passage.end("not_run")
        return passage

    async def _decided(
        self, request: dict[str, Any], call: RequestDetails, execution: str
    ) -> tuple[Decided, PendingOutcome | None]:
        """Decides, and sets room aside for the outcome of what is allowed: both before the run.

        Raises MunimentError if no outcome can be kept; nothing runs then, whatever was decided.
        """
        beginning: asyncio.Task[PendingOutcome | None] | None = None

        def begin() -> "asyncio.Task[PendingOutcome | None]":
            nonlocal beginning
            if beginning is None:
                beginning = asyncio.create_task(self._outcomes.begin_outcome(execution))
            return beginning

        decided: Decided | None = None
        is_allowed = False
        try:
            decided = await self._decider.decide(request, replace(call, allowed=begin))
            outcome = await begin() if decided.decision else None
            is_allowed = decided.decision
            return decided, outcome
        finally:
            if not is_allowed and beginning is not None:
                # The log may have an allow, or may get it: whose run never began.
                is_open = (
                    decided is None or decided.decision or _LATE in decided.own.get("codes", ())
                )
                await _end_unrun(beginning, is_open=is_open)

    async def _without_id(
        self, message: Message, caller: Caller, call: RequestDetails
    ) -> MessageError:
        """The error of a request without an id, which many servers run, and answer nothing."""
        reason = f"method {message.method[:64]!a}: without an id"
        await self._decider.refuse(_shown(message, caller), call, reason)
        return MessageError(INVALID_REQUEST, f"{reason} it is no request, nor a notification")

    async def _unmapped(
        self, message: Message, caller: Caller, call: RequestDetails, error: MappingError
    ) -> bytes:
        """Refuses what nothing can be asked about, and records that it was asked for."""
        decided = await self._decider.refuse(_shown(message, caller), call, str(error))
        codes = {META_KEY: {"codes": decided.own.get("codes", [])}}
        is_unknown = isinstance(error, UnknownMethodError)
        if is_unknown and message.is_modern:  # this revision has its own word for it
            raise MessageError(METHOD_NOT_FOUND, str(error), message.id, codes)
        code = DENIED if is_unknown else INVALID_PARAMS
        return error_answer(message.id, code, f"COAZ mapping error: {error}", codes)

    def _context(self, message: Message, caller: Caller) -> dict[str, Any]:
        """What every request about a message has in its context; FormatError if it has no form."""
        ids = {"call": str(message.id)}
        if caller.session is not None:
            ids["session"] = caller.session
        stated: dict[str, Any] = {"ids": ids}
        if message.method == "tools/call":
            given = message.params.get("arguments")
            if not isinstance(given, dict | None):
                raise FormatError("params.arguments: expected an object")
            stated["arguments"] = value_form(given or {}, "arguments").value
        return stated

    async def answered(self, passage: PassedMessage, response: Message) -> bytes:
        """What the client is told: a response as it came, but for a listing that is filtered."""
        passage.is_answered = True
        result = response.value.get("result")
        failed = not isinstance(result, dict) or result.get("isError") is True
        if self._rules.declared is not None and passage.message.method == "tools/list":
            for name in self._rules.declared.learn(result):
                text = "the server has changed what it declares for a tool"
                event(_LOGGER, logging.WARNING, text, tool=name[:64])
        data = await self._shown(passage.message.method, passage.caller, response)
        if passage.about and isinstance(result, dict) and wants_input(result):
            outcomes, passage.outcomes = passage.outcomes, []
            self._again.keep(passage.about, result, passage.permits, outcomes)
            return data
        status: RunStatus = "failed" if failed else "completed"
        if passage.message.method == "tools/call" and _is_begun(result):
            status = "unknown"
        if self._rules.answers_at_once:
            ending = passage.end(status, at_leisure=True)
            self._ending.add(task := asyncio.create_task(ending))
            task.add_done_callback(self._ending.discard)
        else:
            await passage.end(status)
        return data

    async def close(self) -> None:
        """Says of calls that wait for their clients that their end was not seen."""
        await asyncio.gather(*self._ending)
        for begun in self._again.all():
            await end_all(begun.outcomes)

    async def replayed(self, caller: Caller, response: Message) -> bytes:
        """What the client is told again of a response that has passed: a listing by its members."""
        return await self._shown(listing_of(response), caller, response)

    async def _shown(self, method: str | None, caller: Caller, response: Message) -> bytes:
        if self._listings is None or method is None:
            return response.data
        return await self._listings.filter(method, caller, response)


async def _end_unrun(beginning: "asyncio.Task[PendingOutcome | None]", *, is_open: bool) -> None:
    """Ends what does not run: by an outcome if it may be allowed, else the room is given back."""
    if not is_open:
        beginning.cancel()
    with suppress(MunimentError, asyncio.CancelledError):
        outcome = await beginning
        if outcome is not None and is_open:
            await outcome.keep("not_run")
        elif outcome is not None:
            outcome.drop()


def _shown(message: Message, caller: Caller) -> dict[str, Any]:
    """The request that is recorded of what nothing can be asked about."""
    return {
        "subject": {"type": "identity", "id": str(caller.claims.get("sub", ""))},
        "action": {"name": message.method[:256]},
        "resource": {"type": "mcp_server", "id": str(caller.claims.get("aud", ""))},
    }


def _bare(request: dict[str, Any]) -> dict[str, Any]:
    """A request without what may be too much for a record."""
    return {name: one for name, one in request.items() if name != "context"}
