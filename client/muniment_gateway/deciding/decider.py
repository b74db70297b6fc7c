"""One decision: the engines are asked, what they said is combined, logged, and only then answered.

Whatever goes wrong is a denial, on record where that is possible. In the mode `observe` it is the
engines' word that is answered, whether the log has it yet or not; but who has not answered has not
allowed, in either mode.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import count
from secrets import token_hex
from typing import Any, Final

import msgspec

from muniment.errors import Denied, MunimentError
from muniment.gateway.withholding import new_nonce
from muniment.records.addenda import Patterns, copied_json
from muniment.records.api import RecordError
from muniment.records.artifact import Binding, PolicyRef
from muniment.records.canonical import encode_canonical
from muniment.records.members import MAX_LABEL, DenialCode
from muniment.records.reduction import record_id
from muniment.tlog.encoding import FormatError
from muniment_gateway.config import GatewayConfig
from muniment_gateway.core.anyjson import MOST_RECORDED, recordable
from muniment_gateway.core.authzen import OWN, own_context
from muniment_gateway.core.quorum import Answer, Combined, combine
from muniment_gateway.deciding.changes import Changes
from muniment_gateway.deciding.counts import Counts
from muniment_gateway.deciding.loglink import LogLink
from muniment_gateway.deciding.panel import Panel
from muniment_gateway.deciding.signing import Signing
from muniment_gateway.engines.port import Asked

_LEAST: Final = 0.02
"""Seconds that the log has in any case, which is for one that answers at once."""

_BUSY: Final[tuple[DenialCode, ...]] = ("governance_mesh_discontinuity",)
_NO_RECORD: Final[tuple[DenialCode, ...]] = ("authorization_discontinuity",)


@dataclass(frozen=True, slots=True)
class Call:
    """What came with a request.

    Attributes:
        client: Who asks, by its token; empty when nobody has to show one.
        surface: What was asked: `authzen`, `opa`.
        asked: What is passed on to the engines beside the request.
        traceparent: The request's W3C trace context.
        is_exact: Whether a record can surely hold the request as it is.
        withheld: JSON pointers of what the record has only a digest of; the permit discloses it.
    """

    client: str = ""
    surface: str = "authzen"
    asked: Asked = field(default_factory=lambda: Asked({}))
    traceparent: str | None = None
    is_exact: bool = False
    withheld: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decided:
    """What a request comes to.

    Attributes:
        decision: The answer.
        response: The response of the engine that speaks for it; None when none does.
        own: What the gateway says of it: the member `muniment` of the response's context.
        answers: What the authorities answered.
    """

    decision: bool
    response: dict[str, Any] | None
    own: dict[str, Any]
    answers: Sequence[Answer] = ()

    def authzen(self) -> dict[str, Any]:
        """It as an AuthZEN response: the engine's, with ours in its context."""
        said = self.response or {}
        context = {**said.get("context", {}), OWN: self.own}
        return {**said, "decision": self.decision, "context": context}


class Decider:
    """Decides by one configuration.

    Attributes:
        config: That configuration.
        panel: Its authorities.
    """

    def __init__(
        self,
        config: GatewayConfig,
        panel: Panel,
        link: LogLink,
        changes: Changes,
        counts: Counts,
        within: float | None = None,
    ) -> None:
        """Puts it together from its parts.

        With `within`, answers come in so many seconds, the engines' time included; without, the
        configured deadline is that of the log alone.
        """
        self.config = config
        self.panel = panel
        self._within = within
        self._link = link
        self._changes = changes
        self._signing = Signing(panel, link.prepare)
        self._waiting = 0
        self._ids = counted_ids("e")
        self._decisions = counts.decisions
        self._seconds = counts.decision_seconds

    async def decide(self, request: dict[str, Any], call: Call) -> Decided:
        """Decides a request, which `core.authzen.check_request` accepts; raises nothing."""
        started = time.perf_counter()
        id_ = self._ids()
        if self._waiting >= self.config.file.most_waiting:
            decided = await self._unasked(
                id_, request, call, _BUSY, "too many decisions are under way"
            )
        else:
            self._waiting += 1
            try:
                decided = await self._decide(id_, request, call)
            except (MunimentError, RecursionError) as error:
                decided = _denied(id_, _NO_RECORD, [str(error)])
            finally:
                self._waiting -= 1
        self._seconds.observe(time.perf_counter() - started)
        return decided

    async def refuse(self, request: object, call: Call, reason: str) -> Decided:
        """Denies what is no request, and records that as far as it can be."""
        shown = request if isinstance(request, dict) else {}
        return await self._unasked(self._ids(), shown, call, ("could_not_evaluate",), reason)

    async def _decide(self, id_: str, request: dict[str, Any], call: Call) -> Decided:
        if not self._changes.is_told("mode", self.config.file.mode):
            reason = "the log was not told the mode yet"
            return await self._unasked(id_, request, call, _BUSY, reason)
        began = time.monotonic()
        execution = record_id(own_context(request).get("execution")) or id_
        try:
            if not call.is_exact:
                members = _members(id_, execution, request, call, {"answers": []})
                self._link.prepare(_withhold(members, call)[0])
        except (RecordError, FormatError) as error:
            # What cannot be logged as it is would be decided on other values than are on record.
            return await self._unasked(id_, request, call, _NO_RECORD, str(error))
        answers = await self.panel.ask(request, call.asked)
        combined = combine(answers, self.config.quorum)
        most = MOST_RECORDED // (len(answers) or 1)
        told = {
            "answers": [one.recorded(combined.speaker, most) for one in answers],
            "mode": self.config.file.mode,
            "quorum": str(self.config.quorum),
            "surface": call.surface,
            **({"client": call.client} if call.client else {}),
        }
        record = _members(id_, execution, request, call, told, combined)
        if combined.decision:
            artifact = self._artifact(request, answers)
            if artifact is not None:
                record["artifact"] = artifact
        record, addenda = _withhold(record, call)
        if self.config.file.mode == "observe":
            return await self._observe(id_, record, combined, answers, addenda)
        seconds = self.config.file.deadline_seconds
        if self._within is not None:
            seconds = max(_LEAST, self._within - (time.monotonic() - began))
        return await self._enforce(id_, record, combined, answers, addenda, seconds)

    async def would_allow(self, request: dict[str, Any], call: Call) -> bool:
        """What the engines say of a request; nothing is authorised by it, and nothing logged."""
        answers = await self.panel.ask(request, call.asked)
        return combine(answers, self.config.quorum).decision

    async def _enforce(
        self,
        id_: str,
        record: dict[str, Any],
        combined: Combined,
        answers: Sequence[Answer],
        addenda: Sequence[bytes],
        seconds: float,
    ) -> Decided:
        began = time.monotonic()
        permit = None
        codes: tuple[DenialCode, ...] = ()
        index: int | None = None
        reasons: list[str] = []
        try:
            async with asyncio.timeout(seconds):
                await self._tell_policies(answers)
                record, combined = await self._signing.signed(
                    record, combined, answers, self.config.quorum
                )
                if combined.codes:  # somebody who was needed did not sign
                    record = denial_of(record, combined.codes)
            permit = await self._link.authorize(
                record,
                max(_LEAST, seconds - (time.monotonic() - began)),
                addenda,
                patient=self._within is None,
            )
            permit = permit.disclose(record.get("addenda", ()), addenda)
        except Denied as denied:
            codes, reasons, index = tuple(denied.codes), [*denied.reasons], denied.index
        except (MunimentError, TimeoutError) as error:
            # The policy is not on record, so nothing is decided by it.
            codes, reasons = _BUSY, [str(error) or f"not within {seconds:g} s"]
            try:
                await self._link.keep(denial_of(record, codes), addenda)
            except MunimentError as lost:
                reasons.append(f"the denial is not recorded: {lost}")
        own: dict[str, Any] = {"evaluation_id": id_, "execution": record["execution"]}
        if permit is not None:
            own |= {"index": permit.index, "permit": permit.encode().decode("utf-8")}
        else:
            own |= {"codes": list(codes), "reasons": reasons}
            if index is not None:
                own["index"] = index
        return self._counted(Decided(permit is not None, None, own, answers), combined)

    async def _observe(
        self,
        id_: str,
        record: dict[str, Any],
        combined: Combined,
        answers: Sequence[Answer],
        addenda: Sequence[bytes],
    ) -> Decided:
        own: dict[str, Any] = {
            "evaluation_id": id_,
            "execution": record["execution"],
            "mode": "observe",
        }
        if combined.codes:
            own["codes"] = list(combined.codes)
        try:
            await self._link.keep(record, addenda)
        except MunimentError as error:
            own["unrecorded"] = str(error)
        return self._counted(Decided(combined.decision, None, own, answers), combined)

    async def _unasked(
        self,
        id_: str,
        request: dict[str, Any],
        call: Call,
        codes: tuple[DenialCode, ...],
        reason: str,
    ) -> Decided:
        """A denial for which no engine was asked; it goes to the spool, and nobody waits."""
        told = {"answers": [], "surface": call.surface, "reason": reason[:500]}
        record = denial_of(_members(id_, id_, request, call, told), codes)
        reasons = [reason]
        try:
            record, addenda = _withhold(record, call)
            await self._link.keep(record, addenda)
        except (MunimentError, ValueError, TypeError, RecursionError) as error:
            reasons.append(f"the denial is not recorded: {error}")
        decided = _denied(id_, codes, reasons)
        return self._counted(decided, None)

    def _counted(self, decided: Decided, combined: Combined | None) -> Decided:
        """Counts an answer, and adds what the engine that speaks for it has said."""
        word = "allow" if decided.decision else "deny"
        for code in decided.own.get("codes") or ("",):
            self._decisions.labels(word, code).inc()
        speaker = combined.speaker if combined is not None else None
        if speaker is None or speaker.allows is not decided.decision:
            return decided  # what comes with an allow is not for who is denied
        return replace(decided, response=speaker.response)

    async def _tell_policies(self, answers: Sequence[Answer]) -> None:
        for one in answers:
            if one.policy is not None:
                await self._changes.tell_policy(one.authority, one.policy)

    def _artifact(
        self, request: Mapping[str, Any], answers: Sequence[Answer]
    ) -> dict[str, Any] | None:
        """What is authorised; None when nobody tells a policy."""
        policy = joint_policy(answers)
        name, resource = request["action"]["name"], request["resource"]
        if policy is None or not 0 < len(name) <= MAX_LABEL or not resource["id"]:
            return None
        file, now = self.config.file, int(time.time())
        artifact: dict[str, Any] = {
            "scope": {
                "actions": [name],
                "resources": [{"type": resource["type"], "id": resource["id"]}],
            },
            "policy": msgspec.to_builtins(policy),
            "validity": {"not_before": now, "not_after": now + file.permit.seconds},
            "attribution": {"authority": file.name},
        }
        binding = _binding(request) or self.config.binding
        if binding is not None:
            artifact["binding"] = msgspec.to_builtins(binding)
        if file.permit.governance:
            artifact["governance"] = dict(file.permit.governance)
        return artifact


def counted_ids(kind: str) -> Callable[[], str]:
    """Makes ids of one process: unique by a random prefix, then counted."""
    prefix, numbers = token_hex(8), count(1)
    return lambda: f"{kind}-{prefix}-{next(numbers)}"


def joint_policy(answers: Sequence[Answer]) -> PolicyRef | None:
    """The policy by which those that allowed have decided; of several, one that names them all.

    Then the id is ``quorum:<authority>,…``, and the digest that of the canonical JSON of the
    policies, each with its authority, which are in the record one by one.
    """
    known = [(one.authority, one.policy) for one in answers if one.allows and one.policy]
    if not known:
        return None
    if len({policy for _, policy in known}) == 1:
        return known[0][1]
    listed = [{"authority": name, **msgspec.to_builtins(policy)} for name, policy in sorted(known)]
    digest = sha256(encode_canonical(listed)).hexdigest()
    names = ",".join(name for name, _ in known)
    return PolicyRef(id=f"quorum:{names}"[:2048], revision=digest[:12], digest=f"sha256:{digest}")


def denial_of(record: Mapping[str, Any], codes: Sequence[DenialCode]) -> dict[str, Any]:
    """A decision made one of false, with other codes; nothing is authorised by it."""
    kept = {k: v for k, v in record.items() if k not in {"artifact", "signatures", "denial"}}
    response = {**kept["response"], "decision": False}
    return {**kept, "response": response, "denial": {"codes": list(codes)}}


def _members(
    id_: str,
    execution: str,
    request: Mapping[str, Any],
    call: Call,
    told: Mapping[str, Any],
    combined: Combined | None = None,
) -> dict[str, Any]:
    """The members of a decision's record; of false when nothing was combined."""
    decision = combined is not None and combined.decision
    said = combined.speaker.response if combined is not None and combined.speaker else None
    context: dict[str, Any] = {OWN: dict(told)}
    others: dict[str, Any] = {}
    if said is not None:
        given = recordable(said.get("context", {}))
        context = {**given, OWN: dict(told)}
        others = {k: recordable(v) for k, v in said.items() if k not in {"decision", "context"}}
    record: dict[str, Any] = {
        "kind": "decision",
        "id": id_,
        "execution": execution,
        "request": request,
        "response": {**others, "decision": decision, "context": context},
    }
    if call.traceparent is not None:
        record["traceparent"] = call.traceparent
    if combined is not None and combined.codes:
        record["denial"] = {"codes": list(combined.codes)}
    return record


def _withhold(record: dict[str, Any], call: Call) -> tuple[dict[str, Any], list[bytes]]:
    """A record without what it withholds, and the addenda, which the log keeps.

    Raises FormatError if a member is too long, or has no canonical JSON.
    """
    if not call.withheld:
        return record, []
    members = {**record, "request": copied_json(record["request"])}
    addenda = Patterns(call.withheld).take_out(members, new_nonce)
    if addenda:
        return {**members, "kept": "log"}, [*addenda.values()]
    return record, []


def _binding(request: Mapping[str, Any]) -> Binding | None:
    """The runtime that a request names; None for none, or what is no binding."""
    own = own_context(request)
    found = {name: own[name] for name in ("spiffe_id", "thumbprint") if name in own}
    if not found:
        return None
    try:
        return msgspec.convert(found, Binding)
    except msgspec.ValidationError:
        return None


def _denied(id_: str, codes: Sequence[DenialCode], reasons: Sequence[str]) -> Decided:
    own = {"evaluation_id": id_, "codes": list(codes), "reasons": list(reasons)}
    return Decided(decision=False, response=None, own=own)
