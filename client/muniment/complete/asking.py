"""Asking a log for completeness proofs, over HTTP, and finding out what has to be proven.

`explore` looks at what is known, and asks for what it lacks.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

from muniment.complete.facts import CompleteFacts
from muniment.complete.keys import Key
from muniment.complete.prooffile import CompleteProof, VerifiedComplete, parse_complete
from muniment.errors import BadAnswer
from muniment.http.logclient import LogClient
from muniment.lineage.facts import PAGE
from muniment.tlog.encoding import FormatError, VerificationError


class Ask(Protocol):
    """How a log is asked."""

    async def __call__(
        self, keys: Sequence[Key], *, size: int, records: bool, limit: int | None = None
    ) -> CompleteProof:
        """Asks for the proof of some keys, about `size` leaves at least; it is unverified.

        It names so many leaves of each key at most, and `records` says whether they come along.
        """
        ...


def asking(client: LogClient) -> Ask:
    """How to ask a log; what `LogClient.index_proof` raises, and BadAnswer for another answer."""

    async def ask(
        keys: Sequence[Key], *, size: int, records: bool, limit: int | None = None
    ) -> CompleteProof:
        data = await client.index_proof(
            [key.text for key in keys], size=size, records=records, limit=limit
        )
        try:
            proof = parse_complete(data)
        except FormatError as error:
            raise BadAnswer(str(error)) from None
        if set(proof.keys) != set(keys):
            raise BadAnswer("completeness proof: not of the keys that were asked for")
        if proof.log.checkpoint.size < size:
            found = proof.log.checkpoint.size
            raise BadAnswer(f"completeness proof: about {found} leaves, and {size} were asked for")
        return proof

    return ask


MAX_ROUNDS: Final = 200
"""Most requests for one answer: a chain of a hundred runs."""

_NOTHING: Final[Mapping[int, bytes]] = {}


async def explore(
    keys: Iterable[Key],
    ask: Ask,
    look: Callable[[CompleteFacts], object],
    verify: Callable[[CompleteProof], VerifiedComplete],
    *,
    size: int,
    now: int,
    entries: Mapping[int, bytes] = _NOTHING,
) -> tuple[CompleteProof, VerifiedComplete]:
    """Asks a log for a proof that covers all that somebody looks up, with the leaves.

    Each round asks about everything at once, so that the last proof covers it at one size.

    Args:
        keys: What to begin with, at least one key.
        ask: How to ask the log.
        look: Looks things up in facts that note what is missing.
        verify: Verifies a proof; see `prooffile.verify_complete`.
        size: How many leaves the proof must be about, at least.
        now: Unix seconds.
        entries: Leaves of the log that are at hand, verified, by leaf index.

    Raises:
        VerificationError: If a proof does not verify, leaves out leaves that it names, or it takes
            more than MAX_ROUNDS requests.
        MunimentError: What `ask` and `look` raise.
    """
    asked = dict.fromkeys(keys)
    for _ in range(MAX_ROUNDS):
        proof = await ask([*asked], size=size, records=True, limit=PAGE)
        verified = verify(proof)
        facts = CompleteFacts(verified, entries=entries, now=now, explore=True)
        look(facts)
        if not facts.missing:
            return proof, verified
        if facts.missing.keys() <= asked.keys():
            key = next(iter(facts.missing))
            raise VerificationError(
                f"completeness proof: leaves that it names on {key.text} are not with it"
            )
        asked |= facts.missing
    raise VerificationError(f"a completeness proof that takes more than {MAX_ROUNDS} requests")
