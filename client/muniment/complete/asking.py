"""Asking a log for completeness proofs, over HTTP."""

from collections.abc import Sequence
from typing import Protocol

from muniment.complete.keys import Key
from muniment.complete.prooffile import CompleteProof, parse_complete
from muniment.errors import BadAnswer
from muniment.http.logclient import LogClient
from muniment.tlog.encoding import FormatError


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
