"""The authorities' signatures under a decision: k of n independent ones.

An authority that has a key gives a ticket with its answer, and signs the record of a decision when
that says what it has answered. So it signs last, when all answers are in the record. Only what is
allowed is signed: a permit needs it, and a denial permits nothing.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec

from muniment.local.outside import Contained
from muniment.records.authority import verify_signatures
from muniment.records.codec import parse_record
from muniment.records.kinds import Decision, Signature
from muniment_gateway.core.quorum import AuthorityAnswer, Combined, Quorum, combine
from muniment_gateway.deciding.panel import Panel, Seat
from muniment_gateway.engines.authzen import AuthzenEngine
from muniment_gateway.engines.port import NoAnswerError

UNSIGNED: Final = "did not sign its answer"

Prepare = Callable[[Mapping[str, Any]], bytes]
"""Completes and checks a record; the bytes that will be logged."""


class Signing:
    """Collects the signatures of one panel's authorities."""

    def __init__(self, panel: Panel, prepare: Prepare) -> None:
        """Asks the authorities that have keys."""
        self._signers = {seat.name: seat for seat in panel.seats if seat.authority.vkey is not None}
        self._prepare = prepare

    async def signed(
        self,
        members: dict[str, Any],
        combined: Combined,
        answers: Sequence[AuthorityAnswer],
        quorum: Quorum,
    ) -> tuple[dict[str, Any], Combined]:
        """Adds the signatures of those whose answers agree with the decision.

        Who has a key and does not sign has not answered. The record and the combination are others
        then, if that was needed: a denial. Raises MunimentError if the members are no record.
        """
        wanted = [
            (self._signers[one.authority], one)
            for one in answers
            if one.allows and one.authority in self._signers
        ]
        if not (combined.decision and wanted):
            return members, combined
        entry = self._prepare(members)
        record = parse_record(entry)
        assert isinstance(record, Decision)  # noqa: S101  # made so
        found = await asyncio.gather(
            *(self._sign(seat, answer, entry, record) for seat, answer in wanted)
        )
        signatures = [one for one in found if isinstance(one, Signature)]
        unsigned = {one.authority: one for one in found if isinstance(one, AuthorityAnswer)}
        combined = combine([unsigned.get(one.authority, one) for one in answers], quorum)
        members = json.loads(entry)
        if signatures:
            members["signatures"] = msgspec.to_builtins(signatures)
        return members, combined

    async def _sign(
        self, seat: Seat, answer: AuthorityAnswer, entry: bytes, record: Decision
    ) -> Signature | AuthorityAnswer:
        """The signature of an authority, verified; its answer as none, if it gives no such."""
        engine, vkey = seat.engine, seat.authority.vkey
        signature: Signature | None = None
        with Contained(seat.name) as outcome:
            try:
                if not isinstance(engine, AuthzenEngine) or answer.ticket is None or vkey is None:
                    raise NoAnswerError("it has no ticket")
                async with asyncio.timeout(seat.authority.entry.deadline_seconds):
                    signature = await engine.sign(answer.ticket, entry)
                if not verify_signatures(
                    msgspec.structs.replace(record, signatures=(signature,)), [vkey]
                ):
                    raise NoAnswerError(f"signed with another key, {signature.key}")
            except TimeoutError as error:
                raise NoAnswerError("did not sign in time") from error
        if signature is None or outcome.error:
            return replace(answer, response=None, error=f"{UNSIGNED}: {outcome.error}")
        return signature
