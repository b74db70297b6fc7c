"""C2SP tlog-witness, the log's side: asking one witness for its cosignatures.

Several lines of a policy may share a URL (a witness with two keys answers with both cosignatures);
one `WitnessClient` serves all of them with one request.
"""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Self

from muniment.http.access import ANYBODY, Access
from muniment.http.client import HttpClient
from muniment.http.retryafter import retry_after
from muniment.local.logs import event
from muniment.tlog.addcheckpoint import MAX_ATTEMPTS, Exchange, Reply, WitnessError, excerpt
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.cosignature import verifier_for
from muniment.tlog.mirrors import mirrors_of
from muniment.tlog.note import MAX_NOTE_SIZE, UnverifiedNote, lines_of, verify_note
from muniment.tlog.quorum import CLOCK_SKEW
from muniment.tlog.witnesswire import origin_hash, parse_cosignatures

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
    from ssl import SSLContext

    from muniment.http.answer import Answer
    from muniment.tlog.checkpoint import SignedCheckpoint
    from muniment.tlog.note import SignatureLine, Verifier
    from muniment.tlog.policy import Policy, PolicyWitness

LONG_REQUEST: Final = 10 << 10
"""Bytes of a request that all witnesses take; litewitness refuses more, omniwitness from 16 KiB on.
A proof and the signatures of two ML-DSA-44 and two Ed25519 keys are below it."""

MAX_RETRY_AFTER: Final = 600.0
"""Seconds; what a 429 asks for beyond is cut: one answer must not lose a witness for a day."""

_LOGGER: Final = logging.getLogger(__name__)
_MAX_RESPONSE: Final = MAX_NOTE_SIZE


class Cosigned(NamedTuple):
    """What a witness added to a checkpoint.

    Attributes:
        lines: its signature lines, at most one a key, every one verified.
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
    """

    def __init__(self, session: Session, url: str, witnesses: Sequence[PolicyWitness]) -> None:
        """Takes the policy's witnesses that share this URL."""
        self.label: Final = "+".join(witness.name for witness in witnesses)
        self.url: Final = url.rstrip("/")
        self._exchange = Exchange()
        self._session = session
        self._http: HttpClient | None = None
        self._verifiers: list[Verifier] = [verifier_for(witness.vkey) for witness in witnesses]
        self._names = {witness.vkey: witness.name for witness in witnesses}
        self.names: Final = frozenset(self._names.values())
        self._is_ahead = False
        self._keys = {(vkey.name, vkey.key_id) for vkey in self._names}

    @property
    def size(self) -> int:
        """The tree size that it is believed to have cosigned last."""
        return self._exchange.size

    @size.setter
    def size(self, size: int) -> None:
        self._exchange.size = size

    async def add_checkpoint(
        self,
        signed: SignedCheckpoint,
        prove: Callable[[int, int], Awaitable[Sequence[bytes]]],
        *,
        attempts: int = MAX_ATTEMPTS,
    ) -> Cosigned:
        """Asks for cosignatures of a checkpoint that the log has signed and stored already.

        `prove` makes the consistency proof between two sizes. At most `attempts` requests are sent;
        a ConflictError says that each was answered with the size to start from. Raises WitnessError
        if no valid cosignature came; the message says why.
        """

        def check(body: bytes) -> Cosigned:
            with interpreting("answer"):
                return self._check(signed, body)

        added = await self._exchange.add(signed, prove, self._post, check, attempts=attempts)
        return added.cosigned

    async def _post(self, request: bytes) -> Reply:
        answer = await self._ask("POST", "/add-checkpoint", request)
        if answer.status >= 400 and len(request) > LONG_REQUEST:
            event(
                _LOGGER,
                logging.WARNING,
                "a refused request is longer than some witnesses take: retire a log key",
                witness=self.label,
                bytes=len(request),
                some_take=LONG_REQUEST,
            )
        # A 503, perhaps of somebody in between, silences no witness.
        asked = asked_pause(answer) if answer.status == 429 else 0.0
        return Reply(answer.status, answer.media_type, answer.body, asked)

    async def latest(self, origin: str, log: Sequence[Verifier]) -> SignedCheckpoint | None:
        """The newest checkpoint of a log that the witness shows, its log signature verified.

        Uses the monitoring interface at the same prefix. None when it has none. Raises WitnessError
        if it does not answer, or with something that the log never signed.
        """
        answer = await self._ask("GET", f"/{origin_hash(origin)}/checkpoint", None)
        body = answer.body
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise WitnessError(f"status {answer.status}: {excerpt(body)}")
        with interpreting("checkpoint"):
            signed = parse_signed_checkpoint(body)
            verify_note(signed.note, log)
        if signed.checkpoint.origin != origin:
            raise WitnessError("its checkpoint is another log's")
        return signed

    def _check(self, signed: SignedCheckpoint, body: bytes) -> Cosigned:
        answered = parse_cosignatures(body)
        lines = [line for line in answered if (line.name, line.key_id) in self._keys]
        # Only its own lines: the log's signatures on the note need no second look.
        found = verify_note(
            UnverifiedNote(signed.note.text, tuple(lines)), self._verifiers
        ).signatures
        taken = lines_of(lines, self._names)
        if len(taken) < len(lines):  # one a key: more of them would fill the note
            found = verify_note(UnverifiedNote(signed.note.text, taken), self._verifiers).signatures
        if any(not verified.timestamp for verified in found):
            raise WitnessError("its answer: a cosignature without a timestamp")
        self._compare_clocks(max(verified.timestamp or 0 for verified in found))
        return Cosigned(taken, frozenset(self._names[verified.vkey] for verified in found))

    def _compare_clocks(self, stated: int) -> None:
        """Says, once, that a cosignature is of a time in the future: to readers it does not count.

        It is published all the same: whose clock is wrong, this one's or that one's, is not known.
        """
        late = stated - int(time.time())
        if late > CLOCK_SKEW and not self._is_ahead:
            event(
                _LOGGER,
                logging.WARNING,
                "a witness's clock is ahead of this machine's",
                witness=self.label,
                seconds=late,
            )
        self._is_ahead = late > CLOCK_SKEW

    async def _ask(
        self,
        method: str,
        path: str,
        data: bytes | None,
        *,
        seconds: float | None = None,
        coding: str = "",
    ) -> Answer:
        seconds = self._session.seconds if seconds is None else seconds
        try:
            if self._http is None:
                self._http = self._session.client(self.url)
            return await self._http.ask(
                method, path, limit=_MAX_RESPONSE, seconds=seconds, body=data, coding=coding
            )
        except TimeoutError as error:
            raise WitnessError(f"no answer in {seconds:g} s") from error
        except Exception as error:
            # Whatever asking a witness comes to, it is that witness's error.
            raise WitnessError(f"{type(error).__name__}: {error}") from error


class Session:
    """The connections to all witnesses; an async context manager that closes them."""

    def __init__(self, seconds: float, access: Access) -> None:
        self.seconds: Final = seconds
        self._tls: SSLContext | Literal[True] = access.ssl()
        self._agent = access.agent("muniment-log")
        self._clients: list[HttpClient] = []

    def client(self, url: str) -> HttpClient:
        """Connections to one witness.

        Raises ValueError if the URL is none; a policy may hold any text.
        """
        headers = {"User-Agent": self._agent}
        self._clients.append(HttpClient(url, headers=headers, tls=self._tls))
        return self._clients[-1]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in self._clients:
            await client.close()


def asked_pause(answer: Answer) -> float:
    """Seconds that an answer asks not to be asked again; what is beyond MAX_RETRY_AFTER is cut."""
    return retry_after(answer.headers.get("retry-after", ""), time.time(), MAX_RETRY_AFTER) or 0.0


def new_session(request_seconds: float, access: Access = ANYBODY) -> Session:
    """The HTTP side of asking witnesses; InputError if a file of `access` cannot be used."""
    return Session(request_seconds, access)


def clients_of(policy: Policy, session: Session) -> list[WitnessClient]:
    """One client for each URL of a policy's witnesses, without its mirrors.

    Those without a URL cannot be asked.
    """
    mirrors = mirrors_of(policy)
    witnesses = [witness for witness in policy.witnesses if witness not in mirrors]
    return [WitnessClient(session, url, lines) for url, lines in by_url(witnesses).items()]


def by_url(witnesses: Iterable[PolicyWitness]) -> dict[str, list[PolicyWitness]]:
    """The witness lines that share a URL; those that have none are left out."""
    found: dict[str, list[PolicyWitness]] = {}
    for witness in witnesses:
        if witness.url is not None:
            found.setdefault(witness.url.rstrip("/"), []).append(witness)
    return found


@contextmanager
def interpreting(what: str) -> Iterator[None]:
    """Whatever goes wrong with what a witness has sent is that witness's error."""
    try:
        yield
    except WitnessError:
        raise
    except Exception as error:
        raise WitnessError(f"its {what}: {str(error) or type(error).__name__}") from error
