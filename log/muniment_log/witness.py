"""C2SP tlog-witness, the log's side: asking one witness for its cosignatures.

Several lines of a policy may share a URL (a witness with two keys answers with both cosignatures);
one `WitnessClient` serves all of them with one request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Self

from muniment.access import ANYBODY, Access
from muniment.formats.checkpoint import parse_signed_checkpoint
from muniment.formats.cosignature import verifier_for
from muniment.formats.encoding import MunimentError
from muniment.formats.note import MAX_NOTE_SIZE, verify_note
from muniment.formats.witnesswire import (
    SIZE_CONTENT_TYPE,
    AddCheckpoint,
    origin_hash,
    parse_cosignatures,
    parse_size,
)
from muniment.httpclient import HttpClient
from muniment.httpexchange import Answer, HttpError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from ssl import SSLContext

    from muniment.formats.checkpoint import SignedCheckpoint
    from muniment.formats.note import SignatureLine, Verifier
    from muniment.formats.policy import Policy, PolicyWitness

MAX_ATTEMPTS: Final = 4
"""Requests for one cosignature: each 409 tells the size to start from, and a witness asked by
several processes at once may move between two of them."""

_MAX_RESPONSE: Final = MAX_NOTE_SIZE
_ACCUSED: Final = b"urn:muniment:problem:misbehaviour-proven"


class WitnessError(MunimentError):
    """A witness did not answer, or not with what the protocol demands."""


class AccusedError(WitnessError):
    """The witness holds evidence that this log's key signed two histories; it signs no more."""


class Cosigned(NamedTuple):
    """What a witness added to a checkpoint.

    Attributes:
        lines: its signature lines, every one verified.
        names: the policy's names of the witnesses whose keys these are.
    """

    lines: tuple[SignatureLine, ...]
    names: frozenset[str]


class WitnessClient:
    """One witness, at one submission URL.

    Attributes:
        label: its names in the policy, for metrics and logs.
        url: the submission prefix.
        names: its names in the policy.
        size: the tree size that it is believed to have cosigned last.
    """

    def __init__(self, session: Session, url: str, witnesses: Sequence[PolicyWitness]) -> None:
        """Takes the policy's witnesses that share this URL."""
        self.label: Final = "+".join(witness.name for witness in witnesses)
        self.url: Final = url.rstrip("/")
        self.size = 0
        self._session = session
        self._http: HttpClient | None = None
        self._verifiers: list[Verifier] = [verifier_for(witness.vkey) for witness in witnesses]
        self._names = {witness.vkey: witness.name for witness in witnesses}
        self.names: Final = frozenset(self._names.values())
        self._keys = {(witness.vkey.name, witness.vkey.key_id) for witness in witnesses}

    async def add_checkpoint(
        self,
        signed: SignedCheckpoint,
        prove: Callable[[int, int], Awaitable[Sequence[bytes]]],
    ) -> Cosigned:
        """Asks for cosignatures of a checkpoint.

        Args:
            signed: the checkpoint, signed by the log and already stored.
            prove: makes the consistency proof between two sizes.

        Raises:
            WitnessError: no valid cosignature came; the message says why.
        """
        new = signed.checkpoint.size
        for _ in range(MAX_ATTEMPTS):
            # A size beyond ours is asked about again: it is only what somebody's answer said.
            old = min(self.size, new)
            request = AddCheckpoint(old, tuple(await prove(old, new)), signed)
            answer = await self._request("POST", "/add-checkpoint", request.encode())
            status, body = answer.status, answer.body
            if status == 200:
                cosigned = self._check(signed, body)
                self.size = new
                return cosigned
            if status == 403 and _ACCUSED in body:
                raise AccusedError(f"it holds evidence against this log: {_excerpt(body)}")
            if status != 409 or answer.media_type != SIZE_CONTENT_TYPE:
                raise WitnessError(f"status {status}: {_excerpt(body)}")
            try:
                self.size = parse_size(body)
            except MunimentError as error:
                raise WitnessError(f"a conflict without a size: {error}") from error
            if self.size > new:
                raise WitnessError(f"it has cosigned size {self.size}, beyond {new}")
        raise WitnessError(f"{MAX_ATTEMPTS} conflicts in a row")

    async def latest(self, origin: str, log: Sequence[Verifier]) -> SignedCheckpoint | None:
        """The newest checkpoint of a log that the witness shows, its log signature verified.

        Uses the monitoring interface at the same prefix. None when it has none.

        Raises:
            WitnessError: it does not answer, or with something that the log never signed.
        """
        answer = await self._request("GET", f"/{origin_hash(origin)}/checkpoint", None)
        body = answer.body
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise WitnessError(f"status {answer.status}: {_excerpt(body)}")
        try:
            signed = parse_signed_checkpoint(body)
            verify_note(signed.note, log)
        except MunimentError as error:
            raise WitnessError(f"its checkpoint: {error}") from error
        if signed.checkpoint.origin != origin:
            raise WitnessError("its checkpoint is another log's")
        return signed

    def _check(self, signed: SignedCheckpoint, body: bytes) -> Cosigned:
        try:
            lines = tuple(
                line for line in parse_cosignatures(body) if (line.name, line.key_id) in self._keys
            )
            # Only its own lines: the log's signatures on the note need no second look.
            note = signed.note
            found = verify_note(type(note)(note.text, lines), self._verifiers)
        except MunimentError as error:
            raise WitnessError(f"its answer: {error}") from error
        if any(not verified.timestamp for verified in found):
            raise WitnessError("its answer: a cosignature without a timestamp")
        return Cosigned(lines, frozenset(self._names[verified.vkey] for verified in found))

    async def _request(self, method: str, path: str, data: bytes | None) -> Answer:
        try:
            if self._http is None:
                self._http = self._session.client(self.url)
            return await self._http.request(
                method, path, limit=_MAX_RESPONSE, seconds=self._session.seconds, body=data
            )
        except (HttpError, TimeoutError, ValueError) as error:
            raise WitnessError(f"{type(error).__name__}: {error}") from error


class Session:
    """The connections to all witnesses; an async context manager that closes them.

    Attributes:
        seconds: time for one request.
    """

    def __init__(self, seconds: float, access: Access) -> None:
        """Connects as `access` says."""
        self.seconds: Final = seconds
        self._tls: SSLContext | Literal[True] = access.ssl()
        self._clients: list[HttpClient] = []

    def client(self, url: str) -> HttpClient:
        """Connections to one witness.

        Raises:
            ValueError: the URL is none; a policy may hold any text.
        """
        headers = {"User-Agent": "muniment-log"}
        self._clients.append(HttpClient(url, headers=headers, tls=self._tls))
        return self._clients[-1]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in self._clients:
            client.close()


def new_session(request_seconds: float, access: Access = ANYBODY) -> Session:
    """The HTTP side of asking witnesses.

    Raises:
        InputError: A file of `access` cannot be used.
    """
    return Session(request_seconds, access)


def clients_of(policy: Policy, session: Session) -> list[WitnessClient]:
    """One client for each URL of a policy's witnesses; those without a URL cannot be asked."""
    by_url: dict[str, list[PolicyWitness]] = {}
    for witness in policy.witnesses:
        if witness.url is not None:
            by_url.setdefault(witness.url.rstrip("/"), []).append(witness)
    return [WitnessClient(session, url, witnesses) for url, witnesses in by_url.items()]


def _excerpt(body: bytes) -> str:
    return repr(body[:200].decode("utf-8", "replace"))
