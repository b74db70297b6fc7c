"""One decision: the engines are asked, what they said is combined, logged, and only then answered.

Whatever goes wrong is a denial, on record where that is possible. In the mode `observe` it is the
engines' word that is answered, whether the log has it yet or not; but who has not answered has not
allowed, in either mode.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias

from muniment.errors import Denied, MunimentError
from muniment.records.api import RecordError
from muniment.records.members import DenialCode
from muniment.records.reduction import record_id
from muniment.tlog.encoding import FormatError
from muniment_gateway.config import GatewayConfig
from muniment_gateway.core.anyjson import MOST_RECORDED
from muniment_gateway.core.authzen import own_context
from muniment_gateway.core.quorum import AuthorityAnswer, Combined, combine
from muniment_gateway.deciding.approvals import Approvals
from muniment_gateway.deciding.changes import ChangeReporter
from muniment_gateway.deciding.counts import Counts
from muniment_gateway.deciding.decisions import (
    Decided,
    RequestDetails,
    artifact_of,
    counted_ids,
    denial_of,
    denied,
    members_of,
    unapproved,
    with_approvals,
    withhold,
)
from muniment_gateway.deciding.loglink import LogLink
from muniment_gateway.deciding.panel import Panel
from muniment_gateway.deciding.people import NO_ANSWER, Settled, described, settle, told_of
from muniment_gateway.deciding.signing import Signing

_LEAST: Final = 0.02
"""Seconds that the log has in any case, which is for one that answers at once."""

_BUSY: Final[tuple[DenialCode, ...]] = ("governance_mesh_discontinuity",)
_NO_RECORD: Final[tuple[DenialCode, ...]] = ("authorization_discontinuity",)

_Record: TypeAlias = tuple[dict[str, Any], list[bytes]]
"""A record without what it withholds, and the addenda."""


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
        changes: ChangeReporter,
        counts: Counts,
        approvals: Approvals | None = None,
        within: float | None = None,
    ) -> None:
        """Puts it together from its parts.

        Without `approvals` nobody is asked for one. With `within`, answers come in so many seconds,
        the engines' time included; without, the configured deadline is that of the log alone.
        """
        self.config = config
        self.panel = panel
        self._within = within
        self._link = link
        self._changes = changes
        # In `observe` nobody is kept waiting: the engines' word is passed on.
        self._approvals = approvals if config.file.mode == "enforce" else None
        self._signing = Signing(panel, link.prepare)
        self._waiting = 0
        self._ids = counted_ids("e")
        self._decisions = counts.decisions
        self._seconds = counts.decision_seconds

    async def decide(self, request: dict[str, Any], call: RequestDetails) -> Decided:
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
                decided = denied(id_, _NO_RECORD, [str(error)])
            finally:
                self._waiting -= 1
        self._seconds.observe(time.perf_counter() - started)
        return decided

    async def refuse(self, request: object, call: RequestDetails, reason: str) -> Decided:
        """Denies what is no request, and records that as far as it can be."""
        shown = request if isinstance(request, dict) else {}
        return await self._unasked(self._ids(), shown, call, ("could_not_evaluate",), reason)

    async def _decide(self, id_: str, request: dict[str, Any], call: RequestDetails) -> Decided:
        if not self._changes.is_told("mode", self.config.file.mode):
            reason = "the log was not told the mode yet"
            return await self._unasked(id_, request, call, _BUSY, reason)
        began = time.monotonic()
        execution = record_id(own_context(request).get("execution")) or id_
        looked: _Record | None = None
        try:
            if not call.is_exact:
                plain = members_of(id_, execution, request, call, {"answers": []})
                looked = withhold(plain, call)
                self._link.prepare(looked[0])
        except (RecordError, FormatError) as error:
            # What cannot be logged as it is would be decided on other values than are on record.
            return await self._unasked(id_, request, call, _NO_RECORD, str(error))

        async def ask() -> tuple[list[AuthorityAnswer], Combined]:
            asked = replace(call.asked, is_alone=self._waiting == 1)
            found = await self.panel.ask(request, asked)
            return found, combine(found, self.config.quorum)

        settled = await settle(self._approvals, request, call, id_, ask, lambda: self._link.away)
        if settled.combined.decision:
            call.allowed()
        record, addenda = self._recorded(id_, execution, request, call, settled, looked)
        if self.config.file.mode == "observe":
            return await self._observe(id_, record, settled, addenda)
        if settled.combined.decision and (trouble := unapproved(record, settled.approvals)):
            # It is not as it was shown to the person: nothing is decided by their word.
            settled = replace(settled, combined=NO_ANSWER, reason=trouble)
            record = denial_of(record, NO_ANSWER.codes)
        seconds = self.config.file.deadline_seconds
        if self._within is not None:
            seconds = max(_LEAST, self._within - (time.monotonic() - began))
        decided = await self._enforce(id_, record, settled, addenda, seconds)
        if settled.word is None:
            return decided
        own = decided.own
        if settled.want is not None:
            own |= {"approval": told_of(settled.want)}
        if settled.reason:
            own["reasons"] = [settled.reason, *own.get("reasons", ())]
        return replace(decided, context=described(settled, request, id_, allowed=decided.decision))

    def _recorded(
        self,
        id_: str,
        execution: str,
        request: dict[str, Any],
        call: RequestDetails,
        settled: Settled,
        looked: _Record | None,
    ) -> _Record:
        """What is recorded of a decision; `looked` is how it looked before anybody was asked."""
        combined, held = settled.combined, settled.want
        most = MOST_RECORDED // (len(settled.answers) or 1)
        told = {
            "answers": [
                one.recorded(combined.speaker, most, withholds=bool(call.withheld))
                for one in settled.answers
            ],
            "mode": self.config.file.mode,
            "quorum": str(self.config.quorum),
            "surface": call.surface,
            **({"client": call.client} if call.client else {}),
            **({"approval": {"request": held.held.id, "call": held.held.call}} if held else {}),
        }
        record = members_of(id_, execution, request, call, told, combined)
        if combined.decision:
            artifact = artifact_of(self.config, request, settled.engines, settled.word)
            if artifact is not None:
                record["artifact"] = with_approvals(artifact, settled.approvals)
        if held is not None:
            return withhold(record, call, held.held.nonce)
        if looked is None:
            return withhold(record, call)
        plain, addenda = looked
        if addenda:  # the same, with the same digests
            record |= {name: plain[name] for name in ("request", "addenda", "kept")}
        return record, addenda

    async def would_allow(self, request: dict[str, Any], call: RequestDetails) -> bool:
        """What the engines say of a request; nothing is authorised by it, and nothing logged."""
        answers = await self.panel.ask(request, call.asked)
        return combine(answers, self.config.quorum).decision

    async def _enforce(
        self,
        id_: str,
        record: dict[str, Any],
        settled: Settled,
        addenda: Sequence[bytes],
        seconds: float,
    ) -> Decided:
        answers, combined = settled.answers, settled.combined
        began = time.monotonic()
        permit = None
        codes: tuple[DenialCode, ...] = ()
        index: int | None = None
        reasons: list[str] = []
        try:
            async with asyncio.timeout(seconds):
                await self._tell_policies(answers)
                record, combined = await self._signing.signed(
                    record, combined, settled.engines, self.config.quorum
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
        settled: Settled,
        addenda: Sequence[bytes],
    ) -> Decided:
        combined = settled.combined
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
        return self._counted(Decided(combined.decision, None, own, settled.answers), combined)

    async def _unasked(
        self,
        id_: str,
        request: dict[str, Any],
        call: RequestDetails,
        codes: tuple[DenialCode, ...],
        reason: str,
    ) -> Decided:
        """A denial for which no engine was asked; it goes to the spool, and nobody waits."""
        told = {"answers": [], "surface": call.surface, "reason": reason[:500]}
        record = denial_of(members_of(id_, id_, request, call, told), codes)
        reasons = [reason]
        try:
            record, addenda = withhold(record, call)
            await self._link.keep(record, addenda)
        except (MunimentError, ValueError, TypeError, RecursionError) as error:
            reasons.append(f"the denial is not recorded: {error}")
        decided = denied(id_, codes, reasons)
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

    async def _tell_policies(self, answers: Sequence[AuthorityAnswer]) -> None:
        for one in answers:
            if one.policy is not None:
                await self._changes.tell_policy(one.authority, one.policy)
