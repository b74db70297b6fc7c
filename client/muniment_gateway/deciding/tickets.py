"""An authority: an engine's answers, and the records of decisions that say what it has answered.

It signs nothing else. What a gateway puts around the answer is checked as far as an authority can:
that the record is about the request that was asked, was made now, and authorises no more than that.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import sha256
from secrets import token_hex
from typing import Any, Final, NamedTuple

import msgspec

from muniment.records.artifact import PolicyRef, ResourceScope, Scope
from muniment.records.authority import sign_decision
from muniment.records.codec import encode_json, parse_record
from muniment.records.kinds import Decision, Signature
from muniment.tlog.encoding import FormatError, MunimentError
from muniment_gateway.config import AuthorityConfig
from muniment_gateway.core.authzen import OWN
from muniment_gateway.core.quorum import AuthorityAnswer
from muniment_gateway.deciding.panel import Panel
from muniment_gateway.engines.port import PassedOn

TICKET_SECONDS: Final = 30.0
"""How long an answer may be signed."""

MOST_TICKETS: Final = 20_000
"""Answers that are remembered; the oldest is forgotten for another one."""

MOST_APART: Final = 60
"""Seconds that the clocks of a gateway and an authority may differ."""


class NotSignedError(MunimentError):
    """A record that does not say what was answered; the message says in what it differs."""


class _Issued(NamedTuple):
    request: bytes
    policy: PolicyRef | None
    until: float


class Tickets:
    """The answers of one authority that it may still sign; each once, and only what is allowed."""

    def __init__(self, config: AuthorityConfig, panel: Panel) -> None:
        """Answers by the one engine of the panel."""
        self._config = config
        self._panel = panel
        self._issued: OrderedDict[str, _Issued] = OrderedDict()

    async def answer(self, request: dict[str, Any], headers: Mapping[str, str]) -> AuthorityAnswer:
        """Asks the engine about a request that was checked.

        Raises FormatError if no record can hold the request.
        """
        encode_json(request)
        [answer] = await self._panel.ask(request, PassedOn(headers))
        return answer

    def issue(self, request: dict[str, Any], answer: AuthorityAnswer) -> str:
        """A ticket for an answer to a request."""
        ticket = token_hex(16)
        if answer.allows:
            digest = sha256(encode_json(request)).digest()
            until = time.monotonic() + TICKET_SECONDS
            self._issued[ticket] = _Issued(digest, answer.policy, until)
            while len(self._issued) > MOST_TICKETS:
                self._issued.popitem(last=False)
        return ticket

    async def sign(self, ticket: str, data: bytes) -> Signature:
        """Signs the record of a decision that rests on an answer.

        Raises:
            NotSignedError: If it does not, or the answer was signed already.
            FormatError: If it is no record.
        """
        record = parse_record(data)
        if not isinstance(record, Decision):
            raise NotSignedError("not a decision")
        issued = self._issued.pop(ticket, None)
        if issued is None or issued.until < time.monotonic():
            raise NotSignedError("no answer of that ticket is to be signed")
        self._check(record, issued)
        name = self._config.file.name
        signed = await asyncio.to_thread(sign_decision, record, name, self._config.private)
        assert signed.signatures is not None  # noqa: S101  # one was added
        return signed.signatures[-1]

    def _check(self, record: Decision, issued: _Issued) -> None:
        file = self._config.file
        if file.gateways and record.producer not in file.gateways:
            raise NotSignedError(f"{record.producer} is none of the gateways")
        if record.signatures is not None or record.addenda is not None:
            raise NotSignedError("signed already, or not whole")
        if sha256(encode_json(record.request)).digest() != issued.request:
            raise NotSignedError("another request than was asked")
        if not record.allowed:
            raise NotSignedError("a denial needs no signature")
        if abs(record.time / 1000 - time.time()) > MOST_APART:
            raise NotSignedError("made at another time")
        if not self._is_told(record, issued.policy):
            raise NotSignedError("does not tell the answer")
        self._check_artifact(record)

    def _is_told(self, record: Decision, policy: PolicyRef | None) -> bool:
        """Whether the record has the answer, with the policy that it was given by."""
        own = record.response.get("context", {}).get(OWN)
        answers = own.get("answers") if isinstance(own, dict) else None
        if not isinstance(answers, list):
            return False
        wanted = None if policy is None else msgspec.to_builtins(policy)
        mine = [
            one
            for one in answers
            if isinstance(one, dict) and one.get("authority") == self._config.file.name
        ]
        return len(mine) == 1 and (mine[0].get("decision"), mine[0].get("policy")) == (True, wanted)

    def _check_artifact(self, record: Decision) -> None:
        artifact = record.artifact
        if artifact is None:
            return
        kind, id_ = record.resource
        exact = Scope(actions=(record.action,), resources=(ResourceScope(type=kind, id=id_),))
        if artifact.scope != exact:
            raise NotSignedError("authorises something else than was asked")
        validity = artifact.validity
        if validity.not_after - validity.not_before > self._config.file.most_seconds:
            raise NotSignedError(f"valid for more than {self._config.file.most_seconds} s")
        if abs(validity.not_before - time.time()) > MOST_APART:
            raise NotSignedError("valid from another time on")


def check_ticket(value: object) -> tuple[str, bytes]:
    """Ticket and record of a request to sign; FormatError if it is none."""
    if not isinstance(value, dict):
        raise FormatError("expected a JSON object")
    ticket, record = value.get("ticket"), value.get("record")
    if not isinstance(ticket, str) or not isinstance(record, str):
        raise FormatError("expected the texts ticket and record")
    return ticket, record.encode("utf-8", "surrogatepass")
