"""What a command reads of a witness, when something else is at the URL."""

import re

import pytest

from muniment_witness.cli.remote import read_status
from muniment_witness.gossip.net import TransportAnswer, UnreachableError


class Elsewhere:
    """A server that has nothing of a witness's."""

    async def get(self, url: str, *, most: int = 0, etag: str = "") -> TransportAnswer:
        del url, most, etag
        return TransportAnswer(404)

    async def post(self, url: str, body: bytes) -> TransportAnswer:
        raise AssertionError(f"{len(body)} bytes to {url}")


async def test_who_is_no_witness_is_named() -> None:
    url = "http://127.0.0.1:8100"
    words = f"{url}/status.json: HTTP 404: is that a witness?"
    with pytest.raises(UnreachableError, match=re.escape(words)):
        await read_status(Elsewhere(), url)
