r"""A gateway's approvals, as an approver's own tool asks for them and answers.

An approver has no token but a key. Who reads what waits signs the URL and the time with that key::

    muniment/approver/v1\n<method> <URL>\n<Unix seconds>\n

and sends key, time and signature as ``Authorization: Muniment-Approver key="…", at="…",
signature="…"``. The URL has the gateway's own name in it, so that no other gateway can use it.
"""

import json
import re
import time
from collections.abc import Iterable
from typing import Any, Final, Self

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from muniment.errors import BadAnswer, InputError, Unreachable
from muniment.http.access import Access
from muniment.http.answer import HttpError, TooLongError
from muniment.http.client import HttpSession
from muniment.http.logrequests import refusal_of
from muniment.http.urls import split_url
from muniment.records.approval import SignedApproval, approver_vkey
from muniment.records.authority import key_reference
from muniment.tlog.encoding import FormatError, VerificationError, format_base64, parse_base64
from muniment.tlog.keys.ed25519 import ed25519_check, ed25519_sign
from muniment.tlog.note import VKey

PATH: Final = "/approvals"
SCHEME: Final = "Muniment-Approver"

FRESH_SECONDS: Final = 60
"""How old, or how far in the future, the time of a reading may be."""

ANSWER_SECONDS: Final = 15.0
"""Deadline of one answer; a person's word is logged and cosigned before it comes."""

MAX_ANSWER: Final = 16 << 20
"""Longest answer, in bytes."""

_DOMAIN: Final = "muniment/approver/v1"
_HEADER: Final = re.compile(
    r'(?i:muniment-approver) key="([^"\s]{1,300})", at="([0-9]{1,12})", '
    r'signature="([A-Za-z0-9+/]{86}==)"'
)
_JSON: Final = {"Content-Type": "application/json"}


def reading_header(method: str, url: str, at: int, name: str, private: Ed25519PrivateKey) -> str:
    """The header Authorization of an approver who reads a URL; `name` is the name of the key."""
    key = key_reference(approver_vkey(name, private))
    signature = format_base64(ed25519_sign(private)(_message(method, url, str(at))))
    return f'{SCHEME} key="{key}", at="{at}", signature="{signature}"'


def verify_reading(header: str, method: str, url: str, now: int, vkeys: Iterable[VKey]) -> VKey:
    """The approver who reads a URL; VerificationError if it is none of these, or not now."""
    found = _HEADER.fullmatch(header)
    if found is None:
        raise VerificationError(f"expected an Authorization of the scheme {SCHEME}")
    key, at, signature = found.groups()
    vkey = next((one for one in vkeys if key_reference(one) == key), None)
    if vkey is None:
        raise VerificationError("not the key of an approver here")
    if abs(now - int(at)) > FRESH_SECONDS:
        raise VerificationError(f"signed at {at}, and it is {now} here: look at the clocks")
    try:
        data = parse_base64(signature, "signature")
    except FormatError as error:
        raise VerificationError(str(error)) from error
    if not ed25519_check(vkey.public)(_message(method, url, at), data):
        raise VerificationError(f"not signed for {url}, or with another key: is that its URL?")
    return vkey


def _message(method: str, url: str, at: str) -> bytes:
    return f"{_DOMAIN}\n{method} {url}\n{at}\n".encode()


class ApproverClient:
    """One gateway, as one approver asks it; use it as an async context manager.

    Every method raises Unreachable if the gateway does not answer, Refused if it refuses, and
    BadAnswer if what it says is none of its answers.
    """

    def __init__(
        self, url: str, name: str, private: Ed25519PrivateKey, access: Access | None = None
    ) -> None:
        """Asks the gateway at `url` with a key of this name; InputError if that is no URL."""
        try:
            split_url(url)
        except ValueError as error:
            raise InputError(f"the gateway's URL: {error}") from error
        self._url = url.rstrip("/")
        self._name = name
        self._private = private
        access = access or Access.from_environment()
        self._http = HttpSession(headers={"User-Agent": access.agent()}, tls=access.ssl())

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def waiting(self) -> dict[str, Any]:
        """What waits for this approver: ``gateway``, and ``approvals``, the oldest first."""
        return await self._read(PATH)

    async def show(self, request: str) -> dict[str, Any]:
        """All that the gateway tells of one call; see docs/gateway.md."""
        return await self._read(f"{PATH}/{request}")

    async def answer(self, approval: SignedApproval) -> dict[str, Any]:
        """Sends a person's word; what became of it, once it is logged."""
        url = f"{self._url}{PATH}/{approval.request}"
        return await self._ask("POST", url, msgspec.json.encode(approval), _JSON)

    async def _read(self, path: str) -> dict[str, Any]:
        url = self._url + path
        header = reading_header("GET", url, int(time.time()), self._name, self._private)
        return await self._ask("GET", url, None, {"Authorization": header})

    async def _ask(
        self, method: str, url: str, body: bytes | None, headers: dict[str, str]
    ) -> dict[str, Any]:
        try:
            answer = await self._http.request(
                method, url, limit=MAX_ANSWER, seconds=ANSWER_SECONDS, body=body, headers=headers
            )
        except (HttpError, TooLongError, TimeoutError) as error:
            raise Unreachable(f"{url}: {str(error) or 'no answer in time'}") from error
        if answer.status >= 400:
            raise refusal_of(answer, url)
        try:
            value = json.loads(answer.body)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise BadAnswer(f"{url}: the answer is no JSON object")
        return value
