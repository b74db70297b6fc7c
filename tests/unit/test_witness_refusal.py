"""The log's side of a witness that refuses after evidence: told apart from a witness that fails."""

from pathlib import Path

import pytest

from byzantine import View
from muniment.tlog.addcheckpoint import AccusedError, WitnessError
from muniment.tlog.policy import parse_policy
from muniment_log.publish.witness import clients_of, new_session
from stand import Answer, Stand
from witness_network import Network
from witness_tools import witness_signer


async def test_the_log_tells_an_accusation_from_a_failure(tmp_path: Path) -> None:
    main = View().append(20)
    async with Network(tmp_path, main) as net:
        node = await net.started("w1", None)
        await node.add(0, main)
        await node.add(20, main.fork(3, 20))
        refused = await node.add(20, main)
    assert refused.status == 403
    answers = [Answer(403, refused.body), Answer(403, b"{}"), Answer(500)]

    async def prove(old: int, new: int) -> tuple[bytes, ...]:
        return ()

    with Stand(lambda _: answers[0]).serve("127.0.0.1") as stand:
        text = f"log {main.vkeys[0]}\nwitness w {witness_signer().vkey} {stand.url()}\nquorum w\n"
        async with new_session(10) as session:
            [client] = clients_of(parse_policy(text.encode()), session)
            with pytest.raises(AccusedError, match="evidence"):
                await client.add_checkpoint(main.checkpoint(), prove)
            del answers[0]
            for _ in range(2):
                with pytest.raises(WitnessError) as caught:
                    await client.add_checkpoint(main.checkpoint(), prove)
                assert not isinstance(caught.value, AccusedError)
