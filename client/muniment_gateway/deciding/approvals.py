"""Calls that wait for people: begun, told of, decided on, and used once.

A person's word is logged before it counts: when that is not certain, the call goes on waiting. An
approval is used, on disk, before the decision that rests on it is logged: whatever happens then, no
other decision rests on it.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from secrets import token_hex
from typing import Any, Final, NamedTuple
from weakref import WeakValueDictionary

import msgspec

from muniment.local.logs import event
from muniment.records.addenda import Patterns, copied_json
from muniment.records.approval import SignedApproval, call_digest
from muniment.records.artifact import PolicyRef
from muniment.records.authority import key_reference
from muniment.records.canonical import encode_canonical
from muniment.records.preparation import RecordInput
from muniment_gateway.core.anyjson import whole_numbers
from muniment_gateway.core.approvals import (
    ApprovalRefusedError,
    Held,
    People,
    check_word,
    key_of,
)
from muniment_gateway.store.held import HeldCalls, Room, Waiting

LOOK_SECONDS: Final = 0.25
"""Time between two looks for a person's word, by who holds a call: others may have taken it."""

MOST_ASKED_BYTES: Final = 16 << 10
"""Longest canonical JSON of what comes with an access request."""

MOST_HELD_BYTES: Final = 128 << 10
"""Longest canonical JSON of a request that waits for a person."""

_LOGGER: Final = logging.getLogger(__name__)

Submit = Callable[[Sequence[RecordInput]], Awaitable[int]]
Tell = Callable[[People, Mapping[str, Any]], None]
"""Tells people something; never waits."""


class Want(NamedTuple):
    """A call that needs a person's word, in its state at a time in Unix seconds."""

    people: People
    held: Held
    now: int

    @property
    def status(self) -> str:
        """What it is at that time."""
        return self.held.status(self.now)


class Approvals:
    """The calls that wait, of one configuration.

    Attributes:
        gateway: The gateway's key name.
        people: The authorities of kind `approval`, in their configured order.
    """

    def __init__(
        self,
        gateway: str,
        people: Sequence[People],
        calls: HeldCalls,
        submit: Submit,
        tell: Tell,
    ) -> None:
        """Keeps calls in `calls`, logs by `submit`, and has people told by `tell`."""
        self.gateway = gateway
        self.people = tuple(people)
        self._calls = calls
        self._submit = submit
        self._tell = tell
        self._deciding: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def now(self) -> int:
        """Unix seconds."""
        return int(time.time())

    def deciding_on(self, request: Mapping[str, Any]) -> People | None:
        """Whose word a request needs; None for nobody's."""
        return next((one for one in self.people if one.decide_on(request)), None)

    def named(self, authority: str) -> People | None:
        """The authority of a name."""
        return next((one for one in self.people if one.name == authority), None)

    async def want(
        self,
        people: People,
        request: dict[str, Any],
        *,
        client: str,
        evaluation: str,
        withheld: tuple[str, ...],
        asks: bool,
    ) -> Want:
        """The call of a request as it is waiting or was decided on; else begins one.

        When it `asks`, people are asked at once. Raises TooManyError if too many wait; FormatError
        if the request has no canonical JSON or is too long.
        """
        now = self.now()
        if len(encode_canonical(request)) > MOST_HELD_BYTES:
            raise ApprovalRefusedError("too-long", "the request is too long to be shown to people")
        new = Held(
            id=f"arq-{token_hex(16)}",
            key=key_of(request, client, people.name, withheld),
            client=client,
            authority=people.name,
            evaluation=evaluation,
            request=whole_numbers(request),  # people are shown what is recorded
            withheld=withheld,
            salt=token_hex(16),
            call="",
            made=now,
            expires=now + people.request_seconds,
            asked={} if asks else None,
        )
        new = replace(new, call=_digest_of(new))
        held = await self._calls.seek(new, now, people.most_waiting)
        if held is new and asks:
            self._announce(people, held, "waiting")
        elif asks and held.status(now) == "requestable":
            held = await self._ask(people, held, {}, now)
        return Want(people, held, now)

    async def wait(self, want: Want, until: float) -> None:
        """Waits until a call is not pending any more, or a time of the monotonic clock."""
        while (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(LOOK_SECONDS, left))
            held = await self._calls.get(want.held.id)
            if held is None or held.status(self.now()) != "pending":
                return

    async def use(
        self, want: Want, decision: str, request: Mapping[str, Any]
    ) -> tuple[SignedApproval, ...]:
        """Takes the approvals of a call for one decision, on a request for it.

        Raises ApprovalRefusedError if there are none to be used any more, or not enough.
        """
        now = self.now()
        held = await self._calls.change(
            want.held.id, lambda held: held.used_by(decision, request, want.people, now)
        )
        if held is None:
            raise ApprovalRefusedError("not-approved", "the approval is gone")
        return held.approvals

    async def request(self, held: Held, asked: Mapping[str, Any]) -> Held:
        """Has people asked about a call, once.

        Raises ApprovalRefusedError if it is too late for that, TooManyError if they have enough
        to do.
        """
        people = self.named(held.authority)
        if people is None:
            raise ApprovalRefusedError("expired", f"{held.authority} is no authority any more")
        return await self._ask(people, held, asked, self.now())

    async def _ask(self, people: People, held: Held, asked: Mapping[str, Any], now: int) -> Held:
        found = await self._calls.change(
            held.id, lambda one: one.asked_about(now, asked), Room(now, people.most_waiting)
        )
        if found is None:
            raise ApprovalRefusedError("expired", "the denial cannot be requested any more")
        if held.asked is None:
            self._announce(people, found, "waiting")
        return found

    async def cancel(self, held: Held) -> Held:
        """Takes a call back that waits; ApprovalRefusedError if it does not wait any more."""
        async with self._deciding.setdefault(held.id, asyncio.Lock()):
            now = self.now()
            found = await self._calls.change(held.id, lambda one: one.taken_back(now))
        if found is None:
            raise ApprovalRefusedError("not-pending", "the call is gone")
        if (people := self.named(held.authority)) is not None:
            self._announce(people, found, "cancelled")
        return found

    async def waiting(self) -> dict[str, Waiting]:
        """What waits for the people of each authority; with none for those of whom nothing does."""
        found = await self._calls.waiting(self.now())
        return {one.name: found.get(one.name, Waiting(0, 0)) for one in self.people}

    async def get(self, id_: str) -> Held | None:
        """A call by its id."""
        return await self._calls.get(id_)

    async def of_evaluation(self, evaluation: str) -> Held | None:
        """The call that a decision has denied."""
        return await self._calls.of_evaluation(evaluation)

    async def note_submission(self, client: str, key: str, body: bytes, held: str) -> str | None:
        """See `HeldCalls.note_submission`."""
        return await self._calls.note_submission(client, key, sha256(body).digest(), held)

    async def pending(self, authorities: frozenset[str], limit: int) -> list[Held]:
        """The calls that wait for some authorities, the oldest first."""
        found = await self._calls.pending(self.now(), limit)
        return [one for one in found if one.authority in authorities]

    async def decide(self, id_: str, approval: SignedApproval) -> Held | None:
        """Takes a person's word: checks it, logs it, and lets it count; None for no such call.

        Raises ApprovalRefusedError if it does not count, MunimentError if it is not in the log for
        certain: then the call goes on waiting.
        """
        # One after the other: what comes too late is refused before it is logged.
        async with self._deciding.setdefault(id_, asyncio.Lock()):
            return await self._decide(id_, approval)

    async def _decide(self, id_: str, approval: SignedApproval) -> Held | None:
        held = await self._calls.get(id_)
        if held is None:
            return None
        people = self.named(held.authority)
        if people is None:
            raise ApprovalRefusedError("not-pending", f"{held.authority} is no authority any more")
        if approval.gateway != self.gateway:
            raise ApprovalRefusedError("other-call", f"signed for {approval.gateway}")
        check_word(held, approval, people, self.now())
        # The same bytes whenever they come: who sends the word again after a crash logs it once.
        record = {
            "kind": "approval",
            "id": approval.id,
            "time": approval.at * 1000,
            "approval": msgspec.to_builtins(approval),
        }
        leaf = await self._submit([record])
        now = self.now()
        found = await self._calls.change(id_, lambda one: one.answered(approval, people, now, leaf))
        if found is not None:
            status = found.status(now)
            self._announce(people, found, "waiting" if status == "pending" else status)
        return found

    def _announce(self, people: People, held: Held, status: str) -> None:
        request = held.request
        event(
            _LOGGER,
            logging.INFO,
            "an approval",
            request=held.id,
            status=status,
            authority=people.name,
            by=[word.approval.approver for word in held.words] or None,
        )
        told: dict[str, Any] = {
            "kind": "muniment.approval",
            "status": status,
            "gateway": self.gateway,
            "authority": people.name,
            "request": held.id,
            "call": held.call,
            "subject": {name: request["subject"][name] for name in ("type", "id")},
            "action": {"name": request["action"]["name"]},
            "resource": {name: request["resource"][name] for name in ("type", "id")},
            "expires_at": held.expires,
        }
        if people.required > 1:
            told |= {"approved": len(held.approvals), "required": people.required}
        if held.words:
            approval, leaf = held.words[-1]
            told |= {"approver": approval.approver, "leaf": leaf}
        self._tell(people, told)


def recorded_request(held: Held) -> tuple[dict[str, Any], dict[str, str], list[bytes]]:
    """The request of a call as records have it, with the digests of its addenda, and these."""
    members: dict[str, Any] = {"request": copied_json(held.request), "response": {}}
    addenda = Patterns(held.withheld).take_out(members, held.nonce)
    return members["request"], members.get("addenda") or {}, [*addenda.values()]


def policy_of(people: People) -> PolicyRef:
    """Who may approve what, and how, as a policy: a change of it is logged like any other."""
    rules = {
        "approvers": {key_reference(vkey): who for vkey, who in people.approvers.items()},
        "actions": sorted(people.actions),
        "resources": msgspec.to_builtins(people.resources),
        "request_seconds": people.request_seconds,
        "use_seconds": people.use_seconds,
        "allow_self": people.allow_self,
        # Absent for one: what was logged of it before stays the same policy.
        **({"required": people.required} if people.required > 1 else {}),
    }
    digest = sha256(encode_canonical(rules)).hexdigest()
    return PolicyRef(id=f"approval:{people.name}", revision=digest[:12], digest=f"sha256:{digest}")


def _digest_of(held: Held) -> str:
    request, digests, _ = recorded_request(held)
    return call_digest(request, digests)
